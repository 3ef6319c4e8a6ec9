"""From a probe bundle to a ``Machine``: pure, total, and the same for a recorded machine as for this one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.machine.read import amd, apple, cpu, cuda, findings, intel, memory, nvidia, pci, system, vulkan, windows
from concierge.machine.read.sighting import merge
from concierge.machine.types import Library, Machine

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle
    from concierge.machine.read.verdict import Verdict
    from concierge.machine.types import Device, Environment, MemoryFacts
    from concierge.platforms import Accelerator


def read(bundle: Bundle) -> Machine:
    """Return the facts that a bundle holds; whatever is missing or garbled in it is unknown in them."""
    facts, environment = memory.facts(bundle), system.environment(bundle)
    devices = [_finished(device, bundle, facts) for device in _merged(bundle, facts, environment)]
    verdicts = {device.id: _verdicts(bundle, device, devices, environment) for device in devices}
    machine = Machine(
        system=system.name(bundle),
        os=system.operating_system(bundle),
        libc=system.libc(bundle),
        cpu=cpu.facts(bundle),
        memory=facts,
        devices=tuple(_judged(device, verdicts[device.id]) for device in devices),
        environment=environment,
        libraries=tuple(Library(name, path) for name, path in sorted(bundle.libraries.items())),
        vulkan_icds=vulkan.icds(bundle),
        rocm=amd.rocm_version(bundle),
    )
    return replace(machine, findings=findings.findings(bundle, machine, verdicts))


def _merged(bundle: Bundle, facts: MemoryFacts, environment: Environment) -> list[Device]:
    seen = [
        *pci.sightings(bundle),
        *nvidia.sightings(bundle),
        *amd.sightings(bundle),
        *intel.sightings(bundle),
        *apple.sightings(bundle, facts),
        *windows.sightings(bundle),
        *vulkan.sightings(bundle),
    ]
    proves = vulkan.proves(bundle, environment)
    return merge(seen, describing=(intel.SOURCE,) if proves else (intel.SOURCE, vulkan.SOURCE))


def _finished(device: Device, bundle: Bundle, facts: MemoryFacts) -> Device:
    if device.vendor == "nvidia":
        return nvidia.finished(device, bundle, facts)
    if device.vendor == "amd":
        return amd.finished(device, bundle)
    return intel.finished(device) if device.vendor == "intel" else device


def _verdicts(
    bundle: Bundle, device: Device, devices: list[Device], environment: Environment
) -> dict[Accelerator, Verdict]:
    found: dict[Accelerator, Verdict] = {}
    if device.vendor == "nvidia":
        index = [other.id for other in devices if other.vendor == "nvidia"].index(device.id)
        found["cuda"] = cuda.verdict(bundle, device, environment, index=index)
    if device.vendor == "amd":
        found["rocm"] = amd.rocm(bundle, device, environment)
    if bundle.system == "darwin":
        found["metal"] = apple.metal(bundle, device)
    else:
        found["vulkan"] = vulkan.verdict(bundle, device, environment)
    return found


def _judged(device: Device, verdicts: dict[Accelerator, Verdict]) -> Device:
    native = [verdict for accelerator, verdict in verdicts.items() if accelerator != "vulkan"]
    works = [verdict for verdict in verdicts.values() if verdict.usable.ok]
    reason = (works or native or list(verdicts.values()))[0].usable.reason
    return replace(
        device,
        driver=replace(device.driver, usable=bool(works), reason=reason),
        accelerators={accelerator: verdict.usable for accelerator, verdict in verdicts.items()},
    )
