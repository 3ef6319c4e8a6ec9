"""The hash that ``nix hash path`` prints, without Nix.

The format is the Nix Archive: E. Dolstra, *The Purely Functional Software Deployment Model* (2006), §5.2.1,
and "Nix Archive (NAR) format" in the Nix manual. It keeps names, contents, the owner's executable bit and symbolic
links, and nothing else: no times, no owners, no other permissions, no hard links.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from concierge.errors import VerifyError
from concierge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Large enough that hashing, not reading, is the cost; small enough to stay in a second-level cache.
BLOCK = MIB


def nar_sha256(path: Path, *, seen: Callable[[str, bytes], None] = lambda _path, _block: None) -> str:
    """Return the sha256 of the archive of a file, folder or link, as 64 hexadecimal digits.

    ``seen`` is called with the path and each block of every file, so that one reading serves two purposes.

    Raises:
        VerifyError: Something is neither file, folder nor link, cannot be read, or changed while it was read.
    """
    digest = hashlib.sha256()
    try:
        for chunk in archive(path, seen=seen):
            digest.update(chunk)
    except OSError as error:
        raise VerifyError(
            f"Cannot read {error.filename or path}: {error.strerror}.",
            where=str(path),
            hint="Check its permissions, then try again.",
        ) from None
    return digest.hexdigest()


def sri(sha256: str) -> str:
    """Return a hexadecimal sha256 as ``nix hash path`` prints it: ``sha256-`` and base64."""
    return "sha256-" + base64.b64encode(bytes.fromhex(sha256)).decode("ascii")


def archive(root: Path, *, seen: Callable[[str, bytes], None] = lambda _path, _block: None) -> Iterator[bytes]:
    """Yield the archive of ``root`` in pieces, never a whole file at once."""
    yield _text(b"nix-archive-1")
    # A list instead of recursion: a legal path can nest deeper than Python's stack.
    todo: list[bytes | str] = [os.fspath(root)]
    while todo:
        item = todo.pop()
        if isinstance(item, bytes):
            yield item
            continue
        mode = os.lstat(item).st_mode
        yield _text(b"(") + _text(b"type")
        if stat.S_ISREG(mode):
            yield from _file(item, seen)
        elif stat.S_ISLNK(mode):
            target = os.readlink(item)  # noqa: PTH115  # Path.readlink tidies `./a//b`, and the hash would differ
            yield _text(b"symlink") + _text(b"target") + _text(os.fsencode(target)) + _text(b")")
        elif stat.S_ISDIR(mode):
            yield _text(b"directory")
            todo.append(_text(b")"))
            todo.extend(_entries(item))
        else:
            raise VerifyError(
                f"{item} is a socket, a pipe or a device; only files, folders and links have a hash.",
                where=str(root),
                hint="Remove it, then try again.",
            )


def _entries(folder: str) -> Iterator[bytes | str]:
    """Yield a folder's entries, last one first, each as what is popped off its end in the right order."""
    for name in sorted((os.fsencode(name) for name in os.listdir(folder)), reverse=True):  # noqa: PTH208  # as below
        yield _text(b")")
        yield os.path.join(folder, os.fsdecode(name))  # noqa: PTH118  # a Path per entry doubles the time
        yield _text(b"entry") + _text(b"(") + _text(b"name") + _text(name) + _text(b"node")


def _file(path: str, seen: Callable[[str, bytes], None]) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # as above
        status = os.fstat(file.fileno())
        executable = _text(b"executable") + _text(b"") if status.st_mode & stat.S_IXUSR else b""
        yield _text(b"regular") + executable + _text(b"contents") + _length(status.st_size)
        read = 0
        while block := file.read(BLOCK):
            read += len(block)
            seen(path, block)
            yield block
    if read != status.st_size:
        raise VerifyError(
            f"{path} changed while it was read: {status.st_size} bytes became {read}.",
            where=path,
            hint="Stop what writes to it, then try again.",
        )
    yield _padding(read) + _text(b")")


def _text(text: bytes) -> bytes:
    return _length(len(text)) + text + _padding(len(text))


def _length(length: int) -> bytes:
    return length.to_bytes(8, "little")


def _padding(length: int) -> bytes:
    return bytes(-length % 8)
