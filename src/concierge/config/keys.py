"""What people may set: every key, what it may hold and what it is when nobody sets it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from concierge import endpoint
from concierge.config import kinds
from concierge.config.kinds import Key, Secret, key
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.endpoint import Address, Endpoint

Context = int | Literal["auto"]
"""Tokens that one request may use, or as many as fit."""

KeyPath = tuple[str, ...]
"""A key as its words from the top: ``("llm", "model")``."""


@dataclass(frozen=True, slots=True)
class Llm:
    """Which model answers, and who starts it."""

    engine: Literal["auto", "llama-cpp", "ollama", "vllm", "remote"] = key(
        kinds.choice("auto", "llama-cpp", "ollama", "vllm", "remote"),
        "auto",
        "The program that serves; `remote` and `vllm` are never started by concierge.",
    )
    model: str = key(
        kinds.TEXT,
        "auto",
        "`auto`, a catalogue name, `hf:repo/file@revision`, a path, or the name a server uses.",
    )
    context: Context = key(
        kinds.auto_or(kinds.whole(least=256)),
        "auto",
        "Tokens that one request may use; `auto`: as many as fit, up to what the model was trained for.",
    )
    accelerator: Literal["auto", "cuda", "rocm", "vulkan", "metal", "cpu"] = key(
        kinds.choice("auto", "cuda", "rocm", "vulkan", "metal", "cpu"),
        "auto",
        "What computes; `auto` takes the best that this machine proves.",
    )
    base_url: str = key(
        kinds.URL,
        "http://127.0.0.1:11434/v1",
        "A chat-completions API to use. One that is set is used or is an error, and nothing is started in its place; "
        "the default is used when it serves the model and is this user's own. `OLLAMA_HOST` moves the default.",
    )
    api_key: Secret | None = key(
        kinds.secret(endpoint.clean), None, "Key for `base_url`; `api_key_env` keeps it out of files."
    )
    api_key_env: str | None = key(kinds.TEXT, None, "Name of the variable that holds the key for `base_url`.")
    api_key_file: Path | None = key(
        kinds.FOLDER, None, "File that holds the key for `base_url`, read when it is needed."
    )
    local_llm_ensure_available: bool = key(
        kinds.FLAG, True, "Start the local LLM when nothing serves the model; off: only connect."
    )
    local_llm_start_cmd: tuple[str, ...] | None = key(
        kinds.WORDS,
        None,
        "Command that starts your own server at a loopback `base_url`, as a list of words. "
        "Unset: concierge fetches, verifies and starts its pinned engine.",
    )
    local_llm_start_timeout_s: float = key(
        kinds.number(above=0), 600.0, "Seconds without any progress after which a start has failed."
    )
    connect_timeout_s: float = key(kinds.number(above=0), 5.0, "Seconds to open a connection.")
    read_timeout_s: float = key(
        kinds.number(above=0), 600.0, "Seconds without a byte after which a request has failed."
    )
    measure: bool = key(
        kinds.FLAG,
        True,
        "Let `up` measure, once for each new server, how fast it writes and reads: 20 seconds at most.",
    )
    protocol: Literal["auto", "native", "shell", "json"] = key(
        kinds.choice("auto", "native", "shell", "json"),
        "auto",
        "How the model acts: by tool calls of the server, one shell command a turn, or one JSON action a turn, which a "
        "schema forces; `auto`: as was measured to be best for the model, else as it does when it is asked once.",
    )
    flake: str | None = key(
        kinds.TEXT,
        None,
        "A Nix flake whose engines come first. Unset: the one that concierge itself was started from, if any.",
    )
    temperature: float | Literal["auto"] = key(
        kinds.auto_or(kinds.number(least=0, most=2)),
        0.2,
        "Sampling temperature; `auto`: none is sent, for models that refuse it.",
    )

    @property
    def address(self) -> Address:
        """What ``base_url`` says; its text is what may be shown of it."""
        return endpoint.address(self.base_url)

    def endpoint(self, *, model: str, environ: Mapping[str, str]) -> Endpoint:
        """Return the server that ``base_url`` names, without asking anybody.

        Raises:
            ConfigError: The key cannot be read, or cannot be sent.
        """
        given, place = None, "llm.api_key"
        if self.api_key is not None:
            given = self.api_key.get_secret_value()
        elif self.api_key_env:
            given, place = environ.get(self.api_key_env), self.api_key_env
        elif self.api_key_file:
            given, place = _held(self.api_key_file), str(self.api_key_file)
        found = self.address
        return endpoint.Endpoint(str(found), model, endpoint.key(given, place=place), address=found)

    @property
    def never_started(self) -> bool:
        """Whether the engine is one that concierge never starts, whatever else is set."""
        return self.engine in ("remote", "vllm")


def _held(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            f"The key for llm.base_url cannot be read from {file}: {why}.",
            where="llm.api_key_file",
            hint="Start the server that writes it, ask to be in its group, or set llm.base_url to a server of yours.",
        ) from None


@dataclass(frozen=True, slots=True)
class Run:
    """What one run may spend."""

    max_steps: int = key(kinds.whole(least=1), 20, "Answers that the model may give before the run stops.")
    max_tokens: int | Literal["auto"] = key(
        kinds.auto_or(kinds.whole(least=1)),
        "auto",
        "Tokens, read and written together, that a run may use; `auto`: eight times the context, 100,000 at least.",
    )
    max_seconds: float = key(kinds.number(above=0), 1800.0, "Wall time that a run may take.")
    shell_network: bool = key(
        kinds.FLAG, False, "Let the model's commands reach the network, the servers of this machine included."
    )


@dataclass(frozen=True, slots=True)
class Api:
    """The HTTP API of `concierge serve`."""

    host: str = key(kinds.TEXT, "127.0.0.1", "Address to listen on; anything but loopback needs a token.")
    port: int = key(kinds.whole(least=0, most=65535), 8787, "Port to listen on; 0 takes a free one.")
    token: Secret | None = key(
        kinds.secret(), None, "Bearer token that clients must send; unset: a random one is printed at start."
    )


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server of the Model Context Protocol, whose tools a run may call beside its own."""

    command: tuple[str, ...] | None = key(
        kinds.WORDS, None, "Command that starts it and speaks over its pipes, as a list of words."
    )
    url: str | None = key(kinds.URL, None, "Its address, where it runs already (Streamable HTTP).")
    env: tuple[tuple[str, Secret], ...] = key(
        kinds.NAMED_SECRETS, (), "Variables for the command, beside `PATH`, `HOME` and few more."
    )
    env_from: tuple[str, ...] = key(kinds.WORDS, (), "Names of your variables that the command gets as they are.")
    token_env: str | None = key(kinds.TEXT, None, "Name of the variable that holds the bearer token for `url`.")
    tools: tuple[str, ...] | None = key(
        kinds.WORDS, None, "The tools that are offered, by name; unset: all. Few are best for a small model."
    )
    timeout_s: float = key(
        kinds.number(above=0), 60.0, "Seconds that its start, or one call, may take before it has failed."
    )

    def secrets(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return what it is given that nobody else may see."""
        token = environ.get(self.token_env, "") if self.token_env else ""
        return (*(text.get_secret_value() for _, text in self.env), *([token] if token else []))

    @property
    def loopback(self) -> bool:
        """Whether its address is on this machine."""
        return self.url is not None and endpoint.address(self.url).loopback


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set."""

    llm: Llm = field(default_factory=Llm)
    run: Run = field(default_factory=Run)
    api: Api = field(default_factory=Api)
    mcp: Mapping[str, McpServer] = field(default_factory=dict)
    workspace_root: Path = key(kinds.FOLDER, Path(".concierge"), "Folder whose `runs/` holds the run directories.")
    mirror: str | None = key(
        kinds.TEXT,
        None,
        "A folder that `concierge bundle` wrote, or the address of one: asked first for all that is fetched.",
    )
    locked: bool = key(kinds.FLAG, False, "Use nothing but `concierge.lock`; fail when it is missing or not current.")
    trust: bool = key(
        kinds.FLAG,
        False,
        "Allow what a project's files ask for, as `concierge trust` does, without being asked; for scripts.",
    )


SECTIONS: Mapping[str, type[Llm | Run | Api]] = {"llm": Llm, "run": Run, "api": Api}


def known_keys() -> dict[KeyPath, Key]:
    """Return every key that can be set, in the order of the reference."""
    keys: dict[KeyPath, Key] = {}
    for top in fields(Config):
        if top.name in SECTIONS:
            keys.update({(top.name, inner.name): inner.metadata["key"] for inner in fields(SECTIONS[top.name])})
        elif top.name != MCP[0]:
            keys[(top.name,)] = top.metadata["key"]
    return keys


MCP: KeyPath = ("mcp", "servers")
"""Where the servers stand, each in a table of its name."""


def server_keys() -> dict[str, Key]:
    """Return every key that a table ``[mcp.servers.NAME]`` may hold."""
    return {inner.name: inner.metadata["key"] for inner in fields(McpServer)}


def server_of(path: KeyPath) -> str | None:
    """Return the name of the server that a key belongs to; None where it belongs to none."""
    return path[2] if path[:2] == MCP and len(path) == 4 else None


def find(path: KeyPath) -> Key | None:
    """Return what a key means; None where there is no such key."""
    return known_keys().get(path) if server_of(path) is None else server_keys().get(path[3])
