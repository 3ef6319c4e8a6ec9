"""How one model would be served on one device, or over several cards: context, cache type, and where its experts lie.

All of it is decided together, by what the memory holds; the speed follows from where everything lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.catalog import flags
from concierge.fit import memory, speed
from concierge.machine.budget import cpu_budget, device_budget
from concierge.plan.words import Estimate
from concierge.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.catalog.types import Model
    from concierge.config.keys import Context
    from concierge.fit.memory import KvType
    from concierge.fit.speed import Part, Throughput
    from concierge.machine.types import Device, Machine
    from concierge.plan.constraints import Candidate

WANTED: tuple[tuple[int, float], ...] = (
    (4_096, 2 * GIB),
    (8_192, 3.75 * GIB),
    (16_384, 7.5 * GIB),
    (32_768, 15 * GIB),
    (65_536, 30 * GIB),
    (131_072, float("inf")),
)
"""Tokens of context that an agent should have, and the memory up to which so few will do.

A coding agent needs 32k at least and 64k as a rule, and has 128k where there is room. A model that serves the fewer
tokens in the smaller memory serves them in a larger one too: more memory never takes a model away.
"""

USUAL = 8_192
"""Tokens of context for a model whose need of memory is not known."""

WORKED = 16_384
"""Tokens of a conversation half of which stand, on average, before the token whose time is predicted."""

STREAMED_UBATCH = 2_048
"""Tokens computed at once where experts lie in main memory: they are brought to the device once for each batch."""

ASSUMED = 2 * GIB
"""What a device or a machine that does not tell its memory is taken to offer."""

PATIENCE_S = 1_800
"""Seconds within which a full context can be read: a longer one would only hold memory."""

_KV_TYPES: tuple[KvType, ...] = ("f16", "q8_0")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a model is served.

    Attributes:
        context: Tokens that one request may use.
        kv_type: Type of the cached keys and values.
        host_layers: Layers whose experts stay in main memory.
    """

    context: int
    kv_type: KvType = "f16"
    host_layers: int = 0

    @property
    def ubatch(self) -> int:
        """Tokens that are computed at once while a prompt is read."""
        return STREAMED_UBATCH if self.host_layers else flags.UBATCH


@dataclass(frozen=True, slots=True)
class Served:
    """A setting with what it takes and gives; ``fits`` tells whether the memory holds it."""

    setting: Setting
    estimate: Estimate
    fits: bool


def settle(machine: Machine, context: Context, model: Model, candidate: Candidate) -> Served:
    """Return how ``model`` is served best on the candidate's devices; where it does not fit, the least that it needs.

    Args:
        machine: The machine.
        context: The tokens that are asked for, or ``auto``: as many as fit, up to what the model was trained for.
        model: The model.
        candidate: The engine build with its device, or its cards.
    """
    place = _Place(machine, model, candidate)
    if model.gguf is None:
        setting = Setting(USUAL if context == "auto" else context)
        return Served(setting, Estimate(None, place.budget), fits=True)
    fitting = place.given(context) if context != "auto" else place.widest()
    setting = fitting or Setting(
        min(WANTED[0][0], model.context_train) if context == "auto" else context, _KV_TYPES[-1], place.most_host_layers
    )
    return Served(setting, place.estimate(setting), fits=fitting is not None)


