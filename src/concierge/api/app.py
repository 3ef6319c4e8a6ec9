"""The HTTP API: routes over the same runs that the command line makes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from concierge import __version__
from concierge.agent import runs
from concierge.agent.journal import Subscriber
from concierge.agent.task import Limits, RunResult, Task
from concierge.api import problems
from concierge.api.guard import Guard
from concierge.api.jobs import Jobs, in_thread
from concierge.endpoint import Endpoint
from concierge.errors import ConciergeError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FindEndpoint = Callable[[str | None], Endpoint]
"""Returns the endpoint of a model, or of the configured one for None; may block."""

RunTask = Callable[[Endpoint, Task, Subscriber], Awaitable[RunResult]]
"""Runs a task against an endpoint; the subscriber hears every event."""

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


def create_app(
    *,
    run_task: RunTask,
    ensure: FindEndpoint,
    connect: FindEndpoint,
    ensure_available: bool,
    token: str,
    workspace_root: Path,
    limits: Limits | None = None,
    hosts: Collection[str] = (),
    most_running: int = MOST_RUNNING,
) -> FastAPI:
    """Return the API as an ASGI application.

    Args:
        run_task: Runs a task against an endpoint.
        ensure: Finds an endpoint, starting a local server when none answers; called when ``ensure_available``.
        connect: Names the configured endpoint and starts nothing; called otherwise.
        ensure_available: ``llm.local_llm_ensure_available``.
        token: The bearer token that clients must send.
        workspace_root: The folder whose ``runs/`` holds the run directories.
        limits: What one run may spend at most.
        hosts: Names, besides localhost and addresses, that this server is reached by.
        most_running: Runs that may go on at once.

    Raises:
        ConfigError: The token is blank.
    """
    if not token.strip():
        raise ConfigError("The API's token is blank.", where="api.token", hint="Leave it unset for a random one.")
    jobs = Jobs(most_running)
    configured = limits or Limits()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await jobs.stop()

    app = FastAPI(title="concierge", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.jobs = jobs
    app.add_middleware(Guard, token=token, hosts=hosts)
    _answer_errors(app)

    async def work(asked: NewRun, subscriber: Subscriber) -> RunResult:
        find = ensure if ensure_available else connect
        endpoint = await in_thread(lambda: find(asked.model))
        task = Task(asked.task, endpoint.model, limits=asked.limits.within(configured))
        return await run_task(endpoint, task, subscriber)

    def status(summary: runs.RunSummary) -> dict[str, Any]:
        """Return a run as every route shows it."""
        shown = summary.as_dict()
        run_id, outcome = shown.pop("run_id"), shown.pop("outcome")
        del shown["path"]
        now = "running" if outcome == runs.UNFINISHED and jobs.is_running(run_id) else outcome
        return {"id": run_id, "status": now, "location": f"/runs/{run_id}", **shown}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"ok": True, "version": __version__}

    @app.post("/runs")
    async def start(asked: NewRun, wait: Annotated[bool, Query()] = False) -> JSONResponse:
        job = await jobs.start(lambda subscriber: work(asked, subscriber))
        location = f"/runs/{job.run_id}"
        if not wait:
            begun = {"id": job.run_id, "status": "running", "location": location}
            return JSONResponse(begun, 202, headers={"Location": location})
        await job.ended()
        record = await in_thread(lambda: runs.read_run(workspace_root, job.run_id))
        return JSONResponse(status(record.summary), headers={"Location": location})

    @app.get("/runs")
    def list_runs(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        return {"runs": [status(summary) for summary in runs.list_runs(workspace_root, limit=limit)]}

    @app.get("/runs/{run_id}")
    def show_run(run_id: str) -> dict[str, Any]:
        return status(runs.read_run(workspace_root, run_id).summary)

    return app


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(ConciergeError)
    async def known(_: Request, error: ConciergeError) -> JSONResponse:
        return problems.response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return problems.invalid(error)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return problems.refused(error)

    @app.exception_handler(Exception)
    async def crashed(_: Request, __: Exception) -> JSONResponse:
        return problems.crashed()
