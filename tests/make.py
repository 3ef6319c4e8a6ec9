"""Machines and catalogue entries that differ from the ordinary in what a test is about."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from concierge.catalog.types import Artefact, Build, Chat, Gguf, HttpsSource, Model, Needs
from concierge.machine.types import (
    Amount,
    Cpu,
    Device,
    DeviceMemory,
    Driver,
    Libc,
    Machine,
    MemoryFacts,
    Os,
    Usable,
)

GIB = 1 << 30
DENSE = Gguf(
    architecture="llama",
    layers=24,
    embedding=1024,
    vocab=32000,
    heads=16,
    kv_heads=4,
    key_length=64,
    value_length=64,
)


class Make:
    """Builds what a test needs out of the few facts that it names."""

    def machine(self, *devices: Device, ram: float | None = 32, **facts: Any) -> Machine:
        memory = MemoryFacts(total=self.amount(ram, "/proc/meminfo"))
        ordinary = Machine(
            system="x86_64-linux",
            os=Os("linux"),
            libc=Libc("glibc", "2.39"),
            cpu=Cpu(threads=8, cores=4),
            memory=memory,
            devices=devices,
        )
        return replace(ordinary, **facts)

    def gpu(self, gib: float | None = 24, **facts: Any) -> Device:
        """An NVIDIA card that is usable through CUDA and Vulkan."""
        ordinary = Device(
            id="0000:01:00.0",
            vendor="nvidia",
            name="NVIDIA GeForce RTX 4090",
            kind="discrete",
            pci_id="10de:2684",
            memory=DeviceMemory(dedicated=self.amount(gib, "nvml")),
            driver=Driver("nvidia", "580.65.06", usable=True),
            compute_capability="8.9",
            accelerators={"cuda": Usable(ok=True, reason="cuInit works"), "vulkan": Usable(ok=True, reason="listed")},
        )
        return replace(ordinary, **facts)

    def amount(self, gib: float | None, source: str) -> Amount:
        return Amount(None, reason="not said") if gib is None else Amount(int(gib * GIB), source, confidence="high")

    def artefact(self, name: str, size: int, **facts: Any) -> Artefact:
        ordinary = Artefact(
            name=name,
            size=size,
            sha256=hashlib.sha256(name.encode()).hexdigest(),
            trust="seen",
            sources=(HttpsSource(url=f"https://example.org/{name}"),),
        )
        return ordinary.model_copy(update=facts)

    def build(self, accelerator: str = "cpu", name: str = "", size: int = 10_000_000, **facts: Any) -> Build:
        ordinary = Build(
            engine="llama-cpp",
            version="b1",
            accelerator=accelerator,  # type: ignore[arg-type]
            system="x86_64-linux",
            launcher="llama-server",
            licence="MIT",
            llama_cpp=1,
            needs=Needs(),
            artefact=(self.artefact(f"{name or accelerator}.tar.gz", size, archive="tar.gz"),),
        )
        return ordinary.model_copy(update=facts)

    def model(self, name: str, rank: int, size: int, **facts: Any) -> Model:
        ordinary = Model(
            name=name,
            title=name,
            family="test",
            params=size,
            quant="Q4_K_M",
            rank=rank,
            licence="Apache-2.0",
            repo="org/repo",
            context_train=32768,
            chat=Chat(template="chatml", tools=True),
            gguf=DENSE,
            artefact=(self.artefact(f"{name}.gguf", size),),
        )
        return ordinary.model_copy(update=facts)
