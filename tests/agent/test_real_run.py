from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concierge.agent.runs import list_runs, read_run
from concierge.agent.session import run_task
from concierge.agent.task import Limits, Task
from concierge.api.app import create_app
from concierge.chat.client import OpenAICompatibleChatClient
from concierge.config.keys import Llm
from concierge.net import near
from concierge.paths import Home
from concierge.server.ensure import ensure
from concierge.server.stop import down
from tests.rivers import FakeRiver
from tests.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.agent.events import RunResult
    from concierge.chat.port import Delta
    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Endpoint

pytestmark = pytest.mark.real

QUESTION = "What is the capital of France? Answer in one sentence."
ANSWER = "The capital of France is Paris."


@pytest.fixture(scope="module")
def endpoint(real_spec: ServerSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The real engine with the smallest model, for the tests of this file."""
    home = Home(tmp_path_factory.mktemp("home"))
    try:
        # Nobody listens at that base_url: what runs on the machine that tests is left alone.
        llm = Llm(base_url="http://127.0.0.1:1/v1", local_llm_start_timeout_s=60.0)
        yield ensure(llm, model=real_spec.model, prepare=lambda: real_spec, home=home, say=print, environ={})
    finally:
        down(home, say=print, drain_s=0, environ={})


def ask(endpoint: Endpoint, root: Path, text: str, *, tools: bool = False, **limits: Any) -> RunResult:
    async def body() -> RunResult:
        async with OpenAICompatibleChatClient(endpoint) as chat:
            task = Task(text, endpoint.model, limits=Limits(**limits), offer_tools=tools, temperature=0)
            return await run_task(chat, task, workspace_root=root, secrets=[endpoint.api_key or ""])

    return asyncio.run(asyncio.wait_for(body(), 60))


@pytest.mark.parametrize("tools", [False, True], ids=["no tools", "tools offered all the same"])
def test_the_smallest_model_answers_a_plain_question(endpoint: Endpoint, tmp_path: Path, tools: bool) -> None:
    result = ask(endpoint, tmp_path, QUESTION, tools=tools)
    assert (result.status, result.text, result.steps) == ("done", ANSWER, 1)
    assert result.usage["completion_tokens"] == 8
    assert not result.usage["estimated"]
    journal = read_run(tmp_path, result.id)
    assert [event.kind for event in journal.events] == ["run_started", "model_asked", "model_replied", "run_ended"]
    assert endpoint.api_key is not None
    assert endpoint.api_key not in (journal.summary.path / "events.jsonl").read_text()


def test_an_answer_that_the_budget_cuts_off_is_no_result(endpoint: Endpoint, tmp_path: Path) -> None:
    result = ask(endpoint, tmp_path, QUESTION, max_tokens=30)
    assert (result.status, result.reason) == ("stopped", "max_tokens")
    assert 0 < result.usage["completion_tokens"] < 8
    assert ANSWER.startswith(result.text)


def test_a_task_that_the_context_cannot_hold_is_an_error_and_not_an_answer(endpoint: Endpoint, tmp_path: Path) -> None:
    result = ask(endpoint, tmp_path, "word " * 9000)
    assert (result.status, result.reason) == ("failed", "StatusError")
    assert result.error is not None
    assert "context" in result.error["what"]


def busy(endpoint: Endpoint) -> bool:
    slots = near.ask(endpoint.root, "/slots")
    assert isinstance(slots, near.Answer)
    return any(slot["is_processing"] for slot in json.loads(slots.body))


def test_a_run_that_is_cancelled_frees_the_server_at_once(endpoint: Endpoint, tmp_path: Path) -> None:
    async def body() -> None:
        began = asyncio.Event()

        def heard(_: Delta) -> None:
            began.set()

        async with OpenAICompatibleChatClient(endpoint) as chat:
            task = Task("Count from one to ten thousand in words.", endpoint.model, offer_tools=False, temperature=0)
            running = asyncio.create_task(run_task(chat, task, workspace_root=tmp_path, on_delta=heard))
            await asyncio.wait_for(began.wait(), 60)
            assert busy(endpoint)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            until(lambda: not busy(endpoint))
            assert await chat.chat([{"role": "user", "content": QUESTION}], endpoint.model)

    asyncio.run(body())
    assert [run.result.status for run in list_runs(tmp_path)] == ["interrupted"]


def test_the_api_answers_through_the_real_model(endpoint: Endpoint, tmp_path: Path) -> None:
    river = FakeRiver(tmp_path, OpenAICompatibleChatClient(endpoint))
    river.find = lambda _: endpoint
    river.settings = {"offer_tools": False, "temperature": 0}
    app = create_app(river, token="a token")

    async def body() -> dict[str, Any]:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60)
        async with app.router.lifespan_context(app), client:
            headers = {"Authorization": "Bearer a token"}
            answer = await client.post("/runs?wait=true", json={"task": QUESTION}, headers=headers)
            return dict(answer.json())

    assert asyncio.run(body())["text"] == ANSWER
