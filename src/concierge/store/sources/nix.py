"""The engines of concierge's own flake, built or downloaded by Nix, as builds that the planner may choose.

The launcher that Nix installs names, in ``CONCIERGE_FLAKE``, the flake that it was built from. Its lock fixes every
version, and only what this machine needs is asked for: a machine without a GPU never downloads CUDA.

What Nix builds is fixed by the flake's lock, not by a hash that anybody knows beforehand. So the artefact is a small
program whose bytes are known: it names the flake and the attribute, and starts what Nix has put behind a link. The
link is a root, so that Nix's garbage collection leaves the engine alone.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import paths
from concierge.catalog.types import Artefact, Build, Needs, NixSource
from concierge.errors import FetchError
from concierge.processes import follow

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

DOTTED = 9842
"""The newest numbered build that nixpkgs had: what counts as 0.4.0 there came later."""

PROGRAM = "llama-server"

TIMEOUT_S = 3 * 3600.0
"""Long enough to compile a CUDA engine where no cache is trusted; it only ends what would never end."""

DRY_S = 120.0
"""How long Nix may think about what it would do; the first time it fetches the flake's nixpkgs."""

_NIX = ("nix", "--extra-experimental-features", "nix-command flakes")
_DERIVATION = re.compile(r"^\s+\S+/[0-9a-z]{32}-(\S+)\.drv$")
_DOWNLOAD = re.compile(r"will be fetched \(([0-9.]+) ([KMGT]?)i?B download")

TAIL = 12
"""Lines of Nix's own message that an error repeats."""


def with_engines(catalog: Catalog, system: System, flake: str, llama_cpp: int | None) -> Catalog:
    """Return the catalogue with the flake's engines for ``system`` before its own; the plan prefers them.

    ``llama_cpp`` is the number of their llama.cpp build; None where it is not known.
    """
    ours = tuple(_build(catalog, system, accelerator, flake, llama_cpp) for accelerator in OFFERED.get(system, ()))
    return catalog.model_copy(update={"builds": (*ours, *catalog.builds)})


def _build(catalog: Catalog, system: System, accelerator: Accelerator, flake: str, llama_cpp: int | None) -> Build:
    attribute = f"legacyPackages.{system}.engines.llama-cpp.{accelerator}"
    content = program(flake, attribute)
    return Build(
        engine="llama-cpp",
        version="nix",
        accelerator=accelerator,
        system=system,
        launcher="llama-server",
        licence="MIT",
        executable=PROGRAM,
        llama_cpp=llama_cpp,
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
        paths.make(root.parent, self.home)
        realise(self.flake, source.attribute, run=self.run, say=self.say, root=root)
        file = folder / artefact.name
        file.write_bytes(program(self.flake, source.attribute))
        file.chmod(0o755)
        meter.at(artefact.size)
        return file


def realise(
    flake: str,
    attribute: str,
    *,
    run: Follow = follow,
    say: Callable[[str], None] = lambda _: None,
    root: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Path:
    """Build or download one attribute of a flake and return its store path; a link at ``root`` keeps it there."""
    wanted = f"{flake}#{attribute}"
    link = ["--no-link"] if root is None else ["--out-link", str(root)]
    words = [*_NIX, "build", "--no-write-lock-file", *link]
    words += ["--print-out-paths", wanted]
    tail: deque[str] = deque(maxlen=TAIL)

    def hear(line: str) -> None:
        tail.append(line)
        say(line)

    try:
        done = run(words, seconds=timeout, err=hear)
    except FileNotFoundError:
        raise FetchError(
            "There is no `nix` on PATH.", where=wanted, hint="Install Nix, or use another source."
        ) from None
    except OSError as error:
        raise FetchError(f"nix cannot be started: {error.strerror}.", where=wanted) from None
    if done.exit is None:
        raise FetchError(
            f"nix did not finish in {timeout:.0f} s.",
            where=wanted,
            hint="Run `nix build` on it yourself to see why; a cache may be missing (docs/nix.md).",
        )
    if done.exit != 0:
        raise FetchError(
            f"nix could not build {attribute} (exit code {done.exit}):\n" + "\n".join(tail),
            where=flake,
            hint=f"Run `nix build '{wanted}'` to see all of it.",
        )
    return _one_path(done.stdout, wanted)


def llama_cpp(flake: str, system: System, *, run: Follow = follow) -> int | None:
    """Ask Nix for the number of the flake's llama.cpp build, which its lock fixes; None where it does not say."""
    attribute = f"legacyPackages.{system}.engines.llama-cpp.native.package.version"
    words = [*_NIX, "eval", "--no-write-lock-file", "--raw", f"{flake}#{attribute}"]
    try:
        done = run(words, seconds=DRY_S)
    except OSError:
        return None
    return _number(done.stdout.strip()) if done.exit == 0 else None


def _number(version: str) -> int | None:
    if version.isdecimal():
        return int(version)
    return DOTTED if re.fullmatch(r"\d+(\.\d+)+", version) else None


@dataclass(frozen=True, slots=True)
class Cost:
    """What Nix would do: packages to build here, whether the engine is one of them, and bytes to download."""

    compiled: int
    compiles: bool
    bytes: int


def foresee(flake: str, attribute: str, *, run: Follow = follow) -> Cost | None:
    """Ask Nix what it would download and compile for one attribute; None where it does not say."""
    words = [*_NIX, "build", "--no-write-lock-file", "--no-link", "--dry-run", f"{flake}#{attribute}"]
    said: list[str] = []
    try:
        done = run(words, seconds=DRY_S, err=said.append)
    except OSError:
        return None
    if done.exit != 0:
        return None
    built = [found[1] for line in said if (found := _DERIVATION.search(line))]
    sizes = [found.groups() for line in said if (found := _DOWNLOAD.search(line))]
    size = sum(float(number) * 1024 ** " KMGT".index(unit or " ") for number, unit in sizes)
    return Cost(len(built), any(each.startswith("llama-cpp-") for each in built), int(size))


def built_before(home: Path, flake: str, attribute: str) -> bool:
    """Tell whether Nix has brought the attribute before and its result is still there."""
    return (home / _link(flake, attribute)).exists()


def _one_path(output: str, wanted: str) -> Path:
    lines = output.split()
    if len(lines) != 1 or not lines[0].startswith("/"):
        raise FetchError(f"nix printed {output!r} where one store path was expected.", where=wanted)
    path = Path(lines[0])
    if not path.exists():
        raise FetchError(
            f"nix built {path}, which is not on this machine: its store is elsewhere.",
            where=wanted,
            hint="Unset NIX_REMOTE, or use another source.",
        )
    return path
