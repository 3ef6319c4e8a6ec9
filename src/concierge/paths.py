"""Where things are on disk, and how the home is made."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


MADE = "made"
"""In a home that ``make`` made: the first folder that was not there before, so that it can be taken away again."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds everything concierge keeps on this machine (``CONCIERGE_HOME``)."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def generations(self) -> Path:
        return self.root / "generations"

    @property
    def current(self) -> Path:
        return self.root / "current"

    @property
    def measured(self) -> Path:
        """What was measured on this machine."""
        return self.root / "measured.json"

    @property
    def endpoints(self) -> Path:
        """What servers were found to do."""
        return self.root / "endpoints.json"

    @property
    def trust(self) -> Path:
        """What its user has allowed."""
        return self.root / "trust"

    @property
    def projects(self) -> Path:
        """The folders in which it was used, a file each: their locks need what they name."""
        return self.root / "projects"

    @property
    def nix(self) -> Path:
        """Links to engines that Nix keeps."""
        return self.root / "nix"

    @property
    def run(self) -> Path:
        """Lock, process record and server logs."""
        return self.root / "run"


def home(environ: Mapping[str, str] = os.environ) -> Home:
    """Return the home that ``CONCIERGE_HOME`` names, or the platform's user data folder.

    Raises:
        ConfigError: ``CONCIERGE_HOME`` is not an absolute path, or nothing says where this user's home is.
    """
    named = environ.get("CONCIERGE_HOME")
    if named:
        root = expanded(named, environ, where="CONCIERGE_HOME")
        if not root.is_absolute():
            raise ConfigError(
                f"CONCIERGE_HOME is not an absolute path: {named}",
                where="CONCIERGE_HOME",
                hint=f"Set it to {Path(named).absolute()}.",
            )
        return Home(root)
    folder = _user_folder(environ, linux=("XDG_DATA_HOME", ".local/share"), roaming=False)
    if folder is None:
        raise ConfigError(
            "Nothing says where to keep things: HOME is not set, and this user has no account here.",
            where="HOME",
            hint="Set CONCIERGE_HOME to a folder that you can write to.",
        )
    return Home(folder)


def make(folder: Path, root: Path) -> None:
    """Make a folder at or below ``root``, for its user alone; where ``root`` is new, write down what was made for it.

    Raises:
        OSError: It cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    if not missing:
        folder.mkdir(exist_ok=True)  # says what is wrong with a file
        return
    for place in reversed(missing):
        place.mkdir(mode=0o700 if root in (place, *place.parents) else 0o777, exist_ok=True)
    if root in missing:
        with (root / MADE).open("w", encoding="utf-8") as file:
            file.write(str(missing[-1]))


def user_config(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the user's own ``concierge.toml`` is or would be; None for a user without a home."""
    folder = _user_folder(environ, linux=("XDG_CONFIG_HOME", ".config"), roaming=True)
    return None if folder is None else folder / "concierge.toml"


def system_config(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the ``concierge.toml`` for all who use this machine is or would be; None where it has no place."""
    named = environ.get("CONCIERGE_SYSTEM_CONFIG_PATH")
    if named:
        return Path(named)
    return None if sys.platform == "win32" else Path("/etc/concierge/concierge.toml")


def expanded(text: str, environ: Mapping[str, str] = os.environ, *, where: str) -> Path:
    """Return ``text`` as a path, in which ``~`` is this user's home and ``~name`` that of another one.

    Raises:
        ConfigError: There is no such home; ``where`` is what the text stands in.
    """
    first, _, rest = text.partition("/")
    user = user_home(environ)
    if first == "~" and user is not None:
        return user / rest
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{where} is {text}, and nothing says where {first} is.", where=where, hint="Write the whole path."
        ) from None


def user_home(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the home of whoever runs this: ``HOME``, else what the account says; None where neither says anything."""
    named = environ.get("HOME")
    if named and sys.platform != "win32":
        return Path(named)
    try:
        return Path.home()
    except RuntimeError:
        return None


def _user_folder(environ: Mapping[str, str], *, linux: tuple[str, str], roaming: bool) -> Path | None:
    if sys.platform == "linux":
        variable, default = linux
        named, user = environ.get(variable, ""), user_home(environ)
        # The XDG base directory specification says that a relative path is to be ignored.
        base = Path(named) if named.startswith("/") else user and user / default
        return base and base / "concierge"
    # platformdirs knows the other platforms; on Linux the rule above is the same one without its import.
    import platformdirs

    try:
        if roaming:
            return platformdirs.user_config_path("concierge", appauthor=False)
        return platformdirs.user_data_path("concierge", appauthor=False)
    except RuntimeError:
        return None