class _Place:
    """A model on the devices of one candidate."""

    def __init__(self, machine: Machine, model: Model, candidate: Candidate) -> None:
        self._machine = machine
        self._model = model
        self._candidate = candidate
        self._devices = candidate.devices
        offered = [device_budget(machine.memory, device, candidate.build.accelerator) for device in self._devices]
        known = [each.bytes for each in offered or [cpu_budget(machine.memory)]]
        self._shares = [share or 0 for share in known]
        self.budget = None if None in known else sum(self._shares)
        self.most_host_layers = self._most_host_layers()

    def given(self, context: int, within: float = float("inf")) -> Setting | None:
        """Return the setting with that context, the fewest experts in main memory first, then the plainest cache."""
        within = min(within, self._budget)
        if self._least_bytes() > within:
            return None
        ways = (Setting(context, kv, layers) for layers in self._host_layers(context, within) for kv in _KV_TYPES)
        return next((way for way in ways if self._fits(way, within)), None)

    def widest(self) -> Setting | None:
        """Return the setting with the longest context that fits; a quantised cache comes before a shorter window."""
        least = self._least()
        if least is None or least.host_layers:
            return least
        bound, read = self._bound(least), self.estimate(least).prompt
        for context in self._longer(least.context):
            if read is not None and context > max(read * PATIENCE_S, least.context):
                continue
            for kv_type in _KV_TYPES:
                setting = Setting(context, kv_type)
                if self._need(setting) <= bound:
                    return setting
        return least

    def estimate(self, setting: Setting) -> Estimate:
        """Return the memory that limits, and the speed."""
        facts = self._model.gguf
        assert facts is not None
        expected = speed.predict(
            facts,
            self._model.size,
            active=self._model.params_active or self._model.params,
            on=self._parts(setting),
            depth=min(setting.context, WORKED) // 2,
            kv_type=setting.kv_type,
        )
        prompt = expected.prompt
        if setting.host_layers:
            prompt = speed.streamed(prompt, experts=self._host_experts(setting), batch=setting.ubatch)
        return Estimate(
            memory=self._need(setting),
            budget=self.budget,
            slow=expected.low,
            likely=expected.likely,
            fast=expected.high,
            source=expected.source,
            prompt=prompt,
        )

    def _least(self) -> Setting | None:
        """Return the setting that makes the model one to choose: the wanted context for some memory that is here."""
        wanted = next(context for context, within in WANTED if self._budget <= within)
        tiers = ((min(context, self._model.context_train), bound) for context, bound in WANTED if context <= wanted)
        ways = (self.given(context, within) for context, within in reversed(list(tiers)))
        return next((way for way in ways if way is not None), None)

    def _bound(self, least: Setting) -> float:
        """Return the memory that a longer context may take: half of what is left where other programs live in it."""
        budget, need = self._budget, self._need(least)
        shared = not self._devices or self._devices[0].kind != "discrete"
        return need + (budget - need) / 2 if shared else budget

    def _longer(self, least: int) -> Iterator[int]:
        """Yield the contexts up to what the model was trained for, each half of the one before."""
        context = self._model.context_train
        while context > least:
            yield context
            context = 1 << (context - 1).bit_length() - 1
        yield least

    @property
    def _budget(self) -> int:
        return ASSUMED if self.budget is None else self.budget

    def _fits(self, setting: Setting, within: float) -> bool:
        return self._need(setting) <= within and self._host_experts(setting) <= self._host_budget()

    def _need(self, setting: Setting) -> int:
        """Return the bytes needed of the memory that limits: the devices', or the pool that one shares with the CPU."""
        facts = self._model.gguf
        assert facts is not None
        serving = memory.Serving(
            context=setting.context,
            kv_type=setting.kv_type,
            ubatch=setting.ubatch,
            devices=max(len(self._devices), 1),
            host_experts=self._host_experts(setting),
        )
        # The CPU's budget is already less the system's own share.
        margin = memory.margin_for(min(self._shares)) if self._devices else 0
        need = memory.estimate(facts, self._model.size, serving, on_device=bool(self._devices), margin=margin)
        host = need.host_total + flags.prompt_cache_mib(self._machine.memory.ceiling.bytes) * MIB
        if not self._devices:
            return host
        return need.device_total + (host if _shares_memory(self._devices[0]) else 0)

    def _most_host_layers(self) -> int:
        """Return of how many layers the experts may stay behind: of none where more bits would only bring more."""
        facts, devices, launcher = self._model.gguf, self._devices, self._candidate.build.launcher
        able = len(devices) == 1 and devices[0].kind == "discrete" and launcher == "llama-server"
        mixture = facts is not None and facts.experts and self._model.quant != "Q8_0"
        return facts.layers if able and mixture and facts is not None else 0

    def _host_layers(self, context: int, within: float) -> Iterator[int]:
        """Yield how many layers may leave their experts behind: none, then the fewest that make room."""
        yield 0
        if not self.most_host_layers:
            return
        room = within - self._need(Setting(context, _KV_TYPES[-1], self.most_host_layers))
        if room >= 0:
            yield max(self.most_host_layers - int(room) // max(self._layer_experts(), 1), 1)

    def _least_bytes(self) -> int:
        """Return what no setting needs less than: quickly told, and so for most models that are too large."""
        facts = self._model.gguf
        behind = 0 if facts is None or not self._devices else facts.input_bytes
        return self._model.size - behind - self.most_host_layers * self._layer_experts()

    def _layer_experts(self) -> int:
        facts = self._model.gguf
        return 0 if facts is None else speed.expert_bytes(facts, self._model.size) // facts.layers

    def _host_experts(self, setting: Setting) -> int:
        return setting.host_layers * self._layer_experts()

    def _host_budget(self) -> int:
        """Return the main memory that experts may take: half of it, as a device's user has other programs there."""
        ceiling = self._machine.memory.ceiling.bytes
        return 0 if ceiling is None else ceiling // 2

    def _parts(self, setting: Setting) -> list[Part]:
        if not self._devices:
            return [speed.Part(host(self._machine))]
        total = sum(self._shares) or 1
        behind = setting.host_layers / self._model.gguf.layers if self._model.gguf else 0
        whole = len(self._devices) == 1
        shares = [1.0] if whole else [share / total for share in self._shares]
        parts = [
            speed.Part(on_device(device), common=share, experts=share * (1 - behind))
            for device, share in zip(self._devices, shares, strict=True)
        ]
        return [*parts, speed.Part(host(self._machine), common=0, experts=behind)] if behind else parts


def host(machine: Machine) -> Throughput:
    """Return what the CPU delivers."""
    cpu = machine.cpu
    return speed.host(cpu.model, cores=cpu.cores or cpu.threads, level=cpu.level, reads_gb_s=cpu.reads_gb_s)


def on_device(device: Device) -> Throughput:
    """Return what a device delivers."""
    compute = device.compute_capability
    chips = (device.pci_id, device.gfx_target, compute and f"sm_{compute.replace('.', '')}")
    size = device.memory.unified if device.kind == "unified" else device.memory.dedicated
    return speed.device(
        device.name,
        vendor=device.vendor,
        kind=device.kind,
        chips=tuple(chip for chip in chips if chip),
        memory=size.bytes,
    )


def _shares_memory(device: Device) -> bool:
    """Tell whether what the model keeps in main memory lies in the same pool."""
    return device.memory.unified.bytes is not None or device.memory.wired_limit.bytes is not None
