"""The parts of the probe on Linux."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

from concierge.machine.bundle import Bundle
from concierge.machine.capture.gather import Part, ask_nvidia, ask_vulkan, joined, names_in, read_files
from concierge.machine.read.amd import KFD, VERSION
from concierge.machine.read.memory import cgroup_files
from concierge.machine.read.pci import DEVICES
from concierge.machine.read.vulkan import ICD_FOLDERS

if TYPE_CHECKING:
    from concierge.machine.capture.gather import Host

_FILES = (
    "/proc/meminfo", "/proc/version", "/proc/self/cgroup", "/proc/1/cgroup", "/etc/os-release", "/.dockerenv",
    "/run/.containerenv", "/sys/fs/cgroup/cpu.max", "/proc/driver/nvidia/version", "/proc/device-tree/model",
    "/proc/device-tree/compatible", "/etc/nv_tegra_release", "/sys/module/amdgpu/version",
    "/sys/module/ttm/parameters/pages_limit", "/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name",
    VERSION,
)  # fmt: skip
_DEVICE_FILES = (
    "vendor", "device", "resource", "board_info", "product_name", "mem_info_vram_total", "mem_info_vram_used",
    "mem_info_gtt_total", "mem_info_gtt_used", "mem_info_vram_vendor", "ip_discovery/die/0/GC/0/major",
    "ip_discovery/die/0/GC/0/minor", "ip_discovery/die/0/GC/0/revision",
)  # fmt: skip
_GPU_CLASSES = ("0x03", "0x1200")
_NODES = ("/dev/kfd", "/dev/dxg", "/dev/nvidia0", "/dev/nvidiactl")
_LIBRARIES = {
    "libcuda": ("libcuda.so.1",),
    "libnvidia-ml": ("libnvidia-ml.so.1",),
    "libvulkan": ("libvulkan.so.1",),
    "libcudart": ("libcudart.so.13", "libcudart.so.12"),
    # The number in the name is ROCm's, and which one a build wants is for the planner.
    "libamdhip64": tuple(f"libamdhip64.so.{major}" for major in range(19, 4, -1)),
    "libhsa-runtime64": ("libhsa-runtime64.so.1",),
    "libze_loader": ("libze_loader.so.1",),
}
_FOLDERS = (
    "/run/opengl-driver/lib", "/usr/lib/wsl/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/nvidia", "/usr/lib/aarch64-linux-gnu/tegra", "/usr/lib64", "/usr/lib", "/lib64",
    "/usr/local/nvidia/lib64", "/usr/local/cuda/lib64", "/opt/rocm/lib",
)  # fmt: skip
_LIBC = ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib")
_EFI = "/sys/firmware/efi/efivars"
_QUERY = "index,pci.bus_id,name,memory.total,memory.free,driver_version,compute_cap"
_LATER_LINES = re.compile(r"(processor|physical id|core id|CPU part)\b")


def parts() -> list[Part]:
    return [
        Part("files", _files, 2.0),
        Part("devices", _devices, 2.0),
        Part("libraries", _libraries, 1.0),
        Part("nvidia", _nvidia, 6.5),
        Part("vulkan", lambda host: ask_vulkan(host, _found(host)), 5.0),
        Part("rocminfo", _rocminfo, 5.0),
    ]


def _files(host: Host) -> Bundle:
    first = read_files(host, _FILES)
    groups = cgroup_files(first.text("/proc/self/cgroup"))
    gpus = (f"/proc/driver/nvidia/gpus/{name}/information" for name in names_in(host, "/proc/driver/nvidia/gpus"))
    second = read_files(host, [*gpus, *(path for group in groups for path in group)])
    cpuinfo = read_files(host, ["/proc/cpuinfo"]).files
    affinity = {"affinity": len(os.sched_getaffinity(0))}
    answers = Bundle(answers={"cpu": affinity, "libc": _libc(host), "firmware": _firmware(host)})
    trimmed = Bundle(files={path: _first_block(text) for path, text in cpuinfo.items()})
    return joined([first, second, trimmed, answers])


def _first_block(cpuinfo: str) -> str:
    """Keep of every later processor only which core it is: a server's file is a quarter megabyte of repetition."""
    first, *later = cpuinfo.split("\n\n")
    kept = ("\n".join(line for line in block.splitlines() if _LATER_LINES.match(line)) for block in later)
    return "\n\n".join([first, *kept])


def _firmware(host: Host) -> dict[str, Any]:
    """Say whether Secure Boot is on: the last byte of the variable, whose name carries its maker's id."""
    name = next((name for name in names_in(host, _EFI) if name.startswith("SecureBoot-")), None)
    with contextlib.suppress(OSError):
        return {} if name is None else {"secure_boot": host.path(f"{_EFI}/{name}").read_bytes()[-1:] == b"\x01"}
    return {}


