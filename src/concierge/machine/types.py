"""What is known of one computer: facts with their sources, never decisions.

Memory is never one number, and ``None`` is a legal answer that carries its reason. A device is what the bus
shows, not what a tool's presence suggests.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from concierge.platforms import ACCELERATORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.platforms import Accelerator, System

Vendor = Literal["nvidia", "amd", "intel", "apple", "qualcomm", "other"]
DeviceKind = Literal["discrete", "integrated", "unified", "virtual", "unknown"]
Confidence = Literal["high", "low", "none"]
Severity = Literal["error", "warning", "info"]
LibcKind = Literal["glibc", "musl", "none"]


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of bytes with where it came from, or None with why it is not known.

    Attributes:
        bytes: The number; None is unknown. A probe that answered 0 is recorded as unknown.
        source: The file or call that said so.
        reason: Why it is unknown, or why it deserves little confidence.
    """

    bytes: int | None = None
    source: str = ""
    reason: str = ""
    confidence: Confidence = "none"


@dataclass(frozen=True, slots=True)
class Usable:
    """Whether an accelerator can be used, why or why not, what says so, and what would make it usable."""

    ok: bool
    reason: str
    evidence: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver of a device.

    Attributes:
        name: The kernel driver or package, such as ``nvidia``, ``amdgpu``, ``xe``; empty when none is bound.
        version: As the driver prints it, such as ``570.133.07``; None when it does not say.
        usable: Whether a program could talk to the device through it.
    """

    name: str = ""
    version: str | None = None
    usable: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """A device's memory, one number for each kind.

    Attributes:
        dedicated: Memory that only the device has (VRAM, or a firmware carve-out).
        shared: System memory that the driver lets the device use (GTT, DXGI shared).
        unified: Memory that the device and the CPU share as one pool.
        wired_limit: What the system lets the device pin of a unified pool (Metal, TTM).
        free: What was free of the memory a model would go to, when the probe ran.
    """

    dedicated: Amount = Amount()
    shared: Amount = Amount()
    unified: Amount = Amount()
    wired_limit: Amount = Amount()
    free: Amount = Amount()


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator device on the bus.

    Attributes:
        id: The PCI address (``0000:01:00.0``), or another stable identity where there is no PCI bus.
        pci_id: ``vendor:device`` in hexadecimal, such as ``10de:2684``; None off the bus.
        compute_capability: CUDA's, such as ``8.9``.
        gfx_target: AMD's, such as ``gfx1100``.
        vulkan: The Vulkan version that its driver speaks, such as ``1.3.289``; None when Vulkan does not list it.
        accelerators: Each accelerator that could concern this device, usable or not, with the reason.
        sources: The probes that saw it.
    """

    id: str
    vendor: Vendor
    name: str
    kind: DeviceKind = "unknown"
    pci_id: str | None = None
    memory: DeviceMemory = DeviceMemory()
    driver: Driver = Driver()
    compute_capability: str | None = None
    gfx_target: str | None = None
    vulkan: str | None = None
    accelerators: Mapping[Accelerator, Usable] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    def can(self, accelerator: Accelerator) -> bool:
        """Return whether this device is usable through ``accelerator``."""
        usable = self.accelerators.get(accelerator)
        return usable is not None and usable.ok


@dataclass(frozen=True, slots=True)
class Os:
    """The operating system: ``linux``, ``darwin``, ``windows`` or what it calls itself."""

    name: str
    version: str = ""
    distribution: str = ""
    kernel: str = ""


