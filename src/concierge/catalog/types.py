"""What the catalogue says, as frozen data.

The same classes read ``engines.toml`` and ``models.toml`` and write ``concierge.lock``; unknown keys are errors.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from concierge.platforms import Accelerator, System

if TYPE_CHECKING:
    from collections.abc import Sequence

Engine = Literal["llama-cpp", "ollama"]
Launcher = Literal["xllamacpp", "llama-server", "ollama"]
"""How a build is started: one small file per launcher in ``server/engines/``."""

Trust = Literal["publisher", "manifests", "manifest", "seen"]
"""How far a hash is trusted: the publisher's checksum, several independent manifests, one manifest, seen by us."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]

Role = Literal["main", "companion"]
"""``main``: the engine's archive, the model's file or one of its shards. ``companion``: unpacked over the main one."""

Thinking = Literal["never", "optional", "always"]
"""Whether the model reasons before it answers: never, when its template is told to, or always."""


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


class Part(Frozen):
    """One of the pieces that a file was cut into: a member of a wheel.

    Attributes:
        size: Of the member, in bytes; ``sha256`` likewise.
    """

    package: str
    version: str
    member: str
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256
    wheel: str
    wheel_size: Annotated[int, Field(gt=0)]
    wheel_sha256: Sha256

    @property
    def wheel_source(self) -> PypiSource:
        """Where it comes from."""
        return PypiSource(
            package=self.package,
            version=self.version,
            member=self.member,
            wheel=self.wheel,
            wheel_size=self.wheel_size,
            wheel_sha256=self.wheel_sha256,
        )


class PartsSource(Frozen):
    """A file that lies in several wheels of the machine's own package index: its parts, in order."""

    kind: Literal["parts"] = "parts"
    parts: tuple[Part, ...] = Field(min_length=2)


Source = Annotated[PypiSource | HttpsSource | PathSource | NixSource | PartsSource, Field(discriminator="kind")]


class Artefact(Frozen):
    """Bytes with a name, a size, a sha256 and at least one source, in the order to try them.

    Attributes:
        role: What the artefact is to the entry that holds it.
        archive: How to unpack; None keeps the file as it is.
        strip: Leading path components to drop when unpacking.
    """

    name: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256
    trust: Trust
    role: Role = "main"
    archive: Literal["zip", "tar.gz", "tar.zst"] | None = None
    strip: int = 0
    sources: tuple[Source, ...] = Field(min_length=1)


class Needs(Frozen):
    """What a machine must have for a build to be a candidate. An absent key constrains nothing.

    Attributes:
        glibc: Lowest glibc, such as ``2.35``.
        driver: Lowest driver of the accelerator's vendor, such as ``580`` for NVIDIA.
        compute: CUDA compute capabilities that the build holds code for, lowest first. The build also runs on
            every newer one: the highest is shipped as portable code that the driver translates.
        gfx: AMD targets that the build holds, such as ``gfx1100``; no other one runs.
        rocm: Lowest ROCm whose libraries must be on the machine, for builds that do not carry them.
        vulkan: Lowest Vulkan version of the device, such as ``1.2``.
        macos: Lowest macOS, such as ``13.0``.
        windows: Lowest Windows build line, such as ``10``.
    """

    glibc: str | None = None
    driver: str | None = None
    compute: tuple[str, ...] | None = None
    gfx: tuple[str, ...] | None = None
    rocm: str | None = None
    vulkan: str | None = None
    macos: str | None = None
    windows: str | None = None


class Build(Frozen):
    """One engine build for one system and accelerator.

    Attributes:
        artefact: The archive, then its companions, each unpacked over the ones before.
        executable: Path of the program inside the unpacked tree, for launchers that have one.
        llama_cpp: Number of the llama.cpp build inside; a model's ``minimum_build`` is compared with it.
        proven: A session of concierge has started this very build and had an answer from it.
    """

    engine: Engine
    version: str
    accelerator: Accelerator
    system: System
    launcher: Launcher
    licence: str
    executable: str | None = None
    commit: Commit | None = None
    llama_cpp: Annotated[int, Field(gt=0)] | None = None
    proven: bool = False
    needs: Needs = Needs()
    artefact: tuple[Artefact, ...] = Field(min_length=1)

    @property
    def size(self) -> int:
        """Bytes to fetch, companions included."""
        return sum(artefact.size for artefact in self.artefact)

    @property
    def by_nix(self) -> bool:
        """Whether Nix makes all of it."""
        return all(source.kind == "nix" for artefact in self.artefact for source in artefact.sources)


