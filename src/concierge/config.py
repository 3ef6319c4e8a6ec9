"""What people may set, where it is read from, and which place wins.

Order, last wins: defaults, the user's own ``concierge.toml``, the project's ``concierge.toml`` (or the
file that ``CONCIERGE_CONFIG_PATH`` names, TOML or JSON), ``CONCIERGE_*`` variables, command line flags.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from concierge import paths
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

PROJECT_FILE = "concierge.toml"
PREFIX = "CONCIERGE_"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Llm(Section):
    """Which model answers, and who starts it."""

    engine: Annotated[
        Literal["auto", "llama-cpp", "ollama", "vllm", "remote"],
        Field(description="The program that serves; `remote` and `vllm` are never started by concierge."),
    ] = "auto"
    model: Annotated[
        str,
        Field(
            min_length=1,
            description="`auto`, a catalogue name, `hf:repo/file@revision`, a path, or the name a server uses.",
        ),
    ] = "auto"
    context: Annotated[int, Field(ge=256, description="Tokens that one request may use.")] = 8192
    accelerator: Annotated[
        Literal["auto", "cuda", "rocm", "vulkan", "metal", "cpu"],
        Field(description="What computes; `auto` takes the best that this machine proves."),
    ] = "auto"
    base_url: Annotated[
        str,
        Field(
            pattern=r"^https?://[^\s]+$",
            description="A chat-completions API to use when it answers and serves the model. "
            "Another machine's is used as it is: nothing is ever started for it.",
        ),
    ] = "http://127.0.0.1:11434/v1"
    api_key: Annotated[
        SecretStr | None, Field(description="Key for `base_url`; `api_key_env` keeps it out of files.")
    ] = None
    api_key_env: Annotated[str | None, Field(description="Name of the variable that holds the key for `base_url`.")] = (
        None
    )
    local_llm_ensure_available: Annotated[
        bool, Field(description="Start the local LLM when nothing serves the model; off: only connect.")
    ] = True
    local_llm_start_cmd: Annotated[
        tuple[str, ...] | None,
        Field(
            strict=False,
            description="Command that starts your own server at a loopback `base_url`, as a list of words. "
            "Unset: concierge fetches, verifies and starts its pinned engine.",
        ),
    ] = None
    local_llm_start_timeout_s: Annotated[
        float,
        Field(gt=0, strict=False, description="Seconds without any progress after which a start has failed."),
    ] = 600.0
    connect_timeout_s: Annotated[float, Field(gt=0, strict=False, description="Seconds to open a connection.")] = 5.0
    read_timeout_s: Annotated[
        float,
        Field(gt=0, strict=False, description="Seconds without a byte after which a request has failed."),
    ] = 600.0
    temperature: Annotated[float, Field(ge=0, le=2, strict=False, description="Sampling temperature, always sent.")] = (
        0.2
    )


class Run(Section):
    """What one run may spend."""

    max_steps: Annotated[int, Field(ge=1, description="Answers that the model may give before the run stops.")] = 20
    max_tokens: Annotated[int, Field(ge=1, description="Tokens, read and written together, that a run may use.")] = (
        100_000
    )
    max_seconds: Annotated[float, Field(gt=0, strict=False, description="Wall time that a run may take.")] = 1800.0


class Api(Section):
    """The HTTP API of `concierge serve`."""

    host: Annotated[str, Field(description="Address to listen on; anything but loopback needs a token.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8787
    token: Annotated[
        SecretStr | None,
        Field(description="Bearer token that clients must send; unset: a random one is printed at start."),
    ] = None


class Config(Section):
    """Everything that can be set."""

    llm: Llm = Llm()
    run: Run = Run()
    api: Api = Api()
    workspace_root: Annotated[
        Path, Field(strict=False, description="Folder whose `runs/` holds the run directories.")
    ] = Path(".concierge")
    locked: Annotated[
        bool, Field(description="Use nothing but `concierge.lock`; fail when it is missing or not current.")
    ] = False


FLAT_KEYS = frozenset(
    (
        "base_url",
        "model",
        "api_key",
        "local_llm_start_cmd",
        "local_llm_ensure_available",
        "local_llm_start_timeout_s",
    )
)
"""Keys of ``llm`` that may also stand at the top of a file: a flat file can say where the server is."""

KeyPath = tuple[str, ...]
"""A key as its words from the top: ``("llm", "model")``."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key's value and the place it came from."""

    value: Any
    place: str


