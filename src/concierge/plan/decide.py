"""What should be on this machine, and why: a pure function of facts. Nothing here reads, runs or asks anything."""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from concierge.catalog import flags, reference
from concierge.catalog.types import digest
from concierge.errors import ConfigError, NothingSuitableError
from concierge.plan import changes, rank, refusal, tuning
from concierge.plan.constraints import examine
from concierge.plan.placement import ASSUMED, settle
from concierge.plan.words import NOTHING, Change, Choice, Estimate, Plan, Rejected, Running, build_name
from concierge.units import human

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from concierge.catalog.types import Build, Catalog, Model
    from concierge.config.keys import Llm
    from concierge.machine.types import Device, Machine
    from concierge.plan.constraints import Candidate
    from concierge.plan.placement import Served, Setting
    from concierge.plan.rank import Judged, Pick, Settle
    from concierge.plan.words import Rate

FARM = 4
"""Equal cards from which on several requests at once are what they are for."""

_MODEL_REASONS: dict[Choice, str] = {
    "best-agent": "{name} does the best work of all that fit",
    "weighed-with-speed": "{name} does the best work when the wait for it is counted",
    "asked": "{name}, as llm.model asks",
}


def plan(machine: Machine, llm: Llm, catalog: Catalog, running: Running = NOTHING) -> Plan:
    """Return what should be here.

    The model depends on the machine alone: never on the network, on free memory, or on what is already here. The
    catalogue is this release's, or a lock's.

    Raises:
        NothingSuitableError: No engine runs here, or no model suits; the reasons are in it.
        ConfigError: ``llm.model`` is a file or a repository's commit that has not been locked.
    """
    return _elsewhere(llm, running) or _here(machine, llm, catalog, running)


def _elsewhere(llm: Llm, running: Running) -> Plan | None:
    """Return the plan that starts nothing of ours, where there is cause for it."""
    if running.endpoint is not None:
        reason = f"a healthy server at {running.endpoint.base_url} serves {running.endpoint.model}"
        adopt = Change("=", "endpoint", f"{running.endpoint.base_url} serves {running.endpoint.model}; it stays theirs")
        stop = [Change("-", "server", "ours is no longer needed and stops")] if running.serving else []
        adopted = _remote(llm, "adopted", reason, [adopt, *stop])
        return replace(adopted, endpoint=running.endpoint, model_name=running.endpoint.model)
    connect = _connect_only(llm)
    if connect is not None:
        keep = Change("=", "endpoint", f"{llm.address} is used as it is; nothing is started for it")
        return _remote(llm, "configured", connect, [keep])
    if llm.local_llm_start_cmd is not None:
        start = Change("+", "server", f"`{' '.join(llm.local_llm_start_cmd)}` starts yours at {llm.address}")
        return _remote(llm, "configured", "local_llm_start_cmd says how the server is started", [start])
    return None


def _connect_only(llm: Llm) -> str | None:
    if llm.never_started:
        return f"llm.engine is {llm.engine}, which concierge never starts"
    if not llm.address.loopback:
        return "llm.base_url is another machine's, where concierge never starts anything"
    return None if llm.local_llm_ensure_available else "llm.local_llm_ensure_available is off"


def _remote(llm: Llm, choice: Choice, reason: str, lines: Sequence[Change]) -> Plan:
    engine = "vllm" if llm.engine == "vllm" else "remote"
    context = None if llm.context == "auto" else llm.context
    return Plan(engine, None, None, None, llm.model, context, choice, (reason,), tuple(lines))


def _here(machine: Machine, llm: Llm, catalog: Catalog, running: Running) -> Plan:
    models = _models(llm, catalog)
    candidates, rejected = _candidates(machine, llm, catalog, running)
    if not candidates:
        raise refusal.no_engine(machine, rejected)
    served = _as_measured(partial(settle, machine, llm.context), running)
    able = [model for model in models if running.failure(model.name) is None]
    pick = rank.choose if llm.model == "auto" else rank.place
    found = pick(candidates, able, served, llm.context)
    if found is None:
        raise refusal.no_model(llm, candidates, models, served, running)
    rejected += _other_builds(found, candidates, running)
    rejected += _other_models(found, models, running)
    return _ours(machine, llm, running, found, tuple(rejected))


def _models(llm: Llm, catalog: Catalog) -> list[Model]:
    """Return the models to choose from; one when it was asked for."""
    wanted = reference.parse(llm.model)
    if isinstance(wanted, reference.Auto):
        return list(catalog.models)
    model = catalog.model(wanted.name)
    if model is not None and reference.means(wanted, model):
        return [model]
    if isinstance(wanted, reference.Named):
        raise _unknown_model(llm, catalog, wanted.name)
    raise ConfigError(
        f"`{llm.model}` is not locked yet, so its size and hash are not known.",
        where="llm.model",
        hint="Run `concierge lock`.",
    )