class Recurrent(Frozen):
    """The state of one recurrent or linear-attention layer, in the words of the GGUF's ``ssm.*`` keys."""

    conv_kernel: int
    inner_size: int
    state_size: int
    group_count: int


class Gguf(Frozen):
    """What the fit formula needs to know of a GGUF file; read from its header, or written down for the catalogue.

    Attributes:
        architecture: The value of ``general.architecture``.
        layers: Blocks that a token passes; next-token-prediction blocks are not among them.
        kv_heads: Key-value heads of every layer, or of each layer in order.
        key_length: Elements of one head's key; ``value_length`` likewise. Never embedding ÷ heads.
        feed_forward: Width of the feed-forward block, of all experts that read one token together.
        pattern: One letter per layer, repeated over the layers: ``f`` full attention, ``w`` sliding window,
            ``r`` recurrent, ``s`` no cache of its own (it shares another layer's).
        window: Tokens of the sliding window.
        window_key_length: Key length of ``w`` layers where it differs; ``window_value_length`` likewise.
        latent: Elements that one layer caches per token when the model compresses keys and values together (MLA).
        recurrent: The state of ``r`` layers.
        experts: Experts of a mixture, 0 for a dense model; ``experts_used`` of them read each token.
        active: Share of the weights' bytes that is read for one token; 1 for a dense model.
        input_bytes: Bytes of an input embedding table that is not also the output: one row of it is read per token,
            and it stays in main memory when layers are offloaded.
        drafting: Blocks behind the layers that propose the tokens to come (next-token prediction); 0 in most files.
        estimated: Names of the facts that were computed, or taken from elsewhere than this very file.
    """

    architecture: str
    layers: Annotated[int, Field(gt=0)]
    embedding: Annotated[int, Field(gt=0)]
    vocab: Annotated[int, Field(gt=0)]
    heads: Annotated[int, Field(gt=0)]
    kv_heads: Annotated[int, Field(ge=0)] | tuple[int, ...]
    key_length: Annotated[int, Field(gt=0)]
    value_length: Annotated[int, Field(gt=0)]
    feed_forward: Annotated[int, Field(gt=0)] | None = None
    pattern: Annotated[str, Field(pattern=r"^[fwrs]+$")] = "f"
    window: Annotated[int, Field(gt=0)] | None = None
    window_key_length: Annotated[int, Field(gt=0)] | None = None
    window_value_length: Annotated[int, Field(gt=0)] | None = None
    latent: Annotated[int, Field(gt=0)] | None = None
    recurrent: Recurrent | None = None
    experts: Annotated[int, Field(ge=0)] = 0
    experts_used: Annotated[int, Field(ge=0)] = 0
    active: Annotated[float, Field(gt=0, le=1)] = 1.0
    input_bytes: Annotated[int, Field(ge=0)] = 0
    drafting: Annotated[int, Field(ge=0)] = 0
    estimated: tuple[str, ...] = ()


class Chat(Frozen):
    """What the model can do in a conversation.

    Attributes:
        template: The family of the chat template inside the GGUF.
        tools: The template renders tool definitions and the model was trained to call them.
        protocol: How the model acts best, as the evaluation of docs/agent.md measured it; None where it was not.
    """

    template: str
    tools: bool
    thinking: Thinking = "never"
    protocol: Literal["native", "shell", "json"] | None = None


class Evidence(Frozen):
    """A score that a model's rank stands on; the first of several decides where two models share a benchmark.

    Attributes:
        bench: The benchmark with its version, or ``concierge tasks`` for our own task set.
        score: What was reached, in percent.
        date: When it was published, ``YYYY-MM`` or with a day.
        source: Who published it.
    """

    bench: str
    score: Annotated[float, Field(ge=0, le=100)]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d(-\d\d)?$")]
    source: str


