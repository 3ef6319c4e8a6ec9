"""Where things are on disk. Nothing here creates anything."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    def run(self) -> Path:
        """Lock, process record and server logs."""
        return self.root / "run"


def home(environ: Mapping[str, str] = os.environ) -> Home:
    """Return the home that ``CONCIERGE_HOME`` names, or the platform's user data folder.

    Raises:
        ConfigError: ``CONCIERGE_HOME`` is not an absolute path.
    """
    named = environ.get("CONCIERGE_HOME")
    if named:
        root = Path(named).expanduser()
        if not root.is_absolute():
            raise ConfigError(
                f"CONCIERGE_HOME is not an absolute path: {named}",
                where="CONCIERGE_HOME",
                hint=f"Set it to {Path(named).absolute()}.",
            )
        return Home(root)
    return Home(_user_folder(environ, linux=("XDG_DATA_HOME", ".local/share"), roaming=False))


def user_config(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the user's own ``concierge.toml``, whether or not it exists."""
    return _user_folder(environ, linux=("XDG_CONFIG_HOME", ".config"), roaming=True) / "concierge.toml"


def _user_folder(environ: Mapping[str, str], *, linux: tuple[str, str], roaming: bool) -> Path:
    if sys.platform == "linux":
        variable, default = linux
        named = environ.get(variable, "")
        # The XDG base directory specification says that a relative path is to be ignored.
        base = Path(named) if named.startswith("/") else Path(environ.get("HOME") or Path.home()) / default
        return base / "concierge"
    # platformdirs knows the other platforms; on Linux the rule above is the same one without its import.
    import platformdirs

    if roaming:
        return platformdirs.user_config_path("concierge", appauthor=False)
    return platformdirs.user_data_path("concierge", appauthor=False)
