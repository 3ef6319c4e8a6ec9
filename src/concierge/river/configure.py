"""A key of the configuration, set by the person who works here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concierge import files, paths
from concierge.config import edit, sources
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.river.parts import Parts


def set_key(parts: Parts, name: str, words: str, *, user: bool) -> Path:
    """Set a key in the project's file, or in the person's own where there is none or ``user`` says so.

    Raises:
        ConfigError: There is no such key, it does not hold that, or the file cannot be changed so.
    """
    key, value = sources.wanted(name, words)
    project, own = parts.folder / sources.PROJECT_FILE, paths.user_config(parts.environ)
    file = own if own is not None and (user or not project.is_file()) else project
    if file == project and (why := sources.personal(key)) is not None:
        raise ConfigError(f"`{name}`: {why}.", where=name, hint="Set it with --user.")
    allowed = parts.gate.open()
    with files.storing(file, ConfigError, hint="Make it writable."):
        text = file.read_bytes().decode() if file.is_file() else ""
        changed = edit.with_key(text, key, value, where=file)
        file.parent.mkdir(parents=True, exist_ok=True)
        # A link stays one, and a file keeps its mode.
        files.replace(file.resolve(), changed.encode(), mode=file.stat().st_mode & 0o777 if file.exists() else 0o600)
    if allowed:
        # Whoever sets it here allows it, as with everything that the project asked for before.
        found = sources.settings({}, environ=parts.environ, folder=parts.folder)
        replace(parts, config=sources.build(found), found=found).gate.allow()
    return file
