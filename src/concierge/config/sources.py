"""The places where settings are read, and which of them wins.

Order, last wins: defaults, the machine's ``concierge.toml`` (below ``/etc``), the user's own one, the project's
``concierge.toml`` (or the file that ``CONCIERGE_CONFIG_PATH`` names, TOML or JSON), ``CONCIERGE_*`` variables, command
line flags.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concierge import jsontext, paths
from concierge.config import ollama
from concierge.config.keys import MCP, SECTIONS, Config, McpServer, find, known_keys, server_keys, server_of
from concierge.endpoint import masked
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from concierge.config.keys import KeyPath
    from concierge.config.kinds import Key

PROJECT_FILE = "concierge.toml"
PREFIX = "CONCIERGE_"

FLAT_KEYS = frozenset(
    ("base_url", "model", "api_key", "local_llm_start_cmd", "local_llm_ensure_available", "local_llm_start_timeout_s")
)
"""Keys of ``llm`` that may also stand at the top of a file: a flat file can say where the server is."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key's value and the place it came from; a project's is written by whoever wrote the folder one stands in."""

    value: Any
    place: str
    project: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place sets."""

    settings: Mapping[KeyPath, Setting]
    project: bool = False


_URL = ("llm", "base_url")

_NAMES = "a project may not name the variables of whoever works in it"
PERSONAL: Mapping[KeyPath, str] = {
    ("llm", "api_key_env"): _NAMES,
    ("llm", "api_key_file"): "a project may not name the files of whoever works in it",
    ("trust",): "a project may not allow itself what it asks for",
}
"""Keys that a project may not set, and why."""
_PERSONAL_OF_SERVERS: Mapping[str, str] = {"env_from": _NAMES, "token_env": _NAMES}


def personal(key: KeyPath) -> str | None:
    """Return why a project may not set a key; None where it may."""
    return PERSONAL.get(key) if server_of(key) is None else _PERSONAL_OF_SERVERS.get(key[-1])


def load(
    overrides: Mapping[KeyPath, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Config:
    """Return the configuration that holds in ``folder``; ``overrides`` are command line flags, None where not given."""
    return build(settings(overrides or {}, environ=environ, folder=folder or Path(), say=say))


def build(found: Mapping[KeyPath, Setting]) -> Config:
    """Return the configuration of these settings, which are checked already, with the defaults filled in."""
    tops: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    servers: dict[str, dict[str, Any]] = {}
    for path, setting in found.items():
        server = server_of(path)
        part = servers.setdefault(server, {}) if server else inner[path[0]] if len(path) > 1 else tops
        part[path[-1]] = setting.value
    sections: dict[str, Any] = {name: section(**inner[name]) for name, section in SECTIONS.items()}
    return Config(**tops, **sections, mcp={name: McpServer(**given) for name, given in servers.items()})


def settings(
    overrides: Mapping[KeyPath, Any],
    *,
    environ: Mapping[str, str],
    folder: Path,
    say: Callable[[str], None] | None = None,
) -> dict[KeyPath, Setting]:
    """Collect every setting that somebody made, checked, with the place that won; a key that is withheld is said."""
    keys = known_keys()
    for key in overrides.keys() - keys.keys():
        raise _unknown_key(key, "the settings")
    flags = {
        key: Setting(_parse(value, keys[key]) if isinstance(value, str) else value, "command line")
        for key, value in overrides.items()
        if value is not None
    }
    own = [*_files(environ, folder), Layer(_from_environment(environ)), Layer(flags)]
    layers = [_of_ollama(environ), _of_machine(environ, own), *own]
    found = _checked(_merged(layers))
    _whole_servers(found)
    for key in (("llm", "api_key"), ("llm", "api_key_env"), ("llm", "api_key_file")):
        if _withheld(key, layers):
            kept, url = found.pop(key), found[_URL]
            if say is not None:
                say(f"The `{key[-1]}` of {kept.place} is not for the `base_url` of {url.place}, and is not sent there.")
    env = found.get(("llm", "api_key_env"))
    if say is not None and env is not None and ("llm", "api_key") not in found and not environ.get(env.value):
        say(f"`api_key_env` names {env.value}, which is not set: no key is sent.")
    return found


def _merged(layers: Sequence[Layer]) -> dict[KeyPath, Setting]:
    """Let a later layer win key by key, but an MCP server as a whole: what one place lends it is for no other's."""
    merged: dict[KeyPath, Setting] = {}
    for layer in layers:
        own = {server_of(key) for key in layer.settings} - {None}
        merged = {key: setting for key, setting in merged.items() if server_of(key) not in own} | dict(layer.settings)
    return merged


