"""Carry out a plan: bring its bytes, and say how to run them. What cannot be had gives way to the next rung."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.catalog.types import digest
from concierge.deploy.generation import Generation
from concierge.deploy.question import asked_digest
from concierge.deploy.spec import ServerSpec
from concierge.errors import FetchError, NothingSuitableError
from concierge.plan.words import Failed, build_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from concierge.catalog.types import Build, Model
    from concierge.deploy.question import Pairs
    from concierge.plan.words import Plan
    from concierge.store.fetch import Fetcher

RUNGS = 4
"""Engine builds that are tried before giving up: CUDA, Vulkan, CPU, and one more route to the last."""

FIRST_LOOK = "smollm2-135m"
"""The model for a first look: it comes from where concierge's own packages come from."""


@dataclass(frozen=True, slots=True)
class Applier:
    """Makes a generation of what is decided.

    Attributes:
        decide: Returns the plan for this machine, given the builds that failed so far.
        question: What was asked for.
        marks: What the machine is.
        fetcher: Brings bytes into the store.
        say: Takes one line of narration.
    """

    decide: Callable[[tuple[Failed, ...]], Plan]
    question: Pairs
    marks: Pairs
    fetcher: Fetcher
    say: Callable[[str], None]

    def apply(self, failed: tuple[Failed, ...] = ()) -> Generation:
        """Plan, bring the bytes, and return the generation that they make, which is nowhere written yet.

        An engine that cannot be had gives way to the next one, and it is said; those that ``failed`` are passed over.

        Raises:
            NothingSuitableError: Nothing suits this machine, or nothing else does.
            FetchError: What suits cannot be had.
        """
        last: FetchError | None = None
        for _ in range(len(failed), RUNGS):
            try:
                plan = self.decide(failed)
            except NothingSuitableError:
                if last is not None:
                    # What suits this machine could not be had: that is the cause, not that nothing else does.
                    break
                raise
            assert plan.build is not None
            name = build_name(plan.build)
            self.say(f"Using {name} with {plan.model_name}: {plan.reasons[0]}")
            try:
                self.fetcher.fetch(plan.build.artefact)
            except FetchError as error:
                self.say(f"{name} cannot be had: {error.what}")
                failed = (*failed, Failed(name, error.what))
                last = error
                continue
            return self._made(plan, failed)
        raise last or NothingSuitableError(f"{RUNGS} builds were tried here, and none of them serves.")

    def _made(self, plan: Plan, failed: tuple[Failed, ...]) -> Generation:
        build, model = plan.build, plan.model
        assert build is not None
        assert model is not None
        assert plan.context is not None
        try:
            spec = bring(build, model, context=plan.context, parameters=plan.parameters, fetcher=self.fetcher)
        except FetchError as error:
            raise _with_way_out(plan, error) from None
        return Generation(
            number=0,
            asked=asked_digest(self.question),
            tools=model.chat.tools,
            reasons=plan.reasons,
            spec=spec,
            protocol=model.chat.protocol,
            question=self.question,
            marks=self.marks,
            failed=tuple((each.name, each.reason) for each in failed),
        )


def bring(
    build: Build, model: Model, *, context: int, parameters: Sequence[tuple[str, str]], fetcher: Fetcher
) -> ServerSpec:
    """Put the engine and the model into the store and return the server that they make."""
    engine_root = fetcher.fetch(build.artefact)
    model_root = fetcher.fetch(model.artefact)
    return ServerSpec(
        build=build_name(build),
        engine=build.engine,
        launcher=build.launcher,
        accelerator=build.accelerator,
        engine_root=engine_root,
        engine_sha256=digest(build.artefact),
        executable=build.executable,
        model=model.name,
        model_path=model_root / model.artefact[0].name,
        model_sha256=digest(model.artefact),
        context=context,
        parameters=tuple(sorted(parameters)),
    )


def _with_way_out(plan: Plan, error: FetchError) -> FetchError:
    """Name a model that comes from elsewhere: the choice itself never depends on what the network reaches."""
    hint = error.hint or ""
    if plan.choice != "asked":
        hint += f" Or take {FIRST_LOOK}, which comes from the package index: --model {FIRST_LOOK}"
    return FetchError(error.what, where=error.where, hint=hint.strip())
