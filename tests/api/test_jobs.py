from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from concierge.agent.events import Asked, RunResult, Started
from concierge.api.jobs import Jobs, in_thread
from concierge.api.problems import ApiError
from concierge.errors import InterruptedByUser, RunError, StartError

if TYPE_CHECKING:
    from concierge.agent.journal import Subscriber

Work = Callable[["Subscriber"], Coroutine[Any, Any, RunResult]]

RESULT = RunResult(status="done", reason="answered", text="", steps=1, usage={}, seconds=0.1, model="tiny", error=None)


def started(name: str) -> Started:
    return Started(id=name, task="t", model="m", messages=(), tools=(), temperature=None, limits={}, versions={})


def lasting(name: str, until: asyncio.Event) -> Work:
    """Return a run that begins at once and ends when it is told to."""

    async def work(hear: Subscriber) -> RunResult:
        hear(started(name))
        await until.wait()
        return RESULT

    return work


def play(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 5))


def test_a_job_is_there_once_its_run_has_begun_and_not_before() -> None:
    async def scenario() -> None:
        begin, end = asyncio.Event(), asyncio.Event()

        async def work(hear: Subscriber) -> RunResult:
            hear(Asked(id="other", step=1, messages=1, max_tokens=None))
            await begin.wait()
            hear(started("mine"))
            hear(started("again"))
            await end.wait()
            return RESULT

        jobs = Jobs(1)
        starting = asyncio.create_task(jobs.start(work))
        await asyncio.sleep(0)
        assert not starting.done()
        begin.set()
        job = await starting
        assert job.id == "mine"
        end.set()
        await job.ended()

    play(scenario())


def test_a_place_is_free_again_when_a_run_has_ended() -> None:
    async def scenario() -> None:
        jobs, end = Jobs(2), asyncio.Event()
        first = [await jobs.start(lasting(name, end)) for name in ("a", "b")]
        with pytest.raises(ApiError, match="2 runs are going on") as caught:
            await jobs.start(lasting("c", end))
        assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "5"})
        end.set()
        for job in first:
            await job.ended()
        assert (await jobs.start(lasting("c", end))).id == "c"

    play(scenario())


@pytest.mark.parametrize("error", [StartError("It died."), ZeroDivisionError("insides")])
def test_a_run_that_does_not_begin_is_its_error_and_takes_no_place(error: Exception) -> None:
    async def scenario() -> None:
        async def work(hear: Subscriber) -> RunResult:
            raise error

        jobs = Jobs(1)
        for _ in range(2):
            with pytest.raises(type(error)):
                await jobs.start(work)

    play(scenario())


@pytest.mark.parametrize(
    ("error", "records"), [(RunError("The disk is full."), []), (ZeroDivisionError("insides"), ["A run failed"])]
)
def test_only_what_nobody_foresaw_is_logged(
    error: Exception, records: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async def work(hear: Subscriber) -> RunResult:
            hear(started("a"))
            raise error

        job = await Jobs(1).start(work)
        with pytest.raises(type(error)):
            await job.ended()
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR):
        play(scenario())
    assert [record.message for record in caplog.records] == records


def test_who_stops_waiting_does_not_stop_the_run() -> None:
    async def scenario() -> None:
        jobs, end = Jobs(1), asyncio.Event()
        job = await jobs.start(lasting("a", end))
        waiting = asyncio.create_task(job.ended())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not job.task.done()
        end.set()
        await job.ended()

    play(scenario())


def test_stopping_ends_every_run_waits_for_it_and_takes_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        cleaned: list[str] = []

        def work(name: str) -> Work:
            async def body(hear: Subscriber) -> RunResult:
                hear(started(name))
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
                    cleaned.append(name)
                return RESULT

            return body

        jobs = Jobs(2)
        running = [await jobs.start(work(name)) for name in ("a", "b")]
        await jobs.stop()
        assert sorted(cleaned) == ["a", "b"]
        for job in running:
            with pytest.raises(InterruptedByUser):
                await job.ended()
        with pytest.raises(ApiError, match="stopping") as caught:
            await jobs.start(work("c"))
        assert caught.value.status == 503

    play(scenario())
    assert caplog.records == []


def test_work_in_a_thread_does_not_keep_a_stopped_server_alive() -> None:
    async def scenario() -> None:
        assert await in_thread(lambda: threading.current_thread().daemon)

    play(scenario())


def test_work_in_a_thread_gives_its_value_or_its_error() -> None:
    async def scenario() -> None:
        assert await in_thread(lambda: 5) == 5
        held: list[str | None] = [None]
        assert await in_thread(held.pop) is None
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)

    play(scenario())