def _whole_servers(found: Mapping[KeyPath, Setting]) -> None:
    """Refuse an MCP server that cannot be reached, or in two ways.

    Raises:
        ConfigError: It has neither a command nor an address, or both, or what goes with the other.
    """
    given: dict[str, set[str]] = {}
    places: dict[str, str] = {}
    for key, setting in found.items():
        if server := server_of(key):
            given.setdefault(server, set()).add(key[-1])
            places[server] = setting.place
    for server, names in given.items():
        wrong = names & ({"env", "env_from"} if "url" in names else {"token_env"})
        if len(names & {"command", "url"}) != 1:
            why = "needs a `command` or a `url`, and not both"
        elif wrong:
            why = f"has a `{'url' if 'url' in names else 'command'}`, which takes no `{min(wrong)}`"
        else:
            continue
        dotted = ".".join((*MCP, server))
        raise ConfigError(
            f"`{dotted}` in {places[server]} {why}.",
            where=f"{places[server]}: {dotted}",
            hint="docs/mcp.md has examples.",
        )


def named(found: Mapping[KeyPath, Setting]) -> bool:
    """Tell whether a person named a server. What is only the usual place is looked at, and passed over."""
    return _URL in found and found[_URL].place != ollama.VARIABLE


def _of_ollama(environ: Mapping[str, str]) -> Layer:
    url = ollama.base_url(environ)
    return Layer({} if url is None else {_URL: Setting(url, ollama.VARIABLE)})


def _of_machine(environ: Mapping[str, str], own: Sequence[Layer]) -> Layer:
    """Return what whoever runs this machine set for all; what is said of its server is not for another address."""
    file = paths.system_config(environ)
    found = _from_file(file) if file is not None and file.is_file() else {}
    elsewhere = any(_URL in layer.settings for layer in own)
    return Layer({key: setting for key, setting in found.items() if not (elsewhere and key[0] == "llm")})


def _withheld(key: KeyPath, layers: Sequence[Layer]) -> bool:
    """Tell whether a key may not go to the ``base_url`` that holds.

    A project's address gets no key of the person's, and a key that stands beside an address goes to no other.
    """
    url, holder = (next((layer for layer in reversed(layers) if name in layer.settings), None) for name in (_URL, key))
    if url is None or holder is None or url is holder:
        return False
    return url.project or _URL in holder.settings


def wanted(name: str, words: str) -> tuple[KeyPath, Any]:
    """Return a key and its value as a person writes them, as they may stand in a file.

    Raises:
        ConfigError: There is no such key, or it does not hold that.
    """
    key = tuple(name.split("."))
    if (known := find(key)) is None:
        raise _unknown_key(key, "the command line")
    value = _parse(words, known)
    _checked({key: Setting(value, "command line")})
    return key, value


def variable(key: KeyPath) -> str:
    """Return the environment variable that sets ``key``."""
    return PREFIX + "_".join(key).upper()


def _files(environ: Mapping[str, str], folder: Path) -> list[Layer]:
    user, project, named = paths.user_config(environ), folder / PROJECT_FILE, environ.get("CONCIERGE_CONFIG_PATH")
    layers = [Layer(_from_file(user))] if user is not None and user.is_file() else []
    if named:
        return [*layers, Layer(_from_file(paths.expanded(named, environ, where="CONCIERGE_CONFIG_PATH")))]
    return [*layers, Layer(_of_project(project), project=True)] if project.is_file() else layers


def _of_project(file: Path) -> dict[KeyPath, Setting]:
    found = _from_file(file)
    for key in found:
        if (why := personal(key)) is not None:
            dotted = ".".join(key)
            alone = f", or as {variable(key)}" if key in PERSONAL else ""
            raise ConfigError(
                f"`{dotted}` in {file}: {why}.",
                where=f"{file}: {dotted}",
                hint=f"Set it in your own concierge.toml{alone}.",
            )
    return {key: replace(setting, project=True) for key, setting in found.items()}


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
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{file} is not valid {file.suffix[1:].upper() or 'TOML'}: {error}", where=str(file)
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(f"{file} holds {type(document).__name__}, not a table of keys.", where=str(file))
    return document