@dataclass(frozen=True, slots=True)
class Libc:
    """The C library that a downloaded program would meet.

    Attributes:
        foreign: Why programs that this system did not build itself do not start; empty where they do.
        wheels: Why this Python cannot load the libraries of a wheel; empty where it can.
    """

    kind: LibcKind
    version: str | None = None
    reason: str = ""
    foreign: str = ""
    wheels: str = ""


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor.

    Attributes:
        cores: Physical cores; None when unknown.
        threads: Logical processors that this process may use.
        level: ``x86-64-v1`` to ``x86-64-v4``, ``armv8.0`` to ``armv9.0``; None when unknown.
        features: The feature words, in the system's own spelling, sorted.
        reads_gb_s: GB/s (1e9 bytes) of main memory that all cores together read, as it was measured; None where not.
    """

    vendor: str = ""
    model: str = ""
    cores: int | None = None
    threads: int | None = None
    level: str | None = None
    features: tuple[str, ...] = ()
    reads_gb_s: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """System memory; ``limit`` is the tightest cgroup limit, unknown when there is none."""

    total: Amount = Amount()
    available: Amount = Amount()
    limit: Amount = Amount()

    @property
    def ceiling(self) -> Amount:
        """What this process could ever have: the total, or a cgroup limit below it."""
        known = [amount for amount in (self.total, self.limit) if amount.bytes is not None]
        return min(known, key=lambda amount: amount.bytes or 0, default=self.total)


@dataclass(frozen=True, slots=True)
class Environment:
    """Circumstances that change what the facts mean.

    Attributes:
        container: ``docker``, ``podman``, ``lxc``, ``kubernetes`` or another word; empty outside one.
        rosetta: This process is translated from x86_64 on Apple silicon.
        hypervisor: What the firmware or CPU names, such as ``kvm``; empty on bare metal or when unknown.
    """

    wsl: bool = False
    container: str = ""
    rosetta: bool = False
    snap: bool = False
    hypervisor: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """A runtime library that was found, by its plain name (``libcuda``, ``libvulkan``)."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong or worth knowing, with its cause and its remedy.

    Attributes:
        id: A stable word, such as ``kfd-permission``.
        device: The device it concerns, if it concerns one.
        fix: A command or an instruction; empty when nothing needs to be done.
    """

    id: str
    severity: Severity
    cause: str
    evidence: str = ""
    fix: str = ""
    device: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as the object that ``--json`` prints."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of one computer.

    Attributes:
        system: Named as Nix does; None on a platform that has no name there.
        rocm: Version of the ROCm that is installed, such as ``7.0.2``; None when nothing says it.
    """

    system: System | None
    os: Os
    libc: Libc = Libc("none")
    cpu: Cpu = Cpu()
    memory: MemoryFacts = MemoryFacts()
    devices: tuple[Device, ...] = ()
    environment: Environment = Environment()
    libraries: tuple[Library, ...] = ()
    vulkan_icds: tuple[str, ...] = ()
    rocm: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def glibc(self) -> str | None:
        """The glibc version, or None where there is no glibc."""
        return self.libc.version if self.libc.kind == "glibc" else None

    @property
    def nvidia_driver(self) -> str | None:
        """The NVIDIA driver's version, or None."""
        versions = (device.driver.version for device in self.devices if device.vendor == "nvidia")
        return next((version for version in versions if version), None)

    @property
    def usable_accelerators(self) -> tuple[Accelerator, ...]:
        """The accelerators that at least one device is usable through, best first; the CPU always."""
        return tuple(accelerator for accelerator in ACCELERATORS if self.usable(accelerator).ok)

    def library(self, name: str) -> str | None:
        """Return the path of a library, or None when it was not found."""
        return next((library.path for library in self.libraries if library.name == name), None)

    def usable(self, accelerator: Accelerator) -> Usable:
        """Return whether any device is usable through ``accelerator``, and if none, the best reason."""
        if accelerator == "cpu":
            return Usable(ok=True, reason="every machine has one")
        ranked = sorted(self.devices, key=lambda device: device.kind not in ("discrete", "unified"))
        answers = [device.accelerators[accelerator] for device in ranked if accelerator in device.accelerators]
        fallback = answers[0] if answers else Usable(ok=False, reason=f"no device here is one for {accelerator}")
        return next((answer for answer in answers if answer.ok), fallback)

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as the object that ``--json`` prints."""
        return asdict(self)
