"""The engines of concierge's own flake as builds that the planner may choose, with the same probe and the same plan.

What Nix builds is fixed by the flake's lock, not by a hash that anybody knows beforehand. So the artefact is a small
program whose bytes are known: it names the flake and the attribute, and starts what Nix has put behind a link. The
link is a root, so that Nix's garbage collection leaves the engine alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.catalog.types import Artefact, Build, Needs, NixSource
from concierge.processes import follow
from concierge.store.sources import nix

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.catalog.types import Catalog, Source
    from concierge.platforms import Accelerator, System
    from concierge.processes import Follow
    from concierge.store.progress import Meter

OFFERED: dict[System, tuple[Accelerator, ...]] = {
    "x86_64-linux": ("cuda", "rocm", "vulkan", "cpu"),
    "aarch64-linux": ("cuda", "vulkan", "cpu"),
    "aarch64-darwin": ("metal",),
}
"""What ``legacyPackages.<system>.engines.llama-cpp`` holds (nix/engines.nix)."""

LLAMA_CPP = 9190
"""The llama.cpp of nixpkgs 26.05, whose branch only moves forward: a model's ``minimum_build`` is compared with it."""

PROGRAM = "llama-server"


def with_engines(catalog: Catalog, system: System, flake: str) -> Catalog:
    """Return the catalogue with the flake's engines for ``system`` before its own; the plan prefers them."""
    ours = tuple(_build(catalog, system, accelerator, flake) for accelerator in OFFERED.get(system, ()))
    return catalog.model_copy(update={"builds": (*ours, *catalog.builds)})


def _build(catalog: Catalog, system: System, accelerator: Accelerator, flake: str) -> Build:
    attribute = nix.engine(system, "llama-cpp", accelerator)
    content = program(flake, attribute)
    return Build(
        engine="llama-cpp",
        version="nix",
        accelerator=accelerator,
        system=system,
        launcher="llama-server",
        licence="MIT",
        executable=PROGRAM,
        llama_cpp=LLAMA_CPP,
        needs=_needs(catalog, system, accelerator),
        artefact=(
            Artefact(
                name=PROGRAM,
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                trust="seen",
                sources=(NixSource(attribute=attribute),),
            ),
        ),
    )


def _needs(catalog: Catalog, system: System, accelerator: Accelerator) -> Needs:
    """Return what the catalogue's build for the same accelerator needs of the GPU; Nix brings its own libraries."""
    same = (
        build.needs
        for build in catalog.builds
        if (build.engine, build.system, build.accelerator) == ("llama-cpp", system, accelerator)
    )
    found = next(same, Needs())
    return Needs(driver=found.driver, compute=found.compute, gfx=found.gfx, vulkan=found.vulkan)


def program(flake: str, attribute: str) -> bytes:
    """Return the program that starts an engine of the flake; it stands in the store, two levels below the home."""
    text = f"""#!/bin/sh
# {flake}#{attribute}
exec "${{0%/*}}/../../{_link(flake, attribute).as_posix()}/bin/{PROGRAM}" "$@"
"""
    return text.encode()


def _link(flake: str, attribute: str) -> Path:
    return Path("nix", hashlib.sha256(f"{flake}#{attribute}".encode()).hexdigest()[:32])


@dataclass(frozen=True, slots=True)
class FromFlake:
    """Delivers artefacts whose source is ``nix``.

    Attributes:
        flake: The flake that concierge was started from.
        home: The folder that holds the store; the links are beside it.
        say: Takes Nix's narration.
    """

    flake: str
    home: Path
    say: Callable[[str], None]
    run: Follow = follow

    def __call__(self, source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        """Have Nix build the attribute, and leave the program that starts it in ``folder``."""
        assert source.kind == "nix"
        root = self.home / _link(self.flake, source.attribute)
        root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        nix.realise(self.flake, source.attribute, run=self.run, say=self.say, root=root)
        file = folder / artefact.name
        file.write_bytes(program(self.flake, source.attribute))
        file.chmod(0o755)
        meter.at(artefact.size)
        return file
