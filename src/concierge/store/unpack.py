"""Unpack an archive into a folder, and nowhere else."""

from __future__ import annotations

import shutil
import stat
import sys
import tarfile
import zipfile
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
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise VerifyError(
            f"{artefact.name} is not a readable {artefact.archive}: {error}", where=str(archive)
        ) from None


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
    except zipfile.BadZipFile as error:
        raise VerifyError(f"{archive.name} is damaged: {error}", where=str(archive)) from None


def _unzip(archive: Path, target: Path, strip: int) -> None:
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            place = _place(member.filename, target, strip)
            if place is None or member.is_dir():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            with source.open(member) as data, place.open("wb") as out:
                shutil.copyfileobj(data, out, MIB)
            if (member.external_attr >> 16) & stat.S_IXUSR:
                place.chmod(0o755)


def _untar(archive: Path, target: Path, artefact: Artefact) -> None:
    with _opened(archive, artefact) as data, tarfile.open(fileobj=data, mode="r|") as source:
        for member in source:
            place = _place(member.name, target, artefact.strip)
            if place is None or member.isdir():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            _write(source, member, place, target, artefact)


def _write(source: tarfile.TarFile, member: tarfile.TarInfo, place: Path, target: Path, artefact: Artefact) -> None:
    if member.issym():
        link = PurePosixPath(member.linkname)
        if link.is_absolute() or not _inside(place.parent / link, target):
            raise VerifyError(f"{artefact.name}: {member.name} links outside the archive.")
        place.symlink_to(link)
    elif member.islnk():
        other = _place(member.linkname, target, artefact.strip)
        if other is None:
            raise VerifyError(f"{artefact.name}: {member.name} links outside the archive.")
        place.hardlink_to(other)
    elif member.isfile():
        data = source.extractfile(member)
        assert data is not None
        with place.open("wb") as out:
            shutil.copyfileobj(data, out, MIB)
        place.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)
    else:
        raise VerifyError(f"{artefact.name}: {member.name} is neither a file nor a link.")


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
    return path.resolve().is_relative_to(target.resolve())
