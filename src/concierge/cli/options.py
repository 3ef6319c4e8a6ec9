"""Options that several commands share, and how they meet the configuration."""

from __future__ import annotations

from pathlib import Path  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from concierge.config.keys import Config, KeyPath
    from concierge.river.stack import Stack

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, errors included.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model: auto, a catalogue name, hf:…, a path.")]
Engine = Annotated[str | None, typer.Option("--engine", help="auto, llama-cpp, ollama, vllm or remote.")]
Accelerator = Annotated[str | None, typer.Option("--accelerator", help="auto, cuda, rocm, vulkan, metal or cpu.")]
Context = Annotated[int | None, typer.Option("--context", "-c", help="Tokens that one request may use.")]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="A chat-completions API to use.")]
Workspace = Annotated[Path | None, typer.Option("--workspace", "-w", help="Folder whose runs/ holds the runs.")]
Locked = Annotated[bool | None, typer.Option("--locked", help="Use nothing but concierge.lock.")]


def llm(
    model: str | None, engine: str | None, accelerator: str | None, context: int | None, base_url: str | None
) -> dict[KeyPath, Any]:
    """Return the flags that say which model and where, as configuration keys."""
    return {
        ("llm", "model"): model,
        ("llm", "engine"): engine,
        ("llm", "accelerator"): accelerator,
        ("llm", "context"): context,
        ("llm", "base_url"): base_url,
    }


def load(overrides: dict[KeyPath, Any]) -> Config:
    """Return the configuration with the flags laid over it.

    Raises:
        ConfigError: A file, a variable or a flag is wrong.
    """
    from concierge.config import sources

    return sources.load(overrides)


def parts(config: Config, *, bundle: Path | None = None) -> Stack:
    """Return the parts for one command, which tell this terminal what they do."""
    from concierge.cli import output
    from concierge.river import stack

    return stack.of(config, say=output.narrate, progress=output.Bars(), bundle=bundle)