def _unknown_model(llm: Llm, catalog: Catalog, name: str) -> NothingSuitableError:
    close = difflib.get_close_matches(name, [model.name for model in catalog.models], n=1)
    return NothingSuitableError(
        f"No server at {llm.address} serves `{name}`, and the catalogue has no model of that name.",
        where="llm.model",
        hint=f"Did you mean `{close[0]}`?" if close else "`concierge models` lists the catalogue.",
    )


def _candidates(
    machine: Machine, llm: Llm, catalog: Catalog, running: Running
) -> tuple[list[Candidate], list[Rejected]]:
    candidates: list[Candidate] = []
    rejected: list[Rejected] = []
    for build in catalog.builds:
        if build.system != machine.system:
            continue
        verdict = _otherwise(llm, build, running) or examine(machine, build)
        if isinstance(verdict, Rejected):
            rejected.append(verdict)
        else:
            candidates.extend(verdict)
    compiled = _compiled(llm, candidates, running)
    candidates = [each for each in candidates if build_name(each.build) not in {entry.name for entry in compiled}]
    return rank.order(candidates, running.stored), rejected + compiled


def _compiled(llm: Llm, candidates: Sequence[Candidate], running: Running) -> list[Rejected]:
    """Return Nix's CUDA builds that would be compiled for an hour, where a cache has Vulkan's."""
    brought = [(each.build, running.brings(build_name(each.build))) for each in candidates]
    ready = any(build.accelerator == "vulkan" and cost and not cost.compiles for build, cost in brought)
    if llm.accelerator != "auto" or not ready:
        return []
    late = {
        build_name(build): cost for build, cost in brought if build.accelerator == "cuda" and cost and cost.compiles
    }
    way = "trust cache.nixos-cuda.org (docs/nix.md) to have it ready-made, or set llm.accelerator = cuda"
    return [
        Rejected("engine", name, "compile", f"Nix would compile {cost.compiled} packages for it here: {way}", "cuda")
        for name, cost in late.items()
    ]


def _otherwise(llm: Llm, build: Build, running: Running) -> Rejected | None:
    name = build_name(build)
    failure = running.failure(name)
    if failure is not None:
        return Rejected("engine", name, "failed", failure, build.accelerator)
    for key, asked, has in (("engine", llm.engine, build.engine), ("accelerator", llm.accelerator, build.accelerator)):
        if asked not in ("auto", has):
            return Rejected("engine", name, "asked", f"llm.{key} is {asked}", build.accelerator)
    return None


def _other_builds(found: Pick, candidates: Sequence[Candidate], running: Running) -> list[Rejected]:
    """Return the builds that could run here, once each, whatever the number of devices."""
    others = {build_name(other.build): other for other in reversed(candidates)}
    del others[build_name(found.candidate.build)]
    return [rank.passed_over(found.candidate, other, running.stored) for other in reversed(others.values())]


def _other_models(found: Pick, models: Sequence[Model], running: Running) -> list[Rejected]:
    accelerator = found.candidate.build.accelerator
    judged = [
        Rejected("model", other.model.name, other.cause or "ranked-lower", other.reason, accelerator)
        for other in found.others
    ]
    failed = [
        Rejected("model", model.name, "failed", reason, accelerator)
        for model in models
        if (reason := running.failure(model.name))
    ]
    return judged + failed


def _ours(
    machine: Machine,
    llm: Llm,
    running: Running,
    found: Pick,
    rejected: tuple[Rejected, ...],
) -> Plan:
    candidate, model, setting = found.candidate, found.judged.model, found.judged.setting
    assert setting is not None
    build, device = candidate.build, candidate.device
    rate = running.rate(digest(build.artefact), digest(model.artefact))
    given = tuning.applied(_parameters(machine, candidate, setting), rate)
    if rate is not None and rate.parameters == given:
        found = replace(found, judged=replace(found.judged, estimate=_measured(found.judged.estimate, rate)))
    lines = changes.lines(build, model, setting.context, given, running)
    idle = tuple(_idle(machine, candidate))
    return Plan(
        engine=build.engine,
        accelerator=build.accelerator,
        build=build,
        model=model,
        model_name=model.name,
        context=setting.context,
        choice=found.choice,
        reasons=tuple(_reasons(machine, llm, found, idle)),
        changes=tuple(lines),
        parameters=given,
        rejected=rejected,
        estimate=found.judged.estimate,
        device=None if device is None else device.name,
        devices=tuple(each.name for each in candidate.devices),
        idle=tuple(each.name for each in idle),
        fetch_bytes=sum(line.bytes for line in lines),
        disk_bytes=changes.needed(build, model, running),
    )


def _as_measured(served: Settle, running: Running) -> Settle:
    """Return the same scale, on which what was tuned counts as it was measured."""
    if not any(rate.tuned for rate in running.rates):
        return served

    def settled(model: Model, candidate: Candidate) -> Served:
        found = served(model, candidate)
        rate = running.rate(digest(candidate.build.artefact), digest(model.artefact))
        tuned = rate is not None and rate.tuned
        return replace(found, estimate=_measured(found.estimate, rate)) if tuned and rate else found

    return settled