class Model(Frozen):
    """One model at one quantisation.

    Attributes:
        params: Weights in total, as the publisher counts them; ``params_active`` are those that one token passes.
        rank: Place in the ladder, by how well the model does an agent's work; higher is better.
        evidence: What the rank stands on.
        released: When the publisher let it out, ``YYYY-MM`` or with a day; None when unknown.
        also: What other servers call these very weights at this quantisation, such as Ollama's tag.
        repo: The publisher's repository; ``revision`` is a commit of it, never a branch.
        gated: The publisher wants an account and an accepted licence before it hands the file out.
        context_train: Tokens that the model was trained for.
        minimum_build: Lowest llama.cpp build that knows the architecture.
        gguf: The facts of the fit formula; without them a model can be asked for by name, but not chosen.
        artefact: The GGUF file, or its shards in order.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str
    family: str
    params: Annotated[int, Field(gt=0)]
    params_active: Annotated[int, Field(gt=0)] | None = None
    quant: str
    rank: Annotated[int, Field(gt=0)]
    released: Annotated[str, Field(pattern=r"^\d{4}-\d\d(-\d\d)?$")] | None = None
    evidence: tuple[Evidence, ...] = ()
    licence: str
    gated: bool = False
    also: tuple[str, ...] | None = None
    repo: str
    revision: Commit | None = None
    context_train: Annotated[int, Field(gt=0)]
    minimum_build: Annotated[int, Field(gt=0)] | None = None
    chat: Chat
    gguf: Gguf | None = None
    artefact: tuple[Artefact, ...] = Field(min_length=1)

    @property
    def score(self) -> float:
        """What the agent is worth, in percent, however many bits its weights have."""
        return self.evidence[0].score if self.evidence else self.rank / 100

    @property
    def size(self) -> int:
        """Bytes of all shards together."""
        return sum(artefact.size for artefact in self.artefact)


class Catalog(Frozen):
    """All that can be had."""

    builds: tuple[Build, ...]
    models: tuple[Model, ...]

    def model(self, name: str) -> Model | None:
        """Return the model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)


def origin(source: Source) -> str:
    """Return where a source's bytes come from, as people name it."""
    match source.kind:
        case "pypi":
            return f"the package index ({source.package} {source.version})"
        case "https":
            return urlsplit(source.url).netloc.rpartition("@")[2]
        case "path":
            return source.path
        case "nix":
            return f"Nix ({source.attribute})"
        case "parts":
            return f"the package index ({len(source.parts)} parts)"


def sent(source: Source, artefact: Artefact) -> int:
    """Return the bytes that ``source`` sends for ``artefact``: all of the wheel where it is a member of one."""
    if source.kind == "parts":
        return sum(part.wheel_size for part in source.parts)
    return (source.wheel_size if source.kind == "pypi" else None) or artefact.size


def digest(artefacts: Sequence[Artefact]) -> str:
    """Return the sha256 that stands for these artefacts in order: the artefact's own when it is alone."""
    if len(artefacts) == 1:
        return artefacts[0].sha256
    return hashlib.sha256("\n".join(artefact.sha256 for artefact in artefacts).encode()).hexdigest()


def room(artefacts: Sequence[Artefact]) -> int:
    """Return the bytes that must be free to take these artefacts in.

    An archive is there packed and unpacked for a moment. The package index's client needs its wheel twice, and the
    member that is taken out of it stands beside it.
    """
    return sum(_brought(artefact) + (2 * artefact.size if artefact.archive else 0) for artefact in artefacts)


def _brought(artefact: Artefact) -> int:
    """Return what the hungriest source of an artefact needs until its bytes are there."""
    return max(_by(source, artefact) for source in artefact.sources)


def _by(source: Source, artefact: Artefact) -> int:
    match source.kind:
        case "pypi":
            return 2 * sent(source, artefact) + (artefact.size if source.member else 0)
        case "parts":
            # The parts stay until the whole is joined, or until the last one has come through its wheel.
            return artefact.size + max(artefact.size, max(2 * part.wheel_size + part.size for part in source.parts))
        case _:
            return artefact.size