def _libc(host: Host) -> dict[str, Any]:
    told: dict[str, Any] = {"confstr": None}
    with contextlib.suppress(ValueError, OSError):
        told["confstr"] = os.confstr("CS_GNU_LIBC_VERSION")
    loaders = (f"{folder}/{name}" for folder in ("/lib", "/lib64") for name in names_in(host, folder))
    told["loaders"] = [path for path in loaders if "/ld-linux" in path or "/ld-musl" in path]
    # NixOS puts a stub there that only explains why foreign programs do not start; nix-ld puts a real one.
    told["targets"] = sorted({host.path(path).resolve().name for path in told["loaders"]})
    told["nix_python"] = sys.base_prefix.startswith(os.environ.get("NIX_STORE_DIR", "/nix/store") + "/")
    banners = (_banner(host, f"{folder}/libc.so.6") for folder in _LIBC)
    told["banner"] = next((banner for banner in banners if banner), None)
    return told


def _banner(host: Host, path: str) -> str:
    """Read the version that the host's own glibc carries: Python's may be another one, as with Nix."""
    try:
        data = host.path(path).read_bytes()
    except OSError:
        return ""
    at = data.find(b"GNU C Library")
    return data[at : at + 120].split(b"\n", 1)[0].decode("ascii", errors="replace") if at >= 0 else ""


def _devices(host: Host) -> Bundle:
    nodes = names_in(host, KFD)
    found = [read_files(host, [f"{KFD}/{node}/properties" for node in nodes])]
    found += [_device(host, f"{DEVICES}/{address}") for address in names_in(host, DEVICES)]
    render = [f"/dev/dri/{name}" for name in names_in(host, "/dev/dri") if name.startswith("renderD")]
    found.append(Bundle(access=_access(host, [*_NODES, *render])))
    return joined(found)


def _device(host: Host, base: str) -> Bundle:
    head = read_files(host, [f"{base}/class"])
    if not head.text(f"{base}/class").startswith(_GPU_CLASSES):
        return Bundle()
    local = [f"{base}/drm/{card}/lmem_total_bytes" for card in names_in(host, f"{base}/drm")]
    rest = read_files(host, [*(f"{base}/{name}" for name in _DEVICE_FILES), *local])
    try:
        links = {f"{base}/driver": str(host.path(f"{base}/driver").readlink())}
    except OSError:
        links = {}
    return joined([head, rest, Bundle(links=links)])


def _access(host: Host, nodes: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        path = host.path(node)
        try:
            status = path.stat()
        except OSError:
            continue
        found[node] = {
            "owner": _name(pwd.getpwuid, status.st_uid),
            "group": _name(grp.getgrgid, status.st_gid),
            "mode": f"{status.st_mode & 0o777:04o}",
            "read": os.access(path, os.R_OK),
            "write": os.access(path, os.W_OK),
        }
    return found


def _name(look_up: Any, number: int) -> str:
    with contextlib.suppress(KeyError):
        return str(look_up(number)[0])
    return str(number)


def _found(host: Host) -> dict[str, str]:
    """Return the first place of each library, in the order that a loader would look."""
    own = [folder for folder in host.environ.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/")]
    found: dict[str, str] = {}
    for folder in (*own, *_FOLDERS):
        present = set(names_in(host, folder))
        for name, files in _LIBRARIES.items():
            file = next((file for file in files if file in present), None)
            if file is not None:
                found.setdefault(name, f"{folder}/{file}")
    return found


def _libraries(host: Host) -> Bundle:
    listings = {folder: names for folder in ICD_FOLDERS if (names := names_in(host, folder))}
    return Bundle(libraries=_found(host), listings=listings)


def _nvidia(host: Host) -> Bundle:
    asked = ask_nvidia(host, _found(host))
    if asked.records("nvml", "devices"):
        return asked
    tool = _tool(host, "nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
    if tool is None:
        return asked
    command = [tool, f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    output = host.run(command, 2.0)
    return joined([asked, Bundle(commands={" ".join(["nvidia-smi", *command[1:]]): output})])


def _tool(host: Host, name: str, *places: str) -> str | None:
    found = shutil.which(name, path=host.environ.get("PATH", ""))
    return found or next((place for place in places if host.path(place).is_file()), None)


def _rocminfo(host: Host) -> Bundle:
    """Only WSL needs it: elsewhere the kernel's own tree says more, at no cost."""
    if not host.path("/dev/dxg").exists():
        return Bundle()
    tool = _tool(host, "rocminfo", "/opt/rocm/bin/rocminfo")
    return Bundle(commands={"rocminfo": host.run([tool], 4.0)}) if tool else Bundle()
