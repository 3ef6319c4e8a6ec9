"""Print, as lines for a POSIX shell, what of a user's installer settings may reach the installer of ``.venv``.

How to reach the package index is the user's to say: addresses, proxies, certificates, patience. Which packages are
taken and where they are put is said by the lock file and by ``.venv`` alone, so that everything else (``user``,
``target``, ``prefix``, ``constraint``, ``no-binary`` and whatever the next release brings) is taken away.

    index_settings.py pip PYTHON -m pip …    for that pip: its configuration files and PIP_* variables
    index_settings.py uv FILE                for uv: its configuration files, reduced to FILE, and UV_* variables
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PIP = """
index-url extra-index-url no-index find-links trusted-host proxy cert client-cert timeout default-timeout retries
resume-retries keyring-provider use-feature use-deprecated
"""
"""The last two turn the operating system's certificates on or off, according to pip's age."""

UV = """
index default-index index-url extra-index-url no-index find-links index-strategy insecure-host allow-insecure-host
keyring-provider native-tls system-certs offline http-proxy https-proxy no-proxy http-timeout request-timeout
http-connect-timeout http-retries concurrent-downloads
"""

_UV_CREDENTIALS = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_SECTIONS = ("global", "install", ":env:")
"""Of pip's configuration, weakest first."""

PIP_LIST_S = 60


def main(words: list[str], environ: Mapping[str, str]) -> None:
    """Print the lines for one of the two installers."""
    lines = _pip(words[1:], environ) if words[0] == "pip" else _uv(Path(words[1]), environ)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _pip(pip: list[str], environ: Mapping[str, str]) -> Iterable[str]:
    # Settings that would start another pip, or silence the answer, must not reach this question.
    asking = {name: value for name, value in environ.items() if name != "PIP_PYTHON"}
    asking |= {"PIP_QUIET": "0", "PIP_VERBOSE": "0"}
    listed = subprocess.run(
        [*pip, "config", "list"], env=asking, stdout=subprocess.PIPE, text=True, timeout=PIP_LIST_S, check=False
    ).stdout
    yield from _forget(name for name in environ if name.startswith("PIP_"))
    for key, value in _reach(listed).items():
        yield f"export PIP_{key.upper().replace('-', '_')}={shlex.quote(value)}"
    yield f"export PIP_CONFIG_FILE={os.devnull}"


def _reach(listed: str) -> dict[str, str]:
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found and key in PIP.split():
            found[section][key] = str(ast.literal_eval(value))
    return {key: value for section in _SECTIONS for key, value in found[section].items()}


def _uv(file: Path, environ: Mapping[str, str]) -> Iterable[str]:
    merged: dict[str, object] = {}
    for place in _uv_files(environ):
        merged |= _reduced(tomllib.loads(place.read_text(encoding="utf-8")))
    os.umask(0o077)  # an index's address may hold a password
    file.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in merged.items()), encoding="utf-8")
    yield from _forget(name for name in environ if name.startswith("UV_") and not _reaches(name))
    yield f"export UV_CONFIG_FILE={shlex.quote(str(file))}"


def _uv_files(environ: Mapping[str, str]) -> list[Path]:
    if named := environ.get("UV_CONFIG_FILE"):
        return [Path(named)]
    system = [Path(folder) for folder in reversed(environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"))]
    user = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/nonexistent"), ".config"))
    places = [folder / "uv" / "uv.toml" for folder in (Path("/etc"), *system, user)]
    return [place for place in places if place.is_file()]


def _reaches(name: str) -> bool:
    return name.removeprefix("UV_").lower().replace("_", "-") in UV.split() or bool(_UV_CREDENTIALS.fullmatch(name))


def _reduced(table: dict[str, object]) -> dict[str, object]:
    kept = {key: value for key, value in table.items() if key in UV.split()}
    if isinstance(inner := table.get("pip"), dict):
        kept["pip"] = _reduced(inner)
    return kept


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)


def _forget(names: Iterable[str]) -> Iterable[str]:
    return (f"unset {name}" for name in names if re.fullmatch(r"\w+", name, re.ASCII))


if __name__ == "__main__":
    try:
        main(sys.argv[1:], os.environ)
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        sys.exit(f"bootstrap: {sys.argv[1]}'s settings: {error}")
