"""The two lock files are complete: pip needs no resolver, so what the index holds today changes nothing."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPOSITORY = Path(__file__).parents[1]
GROUPS = {"requirements.lock": ["build"], "requirements-dev.lock": ["build", "dev"]}

SYSTEMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
]
MINORS = (11, 12, 13, 14)
BUNDLED = {11: "22.3", 12: "23.2.1", 13: "24.2"}
"""The pip that the first release of each Python brought along; newer ones bring one that is new enough."""

INSTALL_S = 300


def pins(lock: str) -> list[Requirement]:
    lines = (REPOSITORY / lock).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if line[:1].strip()]


def places() -> list[dict[str, str]]:
    now = {name: str(value) for name, value in default_environment().items()}
    pythons = [{"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"} for minor in MINORS]
    return [now | system | python for system, python in itertools.product(SYSTEMS, pythons)]


def applies(wanted: Requirement, place: Mapping[str, str], extras: set[str] | None = None) -> bool:
    marker = wanted.marker
    return marker is None or any(marker.evaluate({**place, "extra": extra}) for extra in {""} | (extras or set()))


def roots(lock: str) -> list[Requirement]:
    document: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    groups = document["dependency-groups"]
    words = document["project"]["dependencies"] + [word for group in GROUPS[lock] for word in groups[group]]
    return [Requirement(word) for word in words]


def demands(lock: str, place: Mapping[str, str]) -> Iterator[tuple[str, Requirement]]:
    """Everything that the project and its pinned packages ask for in that place, extras included."""
    yield from (("concierge", root) for root in roots(lock) if applies(root, place))
    for pin in pins(lock):
        if not applies(pin, place):
            continue
        try:
            wanted = requires(pin.name) or []
        except PackageNotFoundError:
            assert not applies(pin, {}), f"{pin.name} is pinned, and is not installed"
            continue
        yield from ((pin.name, each) for each in map(Requirement, wanted) if applies(each, place, pin.extras))


def missing(lock: str, place: Mapping[str, str]) -> list[str]:
    held = {canonicalize_name(pin.name): pin for pin in pins(lock) if applies(pin, place)}
    return [
        f"{asker} wants {wanted}"
        for asker, wanted in demands(lock, place)
        if (pin := held.get(canonicalize_name(wanted.name))) is None
        or not wanted.extras <= pin.extras
        or not wanted.specifier.contains(next(iter(pin.specifier)).version, prereleases=True)
    ]


def from_the_lock() -> bool:
    """Whether these packages are the pinned ones; those of a distribution (Nix) ask for other things."""
    here = [pin for pin in pins("requirements-dev.lock") if applies(pin, {})]
    try:
        return all(pin.specifier.contains(version(pin.name), prereleases=True) for pin in here)
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not from_the_lock(), reason="these packages are not from requirements-dev.lock")
@pytest.mark.parametrize("lock", GROUPS)
def test_a_lock_holds_whatever_its_packages_ask_for_on_every_system_and_python(lock: str) -> None:
    assert {place["sys_platform"] + place["python_version"]: missing(lock, place) for place in places()} == {
        place["sys_platform"] + place["python_version"]: [] for place in places()
    }


def test_both_locks_pin_the_same_versions() -> None:
    dev = {pin.name: pin.specifier for pin in pins("requirements-dev.lock")}
    assert {pin.name: pin.specifier for pin in pins("requirements.lock")}.items() <= dev.items()


@pytest.mark.parametrize("lock", GROUPS)
def test_a_lock_names_no_address(lock: str) -> None:
    assert "://" not in (REPOSITORY / lock).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pip-cache")


@pytest.mark.slow
@pytest.mark.parametrize("lock", GROUPS)
@pytest.mark.parametrize("pip", ["oldest", "newest"])
def test_the_oldest_and_the_newest_pip_install_a_lock(pip: str, lock: str, tmp_path: Path, cache: Path) -> None:
    bundled = BUNDLED.get(sys.version_info.minor)
    wanted = f"pip=={bundled}" if pip == "oldest" and bundled else "pip"
    python = tmp_path / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path))
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", wanted)
    run(
        str(python), "-m", "pip", "install", "--quiet", "--cache-dir", str(cache), "--no-compile",
        "--no-deps", "--require-hashes", "-r", str(REPOSITORY / lock),
    )  # fmt: skip
    run(str(python), "-m", "pip", "check")


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
