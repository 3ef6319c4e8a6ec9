"""What Vulkan enumerates. It describes devices that the bus proves; alone it proves one only off the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from concierge.machine.read.parse import VENDORS, amount, found, hex_id, integer, pci_address, pci_id, words
from concierge.machine.read.pci import DEVICES
from concierge.machine.read.verdict import JOIN_GROUPS, Verdict, closed, hidden, no, yes
from concierge.machine.types import Amount, Device, DeviceKind, DeviceMemory, Driver, Environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concierge.machine.bundle import Bundle

_KINDS: dict[int, DeviceKind] = {1: "integrated", 2: "discrete", 3: "virtual"}
SOURCE = "vulkan"
_CPU = 4
_DEVICE_LOCAL = 1
ICD_FOLDERS = (
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/run/opengl-driver/share/vulkan/icd.d",
)
_PACKAGES = {
    "amd": "Install Mesa's Vulkan driver (Debian, Ubuntu, Fedora: mesa-vulkan-drivers; Arch: vulkan-radeon).",
    "intel": "Install Mesa's Vulkan driver (Debian, Ubuntu, Fedora: mesa-vulkan-drivers; Arch: vulkan-intel).",
    "nvidia": "Install the driver's Vulkan part (Debian: nvidia-vulkan-icd; Ubuntu: libnvidia-gl-*).",
}
_LOADER = "Install the Vulkan loader (Debian, Ubuntu: libvulkan1; Fedora: vulkan-loader) and a driver for the card."
_WINDOWS = "Install the vendor's newest graphics driver: this one has no Vulkan driver for the chip."


def sightings(bundle: Bundle) -> Iterator[Device]:
    """Yield the devices that Vulkan enumerates, without those that are the CPU in disguise."""
    for record in bundle.records("vulkan", "devices"):
        vendor_id = hex_id(integer(record.get("vendor_id")))
        vendor = VENDORS.get(vendor_id or "")
        if vendor is None or _is_cpu(record):
            continue
        kind = _KINDS.get(integer(record.get("type")) or 0, "unknown")
        yield Device(
            id=pci_address(record.get("pci")) or "",
            vendor=vendor,
            name=words(record.get("name")),
            kind=kind,
            pci_id=pci_id(vendor_id, integer(record.get("device_id"))),
            memory=_memory(record.get("heaps"), kind),
            driver=Driver(version=words(record.get("driver_info")) or None),
            vulkan=found(words(record.get("api")), r"^(\d+\.\d+(?:\.\d+)?)$") or None,
            sources=(SOURCE,),
        )


def proves(bundle: Bundle, environment: Environment) -> bool:
    """On Linux the bus decides what is there, except in WSL and off the bus (Arm boards), where it shows nothing."""
    return bundle.system != "linux" or environment.wsl or not bundle.below(DEVICES)


def _is_cpu(record: Mapping[str, Any]) -> bool:
    name = words(record.get("name")).lower()
    return integer(record.get("type")) == _CPU or "llvmpipe" in name or "swiftshader" in name


def cpu_devices(bundle: Bundle) -> list[str]:
    """Return the names of the software renderers that Vulkan lists."""
    return [words(record.get("name")) for record in bundle.records("vulkan", "devices") if _is_cpu(record)]


def icds(bundle: Bundle) -> tuple[str, ...]:
    """Return the paths of the Vulkan drivers' manifests."""
    found = (f"{folder}/{name}" for folder in ICD_FOLDERS for name in bundle.listings.get(folder, ()))
    return tuple(path for path in found if path.endswith(".json"))


