"""What a command sees of this machine: computed here once, built by whichever layer confines it."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SYSTEM = ("/usr", "/etc", "/nix/store", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Programs and what they need, where they are there; the newer of these are links into the first."""
_SETTINGS = ("/etc", "/usr/local/etc")
"""Where a system keeps secrets beside what everybody may read."""
_BEYOND = ("/tmp", "/var", "/run", "/home", "/root", "/proc", "/sys", "/dev", "/mnt", "/opt", "/srv")  # noqa: S108  # never used
"""What belongs to more than one task."""
_KERNEL = ("/proc", "/sys", "/dev")
_PROGRAMS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
_NIX_PROGRAMS = "/run/current-system/sw/bin"
_SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
_RESOLVER = Path("/etc/resolv.conf")

_MACHINE = ("kcore", "keys", "key-users", "kmsg", "kpagecount", "kpagecgroup", "kpageflags", "latency_stats", "mtd",
            "pagetypeinfo", "sched_debug", "slabinfo", "sysrq-trigger", "timer_list", "vmallocinfo", "acpi", "asound",
            "bus", "fs", "irq", "scsi", "driver", "interrupts", "iomem", "ioports", "kallsyms", "modules")  # fmt: skip
"""Below ``/proc``, beside the processes: what tells of the machine, or moves it where the user is root."""


@dataclass(frozen=True, slots=True)
class View:
    """One command's part of the file system; every path is absolute and without links."""

    folder: str
    readable: list[str]
    links: dict[str, str]
    hidden: list[str]
    guards: list[str]
    covered: list[str]
    silenced: list[str]
    shell: str
    environ: dict[str, str]


def seen(folder: Path, *, invisible: Iterable[Path], network: bool, secrets: Secrets | None = None) -> View:
    """Look at the file system as it is now; ``secrets`` remembers those of the system's settings.

    Raises:
        SandboxError: The folder is not one that a command may have for itself.
    """
    own = _own(folder)
    readable, links = _system(network=network)
    hidden = (secrets or Secrets()).below(readable) if sys.platform == "linux" else []
    guards: list[str] = []
    covered: list[str] = []
    for path in (each.expanduser().resolve() for each in invisible):
        if own == path:
            raise SandboxError(f"{own} is to be invisible, so nothing can work in it.", where=str(own))
        if own in path.parents:
            path.mkdir(mode=0o700, parents=True, exist_ok=True) if not path.exists() else None
            covered.append(str(path))
            guards += [str(part) for part in reversed(path.parents) if own in part.parents]
        elif path.exists() and any(Path(root) in path.parents for root in readable):
            hidden.append(str(path))
    return View(
        folder=str(own),
        readable=readable,
        links=links,
        hidden=hidden,
        guards=list(dict.fromkeys(guards)),
        covered=covered,
        silenced=[f"/proc/{name}" for name in _MACHINE if Path("/proc", name).exists()],
        shell=next((shell for shell in _SHELLS if Path(shell).exists()), "/bin/sh"),
        environ=_environ(own),
    )


def _own(folder: Path) -> Path:
    try:
        own = folder.resolve(strict=True)
    except OSError as error:
        raise SandboxError(f"{folder} cannot be used: {error.strerror}.", where=str(folder)) from error
    if not own.is_dir():
        raise SandboxError(f"{own} is not a folder.", where=str(own))
    homes = {Path.home(), *_home_in_the_register()}
    for kept in (Path(path) for path in {*_SYSTEM, *_BEYOND, *map(str, homes)}):
        if own in (kept, kept.resolve()) or own in kept.parents:
            hint = "Work in a folder of its own below it."
            raise SandboxError(f"A shell may not have {own} for itself: {kept} is there.", where=str(own), hint=hint)
    if any(Path(path) in own.parents for path in _KERNEL):
        raise SandboxError(f"A shell may not have {own}, which belongs to the system.", where=str(own))
    return own


def _home_in_the_register() -> Iterator[Path]:
    import pwd

    try:
        yield Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return


def _system(*, network: bool) -> tuple[list[str], dict[str, str]]:
    links = {path: str(Path(path).readlink()) for path in _SYSTEM if Path(path).is_symlink()}
    readable = [path for path in _SYSTEM if path not in links and Path(path).is_dir()]
    if network and _RESOLVER.exists():
        # It is often a link to where the system's services are, which stay out of sight.
        resolver = _RESOLVER.resolve()
        if not any(Path(path) in resolver.parents for path in readable):
            readable.append(str(resolver))
    return readable, links


class Secrets:
    """What we could read among the system's settings and what is not meant for everybody.

    It is looked for again once a folder there has changed: what was open to everybody before, and is closed in its
    place, was no secret.
    """

    def __init__(self, roots: Iterable[str] = _SETTINGS) -> None:
        self._roots = tuple(roots)
        # One pair, replaced as a whole: commands may be looked at by several threads at once.
        self._known: tuple[dict[str, int], list[str]] = ({}, [])

    def below(self, readable: Iterable[str]) -> list[str]:
        """Return what is to be hidden of the folders that are readable."""
        roots = [root for root in self._roots if any(_inside(root, path) for path in readable)]
        looked, found = self._known
        if not looked or any(_changed(folder) != then for folder, then in looked.items()):
            looked = {}
            found = [path for root in self._roots for path in _not_for_all(root, looked)]
            self._known = looked, found
        return [path for path in found if any(_inside(path, root) for root in roots)]


def _not_for_all(folder: str, looked: dict[str, int]) -> Iterator[str]:
    """Yield what is closed below a folder; ``looked`` gets the folders, each with when it had changed last."""
    looked[folder] = _changed(folder)  # before it is read: what comes meanwhile is seen the next time
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_symlink():
                continue
            mode = entry.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:
            continue  # it went while one looked
        wanted = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if mode & wanted != wanted:
            if os.access(entry.path, os.R_OK):
                yield entry.path
        elif stat.S_ISDIR(mode):
            yield from _not_for_all(entry.path, looked)


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _changed(folder: str) -> int:
    """Return when something was put into a folder or taken out of it, in nanoseconds; 0 where it is not there."""
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def _environ(folder: Path) -> dict[str, str]:
    programs = [*_PROGRAMS]
    if Path(_NIX_PROGRAMS).is_dir():
        programs.append(str(Path(_NIX_PROGRAMS).resolve()))
    return {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": ":".join(programs),
        "PWD": str(folder),
        "TERM": "dumb",
        "TMPDIR": "/tmp" if sys.platform == "linux" else str(folder),  # noqa: S108  # the command's own
    }
