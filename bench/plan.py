"""How long `plan` takes on a catalogue of a thousand artefacts, on machines that make it look at all of them.

PYTHONPATH=src python -m bench.plan
"""

from __future__ import annotations

import hashlib
import json
import time

from concierge.catalog import loader
from concierge.catalog.types import Artefact, Build, Catalog, Model
from concierge.config.keys import Llm
from concierge.machine.types import Amount, Device, DeviceMemory, Driver, Libc, Machine, MemoryFacts, Os, Usable
from concierge.plan.decide import plan

ARTEFACTS = 1000
ROUNDS = 20
LIMIT_MS = 50
GIB = 1 << 30
SHIPPED = loader.load()


def grown(count: int) -> Catalog:
    """The shipped entries over and over, each time with other versions, names, sizes and hashes."""
    builds: list[Build] = []
    models: list[Model] = []
    artefacts = turn = 0
    while artefacts < count:
        builds += [_build(build, turn) for build in SHIPPED.builds]
        models += [_model(model, turn) for model in SHIPPED.models]
        artefacts = _count(Catalog(builds=tuple(builds), models=tuple(models)))
        turn += 1
    return Catalog(builds=tuple(builds), models=tuple(models))


def _count(catalog: Catalog) -> int:
    return sum(len(build.artefact) for build in catalog.builds) + sum(len(model.artefact) for model in catalog.models)


def _build(build: Build, turn: int) -> Build:
    artefacts = tuple(_artefact(artefact, turn) for artefact in build.artefact)
    return build.model_copy(update={"version": f"{build.version}.{turn}", "artefact": artefacts})


def _model(model: Model, turn: int) -> Model:
    artefacts = tuple(_artefact(artefact, turn) for artefact in model.artefact)
    return model.model_copy(update={"name": f"{model.name}-{turn}", "rank": model.rank + turn, "artefact": artefacts})


def _artefact(artefact: Artefact, turn: int) -> Artefact:
    sha256 = hashlib.sha256(f"{artefact.sha256} {turn}".encode()).hexdigest()
    return artefact.model_copy(
        update={"name": f"{turn}-{artefact.name}", "size": artefact.size + turn, "sha256": sha256}
    )


def machines() -> dict[str, Machine]:
    cpu = Machine(
        system="x86_64-linux",
        os=Os("linux"),
        libc=Libc("glibc", "2.39"),
        memory=MemoryFacts(total=Amount(32 * GIB, "/proc/meminfo")),
    )
    yes = Usable(ok=True, reason="it answers")
    cards = [
        Device(
            f"0000:{number:02}:00.0",
            "nvidia",
            "NVIDIA GeForce RTX 4090",
            "discrete",
            memory=DeviceMemory(dedicated=Amount(24 * GIB, "nvml")),
            driver=Driver("nvidia", "580.65", usable=True),
            compute_capability="8.9",
            accelerators={"cuda": yes, "vulkan": yes},
        )
        for number in (1, 2)
    ]
    return {
        "cpu only": cpu,
        "one card": Machine(cpu.system, cpu.os, cpu.libc, memory=cpu.memory, devices=(cards[0],)),
        "two cards": Machine(cpu.system, cpu.os, cpu.libc, memory=cpu.memory, devices=tuple(cards)),
    }


def measure(machine: Machine, catalog: Catalog) -> float:
    """The least CPU time of several rounds, in milliseconds: the one that other processes disturbed least."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        plan(machine, Llm(), catalog)
        times.append(time.process_time() - start)
    return min(times) * 1000


def main() -> None:
    catalog = grown(ARTEFACTS)
    count = _count(catalog)
    found = {name: (measure(machine, SHIPPED), measure(machine, catalog)) for name, machine in machines().items()}
    print(f"| machine | shipped catalogue | {count} artefacts |\n|---|---|---|")
    for name, (shipped, large) in found.items():
        print(f"| {name} | {shipped:.1f} ms | {large:.1f} ms |")
    worst = max(large for _, large in found.values())
    result = {"bench": "plan", "artefacts": count, "builds": len(catalog.builds), "models": len(catalog.models)}
    milliseconds = {name: round(large, 2) for name, (_, large) in found.items()}
    print(json.dumps({**result, "ms": milliseconds, "limit_ms": LIMIT_MS, "ok": worst <= LIMIT_MS}))


if __name__ == "__main__":
    main()