def _memory(told: object, kind: DeviceKind) -> DeviceMemory:
    """Read the heaps: local ones add up only where they differ, since some drivers show one memory twice."""
    heaps = [heap for heap in told if isinstance(heap, dict)] if isinstance(told, list) else []
    local = [heap for heap in heaps if (integer(heap.get("flags")) or 0) & _DEVICE_LOCAL]
    sizes = {integer(heap.get("size")) or 0 for heap in local}
    total = amount(sum(sizes) if sizes else None, "Vulkan heap", confidence="low" if len(sizes) > 1 else "high")
    free = amount(_budget(local), "Vulkan memory budget", confidence="low")
    if kind != "integrated":
        return DeviceMemory(dedicated=total, free=free)
    if total.bytes is None:
        return DeviceMemory(unified=total)
    why = "the driver's heaps are a share of the pool that it chose itself"
    return DeviceMemory(unified=Amount(total.bytes, "Vulkan heap", why, "low"), free=free)


def _budget(heaps: list[dict[str, Any]]) -> int | None:
    budgets = [(integer(heap.get("budget")), integer(heap.get("usage")) or 0) for heap in heaps]
    known = [budget - usage for budget, usage in budgets if budget is not None]
    return max(known) if known else None


def verdict(bundle: Bundle, device: Device, environment: Environment) -> Verdict:
    """Return whether Vulkan is usable on ``device``: it is where Vulkan itself enumerates the device."""
    if SOURCE in device.sources:
        if bundle.environment.get("GGML_VK_VISIBLE_DEVICES") == "":
            return hidden(bundle, "GGML_VK_VISIBLE_DEVICES")
        return yes("Vulkan enumerates it", words(device.name))
    if environment.wsl:
        reason = "no Vulkan driver for the GPU answers inside WSL"
        return no("vulkan-wsl", reason, evidence=_listed(bundle), fix="Use CUDA or ROCm in WSL.", expected=True)
    return _missing(bundle, device, environment)


def _missing(bundle: Bundle, device: Device, environment: Environment) -> Verdict:
    if "libvulkan" not in bundle.libraries:
        file, fix = ("vulkan-1.dll", _WINDOWS) if bundle.system == "windows" else ("libvulkan.so.1", _LOADER)
        return no("vulkan-loader-missing", "the Vulkan loader is not installed", evidence=f"no {file}", fix=fix)
    failure = bundle.failures.get("vulkan") or words(bundle.answer("vulkan").get("error"))
    if failure and not bundle.records("vulkan", "devices"):
        fix = "Run vulkaninfo --summary to see the driver's own message."
        return no("vulkan-probe-failed", "Vulkan did not answer", evidence=failure, fix=fix)
    if refused := _closed_render_node(bundle):
        fix = "Start the container with --device /dev/dri." if environment.container else JOIN_GROUPS
        return no("render-permission", "this user may not open the render node", evidence=refused, fix=fix)
    package = _PACKAGES.get(device.vendor, "Install the vendor's Vulkan driver.")
    if bundle.system == "windows":
        return no("vulkan-no-device", "Vulkan lists no device for it", evidence=_listed(bundle), fix=_WINDOWS)
    if not any(_serves(path, device.vendor) for path in icds(bundle)):
        installed = ", ".join(path.rsplit("/", 1)[-1] for path in icds(bundle)) or "none"
        reason = "no Vulkan driver for it is installed"
        return no("vulkan-icd-missing", reason, evidence=f"installed: {installed}", fix=package)
    fix = f"{package} A new chip needs a newer version than the installed one."
    return no("vulkan-no-device", "the Vulkan driver does not list it", evidence=_listed(bundle), fix=fix)


def _serves(path: str, vendor: str) -> bool:
    words_of = {"amd": ("radeon", "amd"), "intel": ("intel",), "nvidia": ("nvidia", "nouveau")}
    name = path.rsplit("/", 1)[-1].lower()
    return any(word in name for word in words_of.get(vendor, ()))


def _closed_render_node(bundle: Bundle) -> str:
    nodes = [closed(bundle, path) for path in bundle.access if path.startswith("/dev/dri/renderD")]
    return nodes[0] if nodes and all(nodes) else ""


def _listed(bundle: Bundle) -> str:
    names = [words(record.get("name")) for record in bundle.records("vulkan", "devices")]
    return "Vulkan lists: " + (", ".join(names) or "nothing")
