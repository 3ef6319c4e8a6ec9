"""Of a user's installer settings, only those that say how to reach the package index reach the installer of .venv."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="for a POSIX shell script")

REPOSITORY = Path(__file__).parents[2]
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def pip() -> tuple[str, ...]:
    """Our own pip, which a Nix package's launcher knows and its bare Python does not."""
    found = find_spec("pip")
    assert found is not None
    assert found.origin is not None
    return (sys.executable, "-I", str(Path(found.origin).parent))


def exported(*words: str, **variables: str) -> dict[str, str]:
    """What a shell has in its environment after it has read the lines."""
    script = shlex.join([sys.executable, "-I", str(REPOSITORY / "scripts" / "index_settings.py"), *words])
    done = subprocess.run(
        ["sh", "-c", f'lines=$({script}) && eval "$lines" && exec "$0" -I -c "$1"', sys.executable, SHOW],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {name: value for name, value in json.loads(done.stdout).items() if name.startswith(("PIP_", "UV_"))}


def conf(folder: Path, text: str) -> str:
    path = folder / "settings"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_pips_index_settings_come_through_from_its_files_and_its_variables(tmp_path: Path) -> None:
    text = "[global]\nindex-url = https://one.example/it's\ntimeout = 7\n[install]\nextra-index-url =\n  a\n  b\n"
    found = exported("pip", *pip(), PIP_CONFIG_FILE=conf(tmp_path, text), PIP_TIMEOUT="9", PIP_PROXY="http://p.example")
    assert found["PIP_INDEX_URL"] == "https://one.example/it's"
    assert found["PIP_EXTRA_INDEX_URL"].split() == ["a", "b"]
    assert (found["PIP_TIMEOUT"], found["PIP_PROXY"]) == ("9", "http://p.example")


def test_nothing_else_of_pips_comes_through(tmp_path: Path) -> None:
    text = (
        "[global]\nuser = true\nquiet = 3\n[install]\ntarget = /elsewhere\n[download]\nindex-url = https://x.example\n"
    )
    elsewhere = {f"PIP_{name}": "/elsewhere" for name in ("PREFIX", "ROOT", "CONSTRAINT", "PYTHON", "LOG_FILE")}
    switches = {f"PIP_{name}": "1" for name in ("USER", "REQUIRE_VIRTUALENV", "NO_BINARY", "QUIET", "ISOLATED")}
    found = exported("pip", *pip(), PIP_CONFIG_FILE=conf(tmp_path, text), **elsewhere, **switches)
    # The machine's own files may say how its index is reached.
    assert set(found) <= {"PIP_CONFIG_FILE", "PIP_CERT", "PIP_INDEX_URL", "PIP_TRUSTED_HOST"}
    assert found["PIP_CONFIG_FILE"] == os.devnull
    assert found.get("PIP_INDEX_URL") != "https://x.example"


UV_TOML = """
no-binary = true
native-tls = true
[[index]]
name = "house"
url = "https://house.example/\\"simple\\""
default = true
[pip]
target = "/elsewhere"
index-url = "https://pip.example"
no-deps = false
"""


def test_uvs_index_settings_come_through_and_nothing_else(tmp_path: Path) -> None:
    reduced = tmp_path / "reduced.toml"
    found = exported(
        "uv", str(reduced), UV_CONFIG_FILE=conf(tmp_path, UV_TOML), UV_NO_VERIFY_HASHES="1", UV_SYSTEM_PYTHON="1",
        UV_INDEX_HOUSE_PASSWORD="secret", UV_HTTP_TIMEOUT="9", UV_EXCLUDE_NEWER="2020-01-01",
    )  # fmt: skip
    assert found == {"UV_CONFIG_FILE": str(reduced), "UV_INDEX_HOUSE_PASSWORD": "secret", "UV_HTTP_TIMEOUT": "9"}
    assert tomllib.loads(reduced.read_text(encoding="utf-8")) == {
        "native-tls": True,
        "index": [{"name": "house", "url": 'https://house.example/"simple"', "default": True}],
        "pip": {"index-url": "https://pip.example"},
    }
    assert reduced.stat().st_mode & 0o077 == 0


def test_uvs_own_files_are_found_the_users_before_the_systems(tmp_path: Path) -> None:
    for folder, url in (("system", "https://system.example"), ("user", "https://user.example")):
        (tmp_path / folder / "uv").mkdir(parents=True)
        (tmp_path / folder / "uv" / "uv.toml").write_text(f'index-url = "{url}"\n', encoding="utf-8")
    reduced = tmp_path / "reduced.toml"
    exported("uv", str(reduced), XDG_CONFIG_DIRS=str(tmp_path / "system"), XDG_CONFIG_HOME=str(tmp_path / "user"))
    assert tomllib.loads(reduced.read_text(encoding="utf-8"))["index-url"] == "https://user.example"


def test_settings_that_cannot_be_read_are_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "index_settings.py", "uv", tmp_path / "reduced"],
        env={"UV_CONFIG_FILE": conf(tmp_path, "= broken")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("bootstrap: uv's settings: ")


BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(folder + "/concierge-1-py3-none-any.whl", "w") as wheel:
        info = "concierge-1.dist-info/"
        wheel.writestr("concierge.py", "def main():\\n    import small\\n    print(small.__file__)\\n")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: concierge\\nVersion: 1\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "entry_points.txt", "[console_scripts]\\nconcierge = concierge:main\\n")
        wheel.writestr(info + "RECORD", "")
    return "concierge-1-py3-none-any.whl"
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "concierge"
version = "1"
"""


def small_checkout(root: Path) -> Path:
    """A checkout whose lock pins one small wheel, which is in the folder ``index``."""
    checkout = root / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in ("bootstrap.sh", "scripts/index_settings.py"):
        shutil.copy2(REPOSITORY / name, checkout / name)
    (checkout / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (checkout / "backend.py").write_text(BACKEND, encoding="utf-8")
    wheel = root / "index" / "small-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("small.py", "")
        file.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n")
        file.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("small-1.dist-info/RECORD", "")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (checkout / "requirements.lock").write_text(f"small==1 \\\n    --hash=sha256:{sha256}\n", encoding="utf-8")
    return checkout


def hostile(root: Path) -> dict[str, str]:
    """Every setting of a user that puts packages elsewhere, takes others or starts another Python."""
    home = root / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "uv").mkdir()
    index = root / "index"
    (home / ".config" / "pip" / "pip.conf").write_text(
        f"[global]\nuser = true\nno-index = true\nfind-links = {index}\n[install]\ntarget = {root}/target\n", "utf-8"
    )
    (home / ".config" / "uv" / "uv.toml").write_text(
        f'no-index = true\nfind-links = ["{index}"]\nno-binary = true\n[pip]\ntarget = "{root}/target"\n', "utf-8"
    )
    shadow = root / "shadow"
    (shadow / "small-1.dist-info").mkdir(parents=True)
    (shadow / "small.py").touch()
    (shadow / "small-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: small\nVersion: 1\n", "utf-8")
    (root / "constraints").write_text("small==2\n", encoding="utf-8")
    return {
        "HOME": str(home),
        "PIP_USER": "1",
        "PIP_TARGET": f"{root}/target",
        "PIP_PREFIX": f"{root}/prefix",
        "PIP_ROOT": f"{root}/root",
        "PIP_CONSTRAINT": f"{root}/constraints",
        "PIP_NO_BINARY": ":all:",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_DRY_RUN": "1",
        "PIP_QUIET": "3",
        "UV_NO_BINARY": "1",
        "UV_SYSTEM_PYTHON": "1",
        "UV_CONSTRAINT": f"{root}/constraints",
        "UV_EXCLUDE_NEWER": "2020-01-01",
        "PYTHONPATH": str(shadow),
        "PYTHONHOME": "/nonexistent",
        "PYTHONWARNINGS": "error",
        "PYTHONUSERBASE": f"{root}/target",
    }


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_packages_of_the_lock_land_in_the_environment_whatever_the_user_has_set(installer: str, tmp_path: Path) -> None:
    found = shutil.which("uv")
    if installer == "uv" and found is None:
        pytest.skip("there is no uv here")
    if find_spec("ensurepip") is None:
        pytest.skip("this Python makes no environments")
    checkout = small_checkout(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").symlink_to(found if installer == "uv" and found else shutil.which("false") or "")
    settings = hostile(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    done = subprocess.run(
        [checkout / "bootstrap.sh", "status"],
        env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "CONCIERGE_PYTHON": sys.executable, **settings},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(checkout / ".venv")
    assert ("trying pip" in done.stderr) == (installer == "pip")
    assert {path.name for path in tmp_path.iterdir()} == before
