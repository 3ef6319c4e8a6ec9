"""Which system this is and under which circumstances it runs: container, WSL, Rosetta, virtual machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from concierge.machine.read import apple
from concierge.machine.read.parse import fields, found, words
from concierge.machine.types import Environment, Libc, Os
from concierge.platforms import System

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle

_ARM = ("aarch64", "arm64", "ARM64")
_X86 = ("x86_64", "amd64", "AMD64")
_CONTAINER_MARKS = (("docker", "docker"), ("kubepods", "kubernetes"), ("libpod", "podman"), ("lxc", "lxc"))


def name(bundle: Bundle) -> System | None:
    """Return the system by its hardware, not by the process: a translated Python still sits on arm64."""
    machine = bundle.platform.get("machine", "")
    arm = machine in _ARM or (bundle.system == "darwin" and apple.is_silicon(bundle))
    arm = arm or (bundle.system == "windows" and bundle.answer("cpu").get("native") == "ARM64")
    processor = "aarch64" if arm else "x86_64" if machine in _X86 else machine
    return next((system for system in get_args(System) if system == f"{processor}-{bundle.system}"), None)


def operating_system(bundle: Bundle) -> Os:
    """Return the operating system's name and versions."""
    release = words(bundle.platform.get("release"))
    if bundle.system == "darwin":
        plist = bundle.text("/System/Library/CoreServices/SystemVersion.plist")
        version = found(plist, r"<key>ProductVersion</key>\s*<string>([^<]+)</string>")
        return Os("darwin", version=words(version), distribution="macos", kernel=release)
    if bundle.system == "windows":
        return Os("windows", version=words(bundle.platform.get("version")), kernel=release)
    lines = fields(bundle.text("/etc/os-release"), "=")
    unquoted = {key: words(value.strip("\"'")) for key, value in lines.items()}
    distribution, version = unquoted.get("ID", ""), unquoted.get("VERSION_ID", "")
    return Os(bundle.system or "unknown", version=version, distribution=distribution, kernel=release)


def environment(bundle: Bundle) -> Environment:
    """Return the circumstances that change what the other facts mean."""
    kernel = f"{bundle.text('/proc/version')} {bundle.platform.get('release', '')}".lower()
    return Environment(
        wsl=bundle.system == "linux" and "microsoft" in kernel,
        container=_container(bundle),
        rosetta=apple.sysctl(bundle).get("sysctl.proc_translated") == "1",
        snap="SNAP" in bundle.environment,
        hypervisor=_hypervisor(bundle),
    )


def _container(bundle: Bundle) -> str:
    if bundle.environment.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if "/run/.containerenv" in bundle.files:
        return "podman"
    if "/.dockerenv" in bundle.files:
        return "docker"
    groups = bundle.text("/proc/1/cgroup")
    marked = (kind for mark, kind in _CONTAINER_MARKS if mark in groups)
    return next(marked, words(bundle.environment.get("container")))


def _hypervisor(bundle: Bundle) -> str:
    product = f"{bundle.text('/sys/class/dmi/id/sys_vendor')} {bundle.text('/sys/class/dmi/id/product_name')}".lower()
    for mark, kind in (("qemu", "kvm"), ("kvm", "kvm"), ("vmware", "vmware"), ("virtualbox", "virtualbox")):
        if mark in product:
            return kind
    if apple.sysctl(bundle).get("kern.hv_vmm_present") == "1":
        return "apple"
    flags = found(bundle.text("/proc/cpuinfo"), r"(?m)^flags\s*:(.*)$").split()
    return "unknown" if "hypervisor" in flags else ""


def libc(bundle: Bundle) -> Libc:
    """Return the C library that a downloaded program would meet, and whether such a program starts at all."""
    return replace(_libc(bundle), foreign=_foreign(bundle), wheels=_wheels(bundle))


def _foreign(bundle: Bundle) -> str:
    """NixOS has a loader that only explains why it starts nothing, unless nix-ld is there; a bare Nix has none."""
    told = bundle.answer("libc")
    if operating_system(bundle).distribution == "nixos":
        return "" if "nix-ld" in str(told.get("targets")) else "programs that Nix did not build do not start on NixOS"
    bare = bundle.system == "linux" and told.get("loaders") == []
    return "programs that Nix did not build do not start here: there is no loader in /lib or /lib64" if bare else ""


def _wheels(bundle: Bundle) -> str:
    """A Python that Nix built finds the libraries of its own store alone, on any system and with nix-ld too."""
    if not bundle.answer("libc").get("nix_python"):
        return ""
    return "a wheel needs the system's C++ library, which a Python that Nix built does not find"


def _libc(bundle: Bundle) -> Libc:
    """Return the C library that a downloaded program would meet, which may not be the one Python was built for."""
    if bundle.system != "linux":
        return Libc("none", reason="only Linux programs bring the question")
    told = bundle.answer("libc")
    banner = found(words(told.get("banner")), r"release version (\d+\.\d+)")
    own = found(words(told.get("confstr")), r"^glibc (\d+\.\d+)")
    loaders = str(told.get("loaders"))
    if "ld-linux" in loaders or (own and "ld-musl" not in loaders):
        return Libc("glibc", banner or own or None, "" if banner or own else "its version could not be read")
    if "ld-musl" in loaders:
        return Libc("musl", reason="no glibc loader is installed")
    reason = "no loader was found in the usual places"
    return Libc("glibc", own, reason) if own else Libc("none", reason=reason)