def load(
    overrides: Mapping[KeyPath, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Config:
    """Return the configuration that holds in ``folder``.

    Args:
        overrides: Command line flags, as key path → value; None values are ignored.
        environ: Environment variables.
        folder: Where the project's file is looked for; the current folder when None.

    Raises:
        ConfigError: A file cannot be read, a key is unknown, or a value has the wrong type.
    """
    return build(settings(overrides or {}, environ=environ, folder=folder or Path()))


def settings(overrides: Mapping[KeyPath, Any], *, environ: Mapping[str, str], folder: Path) -> dict[KeyPath, Setting]:
    """Collect every setting that somebody made, with the place that won."""
    found: dict[KeyPath, Setting] = {}
    for file in _files(environ, folder):
        found.update(_from_file(file))
    found.update(_from_environment(environ))
    found.update({key: Setting(value, "command line") for key, value in overrides.items() if value is not None})
    return found


def build(found: Mapping[KeyPath, Setting]) -> Config:
    """Check the settings and return them with the defaults filled in.

    Raises:
        ConfigError: A value has the wrong type.
    """
    tree: dict[str, Any] = {}
    for key, setting in found.items():
        section = tree
        for word in key[:-1]:
            section = section.setdefault(word, {})
        section[key[-1]] = setting.value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise _wrong_value(error, found) from None


def known_keys() -> dict[KeyPath, FieldInfo]:
    """Return every key that can be set, in the order of the reference."""
    keys: dict[KeyPath, FieldInfo] = {}
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys.update({(name, inner): info for inner, info in section.model_fields.items()})
        else:
            keys[(name,)] = field
    return keys


def variable(key: KeyPath) -> str:
    """Return the environment variable that sets ``key``."""
    return PREFIX + "_".join(key).upper()


def _files(environ: Mapping[str, str], folder: Path) -> list[Path]:
    user = paths.user_config(environ)
    files = [user] if user.is_file() else []
    named = environ.get("CONCIERGE_CONFIG_PATH")
    if named:
        return [*files, Path(named).expanduser()]
    project = folder / PROJECT_FILE
    return [*files, project] if project.is_file() else files


def _from_file(file: Path) -> dict[KeyPath, Setting]:
    document = _read(file)
    for key in FLAT_KEYS & document.keys():
        document.setdefault("llm", {}).setdefault(key, document.pop(key))
    return {key: Setting(value, str(file)) for key, value in _flatten(document, file).items()}


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        document = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(
            f"No configuration file at {file}.",
            where=str(file),
            hint="Correct CONCIERGE_CONFIG_PATH or unset it.",
        ) from None
    except OSError as error:
        raise ConfigError(f"Cannot read {file}: {error.strerror}.", where=str(file)) from None
    except ValueError as error:
        raise ConfigError(
            f"{file} is not valid {file.suffix[1:].upper() or 'TOML'}: {error}", where=str(file)
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(f"{file} holds {type(document).__name__}, not a table of keys.", where=str(file))
    return document


def _flatten(document: Mapping[str, Any], file: Path) -> dict[KeyPath, Any]:
    keys = known_keys()
    sections = {key[0] for key in keys if len(key) > 1}
    flat: dict[KeyPath, Any] = {}
    for name, value in document.items():
        if name not in sections:
            flat[(name,)] = value
        elif isinstance(value, dict):
            flat.update({(name, inner): inner_value for inner, inner_value in value.items()})
        else:
            raise ConfigError(f"`{name}` in {file} is a table of keys, not a value.", where=f"{file}: {name}")
    for key in flat.keys() - keys.keys():
        raise _unknown_key(key, keys, str(file))
    return flat


def _unknown_key(key: KeyPath, keys: Mapping[KeyPath, Any], place: str) -> ConfigError:
    dotted = ".".join(key)
    sections = {known[:1] for known in keys}
    names = {".".join(known): known for known in (*sections, *keys)} | {known[-1]: known for known in keys}
    close = difflib.get_close_matches(dotted, names, n=1) or difflib.get_close_matches(key[-1], names, n=1)
    hint = f"Did you mean `{'.'.join(names[close[0]])}`?" if close else "`concierge config show` lists every key."
    return ConfigError(f"Unknown key `{dotted}` in {place}.", where=f"{place}: {dotted}", hint=hint)


def _from_environment(environ: Mapping[str, str]) -> dict[KeyPath, Setting]:
    found: dict[KeyPath, Setting] = {}
    keys = known_keys()
    _refuse_unknown_variables(environ, keys)
    for key, field in keys.items():
        name = variable(key)
        if name in environ:
            found[key] = Setting(_parse(environ[name], field), name)
    if "CONCIERGE_WORKSPACE" in environ:
        found[("workspace_root",)] = Setting(environ["CONCIERGE_WORKSPACE"], "CONCIERGE_WORKSPACE")
    return found


def _refuse_unknown_variables(environ: Mapping[str, str], keys: Mapping[KeyPath, Any]) -> None:
    known = {variable(key) for key in keys}
    sections = tuple({f"{variable(key[:1])}_" for key in keys if len(key) > 1})
    for name in environ:
        if name.startswith(sections) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else "docs/configuration.md lists every variable."
            raise ConfigError(f"Unknown variable {name}.", where=name, hint=hint)


def _parse(text: str, field: FieldInfo) -> Any:
    """Turn a variable's text into the value that a file would hold: JSON where the key is not text."""
    if field.annotation in (str, Path) or field.annotation == str | None:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _wrong_value(error: ValidationError, found: Mapping[KeyPath, Setting]) -> ConfigError:
    first = error.errors(include_url=False)[0]
    location = tuple(str(word) for word in first["loc"])
    key = next((known for known in known_keys() if location[: len(known)] == known), location)
    place = found[key].place if key in found else "the configuration"
    return ConfigError(
        f"`{'.'.join(key)}` in {place}: {first['msg']} (got {_shown(first['input'])}).",
        where=f"{place}: {'.'.join(key)}",
        hint="docs/configuration.md lists every key with its type.",
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
