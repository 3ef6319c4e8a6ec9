"""The HTTP API: routes over the same runs that the command line makes."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from concierge import __version__
from concierge.agent.task import limits as allowed
from concierge.api import problems
from concierge.api.guard import Guard
from concierge.api.jobs import Jobs, in_thread
from concierge.documents import document
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from contextlib import AbstractContextManager

    from concierge.agent.events import RunResult
    from concierge.agent.journal import Subscriber
    from concierge.agent.runs import RunRecord, RunSummary
    from concierge.agent.task import Limits
    from concierge.config.keys import Config
    from concierge.endpoint import Endpoint

MOST_RUNNING = 4
"""A local server answers few requests at once; more runs would only wait inside their own time limit."""


class AskedLimits(BaseModel):
    """Bounds that a client may only tighten."""

    model_config = ConfigDict(extra="forbid")

    max_steps: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def within(self, configured: Limits) -> Limits:
        """Return the tighter of the two, bound by bound."""
        asked = self.model_dump(exclude_none=True)
        return replace(configured, **{name: min(value, getattr(configured, name)) for name, value in asked.items()})


class NewRun(BaseModel):
    """The body of ``POST /runs``."""

    model_config = ConfigDict(extra="forbid")

    task: Annotated[str, Field(pattern=r"\S", max_length=200_000)]
    model: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    limits: AskedLimits = AskedLimits()


class River(Protocol):
    """What the API needs of the application."""

    @property
    def config(self) -> Config:
        """What holds; a run may spend what it allows."""

    def using(self, model: str | None) -> AbstractContextManager[Endpoint]:
        """Have that model, or the configured one for None, answer within the context; may block while it starts."""

    async def run(self, task: str, *, endpoint: Endpoint, limits: Limits, on_event: Subscriber) -> RunResult:
        """Let the model do a task; ``on_event`` hears every event."""

    def close(self) -> None:
        """Give up what is being started."""

    def runs(self, *, limit: int) -> list[RunSummary]:
        """Return the newest runs."""

    def read_run(self, run_id: str) -> RunRecord:
        """Return one run; an ``UnknownRunError`` says that there is none of that id."""


def create_app(river: River, *, token: str, hosts: Collection[str] = (), most_running: int = MOST_RUNNING) -> FastAPI:
    """Return the API as an ASGI application.

    Clients must send the bearer ``token``; ``hosts`` are names, besides localhost and addresses, to be reached by.

    Raises:
        ConfigError: The token is blank.
    """
    if not token.strip():
        raise ConfigError("The API's token is blank.", where="api.token", hint="Leave it unset for a random one.")
    jobs = Jobs(most_running)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await jobs.stop()

    app = FastAPI(
        title="concierge",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=problems.HANDLERS,
    )
    app.state.jobs = jobs
    app.add_middleware(Guard, token=token, hosts=hosts)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return document(ok=True, version=__version__)

    @app.post("/runs")
    async def start(asked: NewRun, wait: Annotated[bool, Query()] = False) -> JSONResponse:
        job = await jobs.start(lambda subscriber: _run(river, asked, subscriber))
        location = f"/runs/{job.id}"
        if not wait:
            begun = document(id=job.id, status="running", location=location)
            return JSONResponse(begun, 202, headers={"Location": location})
        await job.ended()
        record = await in_thread(lambda: river.read_run(job.id))
        return JSONResponse(document(**_shown(record.summary)), headers={"Location": location})

    @app.get("/runs")
    def list_runs(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        return document(runs=[_shown(summary) for summary in river.runs(limit=limit)])

    @app.get("/runs/{run_id}")
    def show_run(run_id: str) -> dict[str, Any]:
        return document(**_shown(river.read_run(run_id).summary))

    return app


async def _run(river: River, asked: NewRun, subscriber: Subscriber) -> RunResult:
    with contextlib.ExitStack() as stack:
        endpoint = await in_thread(lambda: stack.enter_context(river.using(asked.model)))
        limits = asked.limits.within(allowed(river.config.run, endpoint.context))
        return await river.run(asked.task, endpoint=endpoint, limits=limits, on_event=subscriber)


def _shown(summary: RunSummary) -> dict[str, Any]:
    """Return a run as every route shows it: where it lies on this machine is nobody's business."""
    shown = summary.as_dict()
    del shown["path"]
    return {**shown, "location": f"/runs/{summary.id}"}