def _flatten(document: Mapping[str, Any], file: Path) -> dict[KeyPath, Any]:
    flat: dict[KeyPath, Any] = {}
    for name, value in document.items():
        if name == MCP[0]:
            flat |= _of_servers(_table(value, (name,), file), file)
        elif name in SECTIONS:
            flat |= {(name, inner): inner_value for inner, inner_value in _table(value, (name,), file).items()}
        else:
            flat[(name,)] = value
    for key in flat:
        if find(key) is None:
            raise _unknown_key(key, str(file))
    return flat


def _of_servers(table: Mapping[str, Any], file: Path) -> dict[KeyPath, Any]:
    for name in table.keys() - {MCP[1]}:
        raise _unknown_key((MCP[0], name), str(file))
    servers = _table(table.get(MCP[1], {}), MCP, file)
    return {
        (*MCP, name, key): value
        for name, server in servers.items()
        for key, value in _table(server, (*MCP, name), file).items()
    }


def _table(value: Any, path: KeyPath, file: Path) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    dotted = ".".join(path)
    raise ConfigError(f"`{dotted}` in {file} is a table of keys, not a value.", where=f"{file}: {dotted}")


def _unknown_key(key: KeyPath, place: str) -> ConfigError:
    dotted, keys = ".".join(key), [*known_keys(), *((*key[:-1], name) for name in server_keys() if server_of(key))]
    sections = {known[:1] for known in keys}
    names = {".".join(known): known for known in (*sections, *keys)} | {known[-1]: known for known in keys}
    close = difflib.get_close_matches(dotted, names, n=1) or difflib.get_close_matches(key[-1], names, n=1)
    hint = f"Did you mean `{'.'.join(names[close[0]])}`?" if close else "`concierge config show` lists every key."
    return ConfigError(f"Unknown key `{dotted}` in {place}.", where=f"{place}: {dotted}", hint=hint)


def _from_environment(environ: Mapping[str, str]) -> dict[KeyPath, Setting]:
    found: dict[KeyPath, Setting] = {}
    _refuse_unknown_variables(environ)
    for key, field in known_keys().items():
        name = variable(key)
        if name in environ:
            found[key] = Setting(_parse(environ[name], field), name)
    if "CONCIERGE_WORKSPACE" in environ:
        found[("workspace_root",)] = Setting(environ["CONCIERGE_WORKSPACE"], "CONCIERGE_WORKSPACE")
    return found


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {variable(key) for key in known_keys()}
    sections = tuple(f"{variable((name,))}_" for name in SECTIONS)
    for name in environ:
        if name.startswith(sections) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else "docs/configuration.md lists every variable."
            raise ConfigError(f"Unknown variable {name}.", where=name, hint=hint)


def _parse(words: str, key: Key) -> Any:
    """Turn a variable's text into the value that a file would hold: JSON where the key is not text."""
    if key.kind.is_text:
        return words
    try:
        return jsontext.parse(words)
    except ValueError:
        return words


def _checked(found: Mapping[KeyPath, Setting]) -> dict[KeyPath, Setting]:
    checked: dict[KeyPath, Setting] = {}
    for path, setting in found.items():
        key = find(path)
        assert key is not None
        try:
            checked[path] = replace(setting, value=key.kind.read(setting.value))
        except ValueError as error:
            raise _wrong_value(".".join(path), setting, key, str(error)) from None
    return checked


def _wrong_value(dotted: str, setting: Setting, key: Key, why: str) -> ConfigError:
    shown = "the value" if key.kind.hidden else _shown(setting.value)
    return ConfigError(
        f"`{dotted}` in {setting.place}: {shown} {why}.",
        where=f"{setting.place}: {dotted}",
        hint="docs/configuration.md lists every key with its type.",
    )


def _shown(value: object) -> str:
    words = masked(repr(value))
    return words if len(words) <= 60 else words[:57] + "..."
