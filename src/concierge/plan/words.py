"""The words of a plan: what it is made from and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from concierge.catalog.types import Build, Model
    from concierge.endpoint import Endpoint
    from concierge.platforms import Accelerator

Action = Literal["+", "~", "-", "="]
"""Create, change, remove, keep."""

Cause = Literal[
    "accelerator", "device", "driver", "library", "loader", "wheel", "glibc", "compute", "gfx", "vulkan", "os",
    "launcher", "engine-build", "compile", "failed", "memory", "speed", "context", "unknown", "asked", "ranked-lower",
]  # fmt: skip
"""Why a candidate was not taken, as a word that stays the same."""

Choice = Literal["best-agent", "weighed-with-speed", "asked", "adopted", "configured"]
"""Which rule picked the model: the best that fits; the best when waiting for it is counted, as a better one would be
slow; the one that was asked for; what a server already serves; what a configured server or command will serve."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the planner must know of what is deployed; deploy says the rest of it.

    Attributes:
        build: The engine build's name for people, as ``build_name`` gives it.
        engine_sha256: Digest of the engine's artefacts, in order; ``model_sha256`` likewise.
        model: The name that the server answers to.
        context: Tokens that one request may use.
        parameters: Further launcher settings that change behaviour, as (name, value) pairs, sorted.
    """

    build: str
    engine_sha256: str
    model: str
    model_sha256: str
    context: int
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A build or a model that was tried here and did not work: ``name`` is ``build_name`` or the model's name."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rate:
    """What a server of ours was measured to do on this machine.

    Attributes:
        engine_sha256: Digest of the engine's artefacts; ``model_sha256`` likewise.
        parameters: What it was served with, as (name, value) pairs, sorted.
        written: Tokens a second that it wrote, and of a prompt that it ``read``.
        tuned: ``concierge tune`` found these parameters to be the best of those it tried.
    """

    engine_sha256: str
    model_sha256: str
    parameters: tuple[tuple[str, str], ...]
    written: float
    read: float
    tuned: bool = False


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What Nix would do to bring a build: only Nix knows, as its caches decide.

    Attributes:
        name: The build, as ``build_name`` gives it.
        compiled: How many packages it would build here, the wrapper around the engine included.
        compiles: The engine itself is among them.
        bytes: What it would download.
    """

    name: str
    compiled: int
    compiles: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Running:
    """What is already here.

    Attributes:
        endpoint: The server that answers at ``base_url``, is healthy, serves the model, and is not ours.
        current: The current generation.
        serving: Our server of the current generation is healthy.
        stored: Digests of the store's entries.
        failed: What was tried and failed, so that the next rung is taken.
        rates: What servers of ours were measured to do here.
        disk_free: Bytes free where the store is; None when unknown.
        foreseen: What Nix said about its builds that are not here yet.
    """

    endpoint: Endpoint | None = None
    current: Deployed | None = None
    serving: bool = False
    stored: frozenset[str] = frozenset()
    failed: tuple[Failed, ...] = ()
    rates: tuple[Rate, ...] = ()
    disk_free: int | None = None
    foreseen: tuple[Foreseen, ...] = ()

    def brings(self, name: str) -> Foreseen | None:
        """Return what Nix would do to bring the build of that name, where it was asked."""
        return next((each for each in self.foreseen if each.name == name), None)

    def rate(self, engine_sha256: str, model_sha256: str) -> Rate | None:
        """Return what that engine was measured to do with that model, tuned before as it came."""
        able = (rate for rate in self.rates if (rate.engine_sha256, rate.model_sha256) == (engine_sha256, model_sha256))
        return max(able, key=lambda rate: rate.tuned, default=None)

    def failure(self, name: str) -> str | None:
        """Return what is said against ``name`` when it failed here, or None."""
        reasons = (failed.reason for failed in self.failed if failed.name == name)
        return next((f"was tried here and failed: {reason}" for reason in reasons), None)


NOTHING = Running()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that was not taken, and why."""

    kind: Literal["engine", "model"]
    name: str
    cause: Cause
    reason: str
    accelerator: Accelerator | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the plan.

    Attributes:
        bytes: To fetch for it.
    """

    action: Action
    what: Literal["engine", "model", "server", "endpoint"]
    detail: str
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a model is predicted to do on one device.

    Attributes:
        memory: Bytes that the model with its context needs; None without the facts to compute it.
        budget: Bytes that there are; None when unknown.
        slow: Fewest tokens per second to expect, ``likely`` the best guess, ``fast`` the most; None when unknown.
        source: Where the speed comes from: ``measured``, ``table``, ``class`` or ``unknown``.
        prompt: Tokens of a prompt per second to expect; None when unknown.
    """

    memory: int | None
    budget: int | None
    slow: float | None = None
    likely: float | None = None
    fast: float | None = None
    source: str = "unknown"
    prompt: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be here, why, and what it takes to get there.

    Attributes:
        engine: ``remote`` when somebody else's server is used.
        build: None when nothing of ours is to be started; ``model`` likewise.
        model_name: The name that the server answers to.
        device: The main device; ``devices`` all that are used, by name, and ``idle`` those that could be and are not.
        endpoint: The server that is adopted.
        context: Tokens that one request may use; None where another's server decides it.
        choice: The rule that picked the model.
        reasons: Why this, in sentences.
        rejected: Every candidate that was not taken.
        fetch_bytes: Bytes that come over the network.
        disk_bytes: Bytes that must be free, including what is there only while unpacking.
        drift: What is not as it was brought up, in sentences; ``up`` puts it right.
    """

    engine: str
    accelerator: Accelerator | None
    build: Build | None
    model: Model | None
    model_name: str
    context: int | None
    choice: Choice
    reasons: tuple[str, ...]
    changes: tuple[Change, ...]
    parameters: tuple[tuple[str, str], ...] = ()
    rejected: tuple[Rejected, ...] = ()
    estimate: Estimate | None = None
    device: str | None = None
    devices: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    endpoint: Endpoint | None = None
    fetch_bytes: int = 0
    disk_bytes: int = 0
    drift: tuple[str, ...] = ()

    @property
    def would_change(self) -> bool:
        """Whether carrying it out would do anything."""
        return bool(self.drift) or any(change.action != "=" for change in self.changes)


def build_name(build: Build) -> str:
    """Return the name of a build for people; no two builds of one system share it."""
    file = build.artefact[0].name
    detail = build.launcher if file.endswith(".whl") else file.removesuffix(f".{build.artefact[0].archive}")
    return f"{build.engine} {build.version} {build.accelerator} ({detail})"
