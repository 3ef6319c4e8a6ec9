"""File locks: of one file, and the one per user, machine and home whose holder alone may change the server.

The latter has up to two files. One lies in the user's runtime folder, which is always a local disk; the other in
the home, where every command finds it whatever its environment says, so that a command started by cron and
one started in a session exclude each other. Only their holder may remove them: who waited for a removed one takes the
lock of the next.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import paths
from concierge.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from concierge.paths import Home

WAIT_S = 90.0
"""Longer than the slowest stop, which is the longest thing that is done under the lock."""

NOT_OFFERED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def held(
    home: Home, *, environ: Mapping[str, str], say: Callable[[str], None], wait_s: float = WAIT_S
) -> Iterator[None]:
    """Hold the lock; wait for its holder first. Nothing is ever done without it."""
    deadline = time.monotonic() + wait_s
    with ExitStack() as stack:
        offered = [_take(file, home.root, stack, deadline, say) for file in files(home, environ)]
        if not any(offered):
            raise ServerError(
                f"No file lock can be had in {home.run}.",
                where=str(home.run),
                hint="Set CONCIERGE_HOME to a folder on a local disk.",
            )
        yield


def files(home: Home, environ: Mapping[str, str]) -> list[Path]:
    """Return the lock's files, in the order in which they are taken."""
    runtime = runtime_folder(environ)
    own = home.run / "lock"
    if runtime is None:
        return [own]
    import hashlib

    digest = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:16]
    return [runtime / f"concierge-{digest}.lock", own]


def runtime_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the user's runtime folder if there is one that only this user can enter."""
    if sys.platform == "win32":
        return None
    # The second is the same folder where systemd made it but the variable was not handed down.
    for named in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.geteuid()}"):
        if named.startswith("/") and _private(Path(named)):
            return Path(named)
    return None


def _private(folder: Path) -> bool:
    try:
        info = folder.lstat()
    except OSError:
        return False
    mine = info.st_uid == os.geteuid() and not info.st_mode & 0o077
    return mine and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _take(file: Path, root: Path, stack: ExitStack, deadline: float, say: Callable[[str], None]) -> bool:
    """Take one file's lock until ``stack`` closes; False where the file system offers none."""
    try:
        while True:
            paths.make(file.parent, root)
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            taken = lock(
                handle,
                wait_s=deadline - time.monotonic(),
                waiting=lambda: say(f"Waiting for another command: {holder(file)}."),
            )
            if not taken or _is_at(file, handle):
                break
            os.close(handle)  # Whoever held it took the home away with it.
        stack.callback(os.close, handle)
    except OSError as error:
        if error.errno in NOT_OFFERED:
            return False
        raise ServerError(
            f"Cannot write {file}: {error.strerror}.",
            where=str(file),
            hint="Make that folder writable, or set CONCIERGE_HOME to one that is.",
        ) from None
    if not taken:
        raise ServerError(
            f"Another command holds the lock: {holder(file)}.",
            where=str(file),
            hint="Wait for it or end it, then try again.",
        )
    sign(handle)
    return True


def lock(handle: int, *, wait_s: float = 1.0, waiting: Callable[[], None] = lambda: None, shared: bool = False) -> bool:
    """Lock an open file until it is closed, its process's end included; return whether it was had in time.

    A ``shared`` lock excludes only those that are not (on Windows all). Somebody who only looks holds it for a moment
    as well. ``waiting`` is called once, when another holder is waited for long enough that it should be said. A file
    system that offers no locks is an ``OSError``.
    """
    deadline = time.monotonic() + wait_s
    told, pause = False, 0.005
    while not _try(handle, shared=shared):
        if time.monotonic() >= deadline:
            return False
        if not told and pause >= 0.1:
            waiting()
            told = True
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


@contextmanager
def held_file(
    path: Path, *, wait_s: float = 1.0, waiting: Callable[[], None] = lambda: None, shared: bool = False
) -> Iterator[bool]:
    """Hold the lock of a file, which is made if need be; yield whether it was had, as ``lock`` does.

    Its holder, and nobody else, may remove the file: who waited for a removed one takes the lock of the next.
    """
    deadline = time.monotonic() + wait_s
    while True:
        with path.open("ab") as file:
            left = max(deadline - time.monotonic(), 0.0)
            had = lock(file.fileno(), wait_s=left, waiting=waiting, shared=shared)
            if not had or _is_at(path, file.fileno()):
                yield had
                return


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Tell whether somebody has ``path`` locked: the system forgets a holder as soon as it is gone."""
    with path.open("rb") as file:
        return not _try(file.fileno(), shared=True)


if sys.platform == "win32":
    import msvcrt

    # Such a lock also keeps others from reading: it lies where no content ever is.
    _FAR = (1 << 31) - 2

    def _try(handle: int, *, shared: bool = False) -> bool:  # noqa: ARG001  # Windows has one kind
        try:
            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try(handle: int, *, shared: bool = False) -> bool:
        # flock, not fcntl locks: those vanish as soon as any other handle on the file is closed.
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def sign(handle: int) -> None:
    """Write into a locked file who holds it, for people."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:2]] if sys.argv else []
    holder = {"pid": os.getpid(), "command": " ".join(words), "since": time.strftime("%H:%M:%S")}
    with suppress(OSError):  # on a full disk it is held all the same
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(holder).encode())


def holder(file: Path) -> str:
    """Return who signed a file."""
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['pid']} ({holder['command']}), since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"
