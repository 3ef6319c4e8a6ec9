"""What an engine's wrapper does about GPU drivers, on file trees of the systems that it may run on. Needs no Nix."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="GPU engines from Nix are for Linux")

SCRIPT = Path(__file__).parents[2] / "nix" / "driver-env.sh"
MULTIARCH = f"/usr/lib/{platform.machine()}-linux-gnu"


class Host:
    """A system as a file tree below ``root``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "host"
        self.runtime = folder / "runtime"
        self.mesa = folder / "mesa"
        for path in (self.root, self.runtime, self.mesa / "share/vulkan/icd.d"):
            path.mkdir(parents=True)
        for icd in ("radeon_icd.x86_64.json", "intel_icd.x86_64.json", "lvp_icd.x86_64.json"):
            (self.mesa / "share/vulkan/icd.d" / icd).touch()

    def add(self, *paths: str) -> Host:
        for path in paths:
            file = Path(f"{self.root}{path}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return self

    def start(self, accelerator: str, **variables: str) -> tuple[dict[str, str], str]:
        """Source the script as a wrapper does; return the engine's environment and what was said."""
        tools = Path(shutil.which("mkdir") or "").parent
        text = (
            f"set -eu; concierge_accelerator={accelerator}; concierge_coreutils={tools}; concierge_mesa={self.mesa}\n"
            f". {SCRIPT}\nexec env -0"
        )
        environment = {
            "PATH": os.environ["PATH"],
            "CONCIERGE_DRIVER_ROOT": str(self.root),
            "XDG_RUNTIME_DIR": str(self.runtime),
            **variables,
        }
        done = subprocess.run(["sh", "-c", text], env=environment, capture_output=True, check=True, timeout=10)
        pairs = (pair.partition("=") for pair in done.stdout.decode().split("\0") if pair)
        return {name: value for name, _, value in pairs}, done.stderr.decode()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("accelerator", ["cuda", "rocm", "vulkan"])
def test_where_nix_programs_find_their_driver_nothing_is_changed(host: Host, accelerator: str) -> None:
    host.add("/run/opengl-driver/lib/libcuda.so.1", f"{MULTIARCH}/libcuda.so.1")
    environment, said = host.start(accelerator)
    assert "LD_LIBRARY_PATH" not in environment
    assert "VK_DRIVER_FILES" not in environment
    assert said == ""


@pytest.mark.parametrize("folder", [MULTIARCH, "/usr/lib64", "/usr/lib", "/usr/lib/wsl/lib"])
def test_the_nvidia_driver_alone_is_linked_into_a_private_folder(host: Host, folder: str) -> None:
    host.add(f"{folder}/libcuda.so.1", f"{folder}/libnvidia-ml.so.1", f"{folder}/libc.so.6", f"{folder}/libstdc++.so.6")
    environment, said = host.start("cuda")
    private = Path(environment["LD_LIBRARY_PATH"])
    assert private == host.runtime / "driver"
    links = {link.name: str(link.readlink()) for link in private.iterdir()}
    assert links == {name: f"{host.root}{folder}/{name}" for name in ("libcuda.so.1", "libnvidia-ml.so.1")}
    assert private.stat().st_mode & 0o777 == 0o700
    assert said == ""


def test_in_wsl_the_driver_of_windows_comes_first(host: Host) -> None:
    host.add("/usr/lib/wsl/lib/libcuda.so.1", "/usr/lib/wsl/lib/libdxcore.so", f"{MULTIARCH}/libcuda.so.1")
    environment, _ = host.start("cuda")
    private = Path(environment["LD_LIBRARY_PATH"])
    assert str((private / "libcuda.so.1").readlink()) == f"{host.root}/usr/lib/wsl/lib/libcuda.so.1"
    assert (private / "libdxcore.so").is_symlink()


def test_a_driver_that_only_the_hosts_loader_knows_is_found(host: Host) -> None:
    ldconfig = host.root / "sbin" / "ldconfig"
    ldconfig.parent.mkdir()
    kind = "x86-64" if platform.machine() == "x86_64" else "AArch64"
    listing = f"libcuda.so.1 (libc6) => /wrong\nlibcuda.so.1 (libc6,{kind}) => /opt/nvidia/libcuda.so.1"
    ldconfig.write_text(f"#!/bin/sh\nprintf '%s\\n' '{listing}'\n", encoding="utf-8")
    ldconfig.chmod(0o755)
    environment, _ = host.start("cuda")
    assert str((Path(environment["LD_LIBRARY_PATH"]) / "libcuda.so.1").readlink()) == "/opt/nvidia/libcuda.so.1"


def test_a_second_start_reuses_the_folder_and_follows_a_moved_driver(host: Host) -> None:
    host.add("/usr/lib64/libcuda.so.1")
    host.start("cuda")
    (host.root / "usr/lib64/libcuda.so.1").unlink()
    host.add("/usr/lib/libcuda.so.1")
    environment, _ = host.start("cuda")
    assert (
        str((Path(environment["LD_LIBRARY_PATH"]) / "libcuda.so.1").readlink()) == f"{host.root}/usr/lib/libcuda.so.1"
    )


def test_a_service_links_into_its_own_runtime_folder(host: Host, tmp_path: Path) -> None:
    host.add("/usr/lib64/libcuda.so.1")
    environment, _ = host.start("cuda", RUNTIME_DIRECTORY=str(tmp_path / "service"))
    assert environment["LD_LIBRARY_PATH"] == str(tmp_path / "service" / "driver")


def test_cuda_without_a_driver_says_so_and_still_starts(host: Host) -> None:
    environment, said = host.start("cuda")
    assert "LD_LIBRARY_PATH" not in environment
    assert "will compute on the CPU" in said


def test_vulkan_uses_mesa_of_the_same_nixpkgs_and_never_the_cpu_in_disguise(host: Host) -> None:
    environment, _ = host.start("vulkan")
    names = [Path(file).name for file in environment["VK_DRIVER_FILES"].split(":")]
    assert names == ["intel_icd.x86_64.json", "radeon_icd.x86_64.json"]
    assert "LD_LIBRARY_PATH" not in environment


def test_vulkan_on_nvidia_uses_the_hosts_driver_without_the_rest_of_its_folder(host: Host) -> None:
    parts = ("libEGL_nvidia.so.0", "libnvidia-eglcore.so.580.82.07", "libnvidia-glsi.so.580.82.07")
    host.add(*(f"{MULTIARCH}/{name}" for name in (*parts, "libc.so.6", "libX11.so.6")))
    environment, _ = host.start("vulkan")
    private = Path(environment["LD_LIBRARY_PATH"])
    described = Path(environment["VK_DRIVER_FILES"].split(":")[-1])
    assert {link.name for link in private.iterdir()} == {*parts, "nvidia_icd.json"}
    assert json.loads(described.read_text())["ICD"]["library_path"] == str(private / "libEGL_nvidia.so.0")
    assert (private / "libEGL_nvidia.so.0").readlink() == Path(f"{host.root}{MULTIARCH}/libEGL_nvidia.so.0")


@pytest.mark.parametrize("variable", ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"])
def test_a_choice_of_vulkan_drivers_is_left_alone(host: Host, variable: str) -> None:
    environment, _ = host.start("vulkan", **{variable: "/mine.json"})
    assert environment[variable] == "/mine.json"
    assert environment.get("VK_DRIVER_FILES", "/mine.json") == "/mine.json"


def test_a_choice_of_libraries_is_kept_behind_the_driver(host: Host) -> None:
    host.add("/usr/lib64/libcuda.so.1")
    environment, _ = host.start("cuda", LD_LIBRARY_PATH="/mine")
    assert environment["LD_LIBRARY_PATH"] == f"{host.runtime}/driver:/mine"
