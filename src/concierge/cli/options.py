"""Options that several commands share, and how they meet the configuration."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.river.river import River

R = TypeVar("R")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, errors included.")]
Machine = Annotated[
    Path | None, typer.Option("--machine", help="Decide for the computer of this bundle instead of this one.")
]

Flag = tuple[str, type, str, tuple[str, ...]]
SETTINGS: dict[str, Flag] = {
    "model": ("llm.model", str, "Model: auto, a catalogue name, hf:…, a path.", ("-m",)),
    "engine": ("llm.engine", str, "auto, llama-cpp, ollama, vllm or remote.", ()),
    "accelerator": ("llm.accelerator", str, "auto, cuda, rocm, vulkan, metal or cpu.", ()),
    "context": ("llm.context", str, "Tokens that one request may use, or auto.", ("-c",)),
    "base_url": ("llm.base_url", str, "A chat-completions API to use.", ()),
    "temperature": ("llm.temperature", str, "Sampling temperature, 0 to 2; auto sends none.", ()),
    "max_steps": ("run.max_steps", int, "Answers that the model may give.", ()),
    "max_tokens": ("run.max_tokens", str, "Tokens, read and written, that the run may use, or auto.", ()),
    "max_seconds": ("run.max_seconds", float, "Wall time that the run may take.", ()),
    "host": ("api.host", str, "Address to listen on.", ()),
    "port": ("api.port", int, "Port to listen on; 0 takes a free one.", ()),
    "workspace": ("workspace_root", Path, "Folder whose runs/ holds the runs.", ("-w",)),
    "mirror": ("mirror", str, "A folder of `concierge bundle`, or its address: asked first.", ()),
    "locked": ("locked", bool, "Use nothing but concierge.lock.", ()),
    "trust": ("trust", bool, "Allow what this project's files ask for, as `concierge trust` does.", ()),
}
"""Each option that sets a key of the configuration: the key, its type, what help says, and its short form."""

LLM = ("model", "engine", "accelerator", "context", "base_url")
"""Which model, and where."""


def settings(*names: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command these options; it gets them as its first argument, by key of the configuration."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def called(**given: Any) -> R:
            chosen = {SETTINGS[name][0]: given.pop(name) for name in names}
            return command(chosen, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        parameters = sorted([*map(_parameter, names), *own], key=lambda parameter: parameter.kind)
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    _, kind, text, short = SETTINGS[name]
    option = typer.Option(f"--{name.replace('_', '-')}", *short, help=text)
    # typer reads the annotation when the program runs; to a type checker it is a value.
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def river(chosen: dict[str, Any], *, machine: Path | None = None) -> River:
    """Return the river of the current folder, which tells this terminal what it does.

    Raises:
        ConfigError: A file, a variable or an option is wrong.
    """
    from concierge.cli import output
    from concierge.river.river import River

    return River.open(settings=chosen, say=output.narrate, progress=output.Bars(), machine=machine)