def _measured(estimate: Estimate, rate: Rate) -> Estimate:
    slow, fast = rate.written * 0.9, rate.written * 1.1
    return replace(estimate, slow=slow, likely=rate.written, fast=fast, source="measured", prompt=rate.read)


def _parameters(machine: Machine, candidate: Candidate, setting: Setting) -> tuple[tuple[str, str], ...]:
    cpu = machine.cpu
    computes = candidate.device is None or setting.host_layers
    threads = min(cpu.cores or 0, cpu.threads or 0) if computes else None
    return flags.parameters(
        candidate.build.accelerator,
        kv_type=setting.kv_type,
        host_layers=setting.host_layers,
        ubatch=setting.ubatch,
        prompt_cache=flags.prompt_cache_mib(machine.memory.ceiling.bytes),
        threads=threads or None,
        card=_card(machine, candidate),
    )


def _card(machine: Machine, candidate: Candidate) -> int | None:
    """Return the place of the only card that is used among those that the engine would use; None where it is alone.

    CUDA and ROCm are told to count by the bus. Vulkan counts as its drivers please, so all of its cards are left to it.
    """
    accelerator, device = candidate.build.accelerator, candidate.device
    pinned = accelerator in ("cuda", "rocm") and candidate.build.launcher == "llama-server"
    if not pinned or device is None or candidate.beside:
        return None
    seen = sorted(each.id for each in machine.devices if each.can(accelerator))
    return seen.index(device.id) if len(seen) > 1 and device.id in seen else None


def _idle(machine: Machine, candidate: Candidate) -> Iterator[Device]:
    """Yield the devices that could compute and do not."""
    used = {device.id for device in candidate.devices}
    for device in machine.devices:
        if device.id not in used and any(usable.ok for usable in device.accelerators.values()):
            yield device


def _reasons(machine: Machine, llm: Llm, found: Pick, idle: Sequence[Device]) -> Iterator[str]:
    candidate, judged = found.candidate, found.judged
    yield _where(machine, llm, candidate)
    yield from (f"not sure: {doubt}" for doubt in candidate.unsure)
    yield _MODEL_REASONS[found.choice].format(name=judged.model.name)
    yield from _memory(llm, judged)
    yield rank.pace(judged.estimate)
    if judged.model.licence.startswith("LicenseRef-"):
        yield f"its licence, {judged.model.licence}, has terms of its own: {judged.model.repo} states them"
    if found.choice == "asked" and judged.estimate.fast is not None and judged.estimate.fast < rank.WRITTEN:
        yield "that is slower than slow reading: a smaller model would serve better"
    if idle:
        names = ", ".join(f"{count} more {name}" if count > 1 else name for name, count in _counted(idle))
        yield f"{names} {'stay' if len(idle) > 1 else 'stays'} idle: {_unneeded(candidate)}"
    if max((count for _, count in _counted([*candidate.devices, *idle])), default=0) >= FARM:
        yield "for many requests at once over so many cards vLLM is the engine: start it and set llm.base_url"


def _where(machine: Machine, llm: Llm, candidate: Candidate) -> str:
    accelerator = candidate.build.accelerator
    on = " and ".join(dict.fromkeys(device.name for device in candidate.devices)) or "the CPU"
    if candidate.beside:
        on = f"{len(candidate.devices)} cards together ({on})"
    if llm.accelerator != "auto":
        return f"{accelerator} on {on}, as llm.accelerator asks"
    if accelerator == "cpu":
        return (
            "the CPU, as no accelerator here carries more" if machine.devices else "the CPU: nothing else here computes"
        )
    return f"{accelerator} on {on}: {machine.usable(accelerator).reason}"


def _memory(llm: Llm, judged: Judged) -> Iterator[str]:
    """Say what the model needs, and why it has this context, this cache and these experts."""
    estimate, setting, model = judged.estimate, judged.setting, judged.model
    if estimate.memory is None or setting is None:
        return
    yield f"{model.name} needs {human(estimate.memory)} at {setting.context} tokens; {_budget(estimate)}"
    if llm.context == "auto":
        trained = setting.context == model.context_train
        why = "all that it was trained for" if trained else f"as many as fit, of {model.context_train}"
        yield f"{setting.context} tokens of context: {why}"
    if setting.kv_type != "f16":
        yield f"a {setting.kv_type} cache: half the memory of f16, before a shorter context"
    if setting.host_layers:
        assert model.gguf is not None
        yield f"the experts of {setting.host_layers} of {model.gguf.layers} layers stay in main memory: the rest fits"


def _unneeded(candidate: Candidate) -> str:
    if candidate.device is None:
        return "the CPU carries a better model"
    return "nothing better would fit on all of them" if candidate.device.kind == "discrete" else "it is not needed"


def _counted(devices: Sequence[Device]) -> list[tuple[str, int]]:
    names = [device.name for device in devices]
    return [(name, names.count(name)) for name in dict.fromkeys(names)]


def _budget(estimate: Estimate) -> str:
    if estimate.budget is None:
        return f"what there is is not known, {human(ASSUMED)} are assumed"
    return f"there are {human(estimate.budget)}"
