"""The one folder that tools may touch.

Every path is walked component by component from an open directory, links are never followed, and what
was opened is checked again: nothing that changes between a check and its use leads outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from concierge.agent.ignoring import Ignoring
from concierge.agent.runs import unwritable
from concierge.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFINED = {os.open, os.mkdir, os.stat, os.unlink, os.rename} <= os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether this platform can walk as described; where it cannot, no tools are offered."""

READ_BYTES = 4 * 1024 * 1024
"""A larger file is not text that a model could work through in 4,000 characters at a time."""
WRITE_BYTES = 256 * 1024
LIST_ENTRIES = 200
LINE_CHARS = 200
WALKED = 20_000
"""Entries that a search looks at."""
HIDDEN = frozenset((".git", ".concierge"))
"""Folders that are neither listed nor searched."""
DEPTH = 16

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NOFOLLOW
# Opening a FIFO would otherwise wait for its writer.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NOFOLLOW
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW

_DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    name: str
    kind: str
    size: int


class Workspace:
    """Reads, writes and lists below ``root`` and nowhere else.

    Every method raises ``ToolError``, with what to send instead, for a path that leads out or to
    something that is not a plain file or folder, and ``RunError`` when the disk itself fails.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        """Return a file's whole content."""
        *folders, name = _parts(path, file=True)
        with _explained(path), self._folder(folders) as folder:
            _regular(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
            file = os.open(name, _READ, dir_fd=folder)
            with os.fdopen(file, "rb") as stream:
                _regular(os.fstat(file), path)
                content = stream.read(READ_BYTES + 1)
        if len(content) > READ_BYTES:
            raise ToolError(f"{path} is larger than {READ_BYTES} bytes. Read a smaller file.")
        return content

    def size(self, path: str) -> int:
        """Return how many bytes a file has."""
        *folders, name = _parts(path, file=True)
        with _explained(path), self._folder(folders) as folder:
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size

    def write(self, path: str, content: bytes) -> None:
        """Put a file in place whole, or not at all; missing folders are made."""
        *folders, name = _parts(path, file=True)
        if len(content) > WRITE_BYTES:
            raise ToolError(
                f"The content is {len(content)} bytes and {WRITE_BYTES} are allowed. Write several smaller files."
            )
        with _explained(path), self._folder(folders, make=True) as folder:
            mode = None
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                _regular(found, path)
                mode = stat.S_IMODE(found.st_mode) & 0o777
            _put(folder, name, content, mode)

    def entries(self, path: str) -> tuple[list[Entry], bool]:
        """Return a folder's entries sorted by name, and whether there are more than are returned."""
        with _explained(path), self._folder(_parts(path, file=False)) as folder, os.scandir(folder) as entries:
            able = (entry for entry in entries if entry.name not in HIDDEN)
            found = [_entry(entry) for entry in islice(able, LIST_ENTRIES + 1)]
        return sorted(found[:LIST_ENTRIES], key=lambda entry: entry.name), len(found) > LIST_ENTRIES

    def search(self, text: str, path: str) -> Iterator[tuple[str, int, str]]:
        """Yield the path, the number and the line for each line below a folder that holds ``text``, in order.

        Hidden folders of tools and what ``.gitignore`` names are left out; so are files that are no text, or too large.
        """
        wanted = text.casefold()
        for inner in self.files(path):
            try:
                content = self.read(inner)
            except ToolError:
                continue
            if b"\0" in content[:4096]:
                continue
            for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
                if wanted in line.casefold():
                    yield inner, number, line.strip()[:LINE_CHARS]

    def files(self, path: str = ".") -> Iterator[str]:
        """Yield the path of each plain file below a folder, in order, but those that are left out."""
        ignored = Ignoring(self.root)
        waiting = ["/".join(_parts(path, file=False))]
        seen = 0
        while waiting and seen < WALKED:
            folder = waiting.pop(0)
            entries, _ = self.entries(folder or ".")
            for entry in entries:
                seen += 1
                inner = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name in HIDDEN or ignored(inner, folder=entry.kind == "folder"):
                    continue
                if entry.kind == "folder":
                    waiting.append(inner)
                elif entry.kind == "file":
                    yield inner

    @contextlib.contextmanager
    def _folder(self, parts: list[str], *, make: bool = False) -> Iterator[int]:
        folder = os.open(self.root, _FOLDER)
        try:
            for part in parts:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


def _parts(path: str, *, file: bool) -> list[str]:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ToolError("The path is not valid text. Send a plain name such as notes.txt.") from None
    if "\0" in path:
        raise ToolError("The path contains a NUL character. Send a plain name such as notes.txt.")
    if path.startswith(("/", "~", "\\")) or path[1:3] in (":\\", ":/"):
        raise ToolError(f"{path} is not inside the workspace. Send a relative path such as notes.txt.")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ToolError(f"{path} goes up with `..`. Send a path below the workspace such as notes.txt.")
    if HIDDEN.intersection(parts):
        raise ToolError(f"{path} is not to be worked on. Send a path outside of {', '.join(sorted(HIDDEN))}.")
    if len(parts) > DEPTH:
        raise ToolError(f"{path} is nested deeper than {DEPTH} folders. Send a shorter path.")
    if file and (not parts or path.endswith("/")):
        raise ToolError(f"{path or 'An empty path'} is not a file. Send a file name such as notes.txt.")
    return parts


def _regular(found: os.stat_result, path: str) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    if stat.S_ISDIR(found.st_mode):
        raise ToolError(f"{path} is a folder. Send the path of a file in it; `list` shows them.")
    what = "a link, and links are not followed" if stat.S_ISLNK(found.st_mode) else "not a plain file"
    raise ToolError(f"{path} is {what}. Send the path of a plain file.")


def _put(folder: int, name: str, content: bytes, mode: int | None) -> None:
    # The name replaces whatever stands there, a link included, without ever opening it.
    part = f".part-{secrets.token_hex(6)}"
    file = os.open(part, _CREATE, 0o666, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as stream:
            if mode is not None:
                os.fchmod(file, mode)
            stream.write(content)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise


def _entry(entry: os.DirEntry[str]) -> Entry:
    name = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return Entry(name, "gone", 0)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return Entry(name, kinds.get(stat.S_IFMT(found.st_mode), "special"), found.st_size)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    shown = path or "."
    try:
        yield
    except FileNotFoundError:
        raise ToolError(f"There is no {shown}. `list` shows what is there.") from None
    except NotADirectoryError:
        raise ToolError(f"A part of {shown} is not a folder, and links are not followed.") from None
    except OSError as error:
        if error.errno in _DISK_TROUBLE:
            raise unwritable("The workspace cannot be used", shown, error) from None
        if error.errno == errno.ELOOP:
            raise ToolError(f"{shown} is a link, and links are not followed. Send the path of a plain file.") from None
        raise ToolError(f"{shown} cannot be used: {error.strerror}. Send another path.") from None
