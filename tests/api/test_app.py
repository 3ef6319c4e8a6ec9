from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concierge import __version__
from concierge.agent import runs
from concierge.agent.runs import list_runs
from concierge.agent.task import Limits
from concierge.chat.fake import FakeChat
from concierge.config.keys import Config, Run
from concierge.endpoint import Endpoint
from concierge.errors import ConfigError, StartError, TransportError

if TYPE_CHECKING:
    from tests.api.conftest import Api


async def settled(client: httpx.AsyncClient, location: str) -> dict[str, Any]:
    """Ask until the run has ended."""
    async with asyncio.timeout(5):
        while (answer := (await client.get(location)).json())["status"] == "running":
            pass
    return dict(answer)


def without_schema(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "schema"}


def test_health_needs_no_token(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.get("/health", headers={"Authorization": ""})
        assert (answer.status_code, answer.json()) == (200, {"schema": 1, "ok": True, "version": __version__})

    api.play(scenario)
    assert api.river.asked == []


def test_a_run_is_taken_and_can_be_asked_for_until_it_is_done(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        taken = await client.post("/runs", json={"task": "Capital of France?"})
        assert taken.status_code == 202
        begun = taken.json()
        assert begun == {"schema": 1, "id": begun["id"], "status": "running", "location": f"/runs/{begun['id']}"}
        assert taken.headers["Location"] == begun["location"]
        ended = await settled(client, begun["location"])
        assert (ended["id"], ended["status"], ended["text"], ended["steps"]) == (begun["id"], "done", "Paris.", 1)
        assert (ended["task"], ended["model"], ended["error"]) == ("Capital of France?", "tiny", None)

    api.play(scenario)
    assert api.river.asked == [None]


def test_waiting_returns_the_ended_run(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        ended = await client.post("/runs?wait=true", json={"task": "t", "model": "other"})
        assert (ended.status_code, ended.json()["status"], ended.json()["model"]) == (200, "done", "other")
        assert (await client.get(ended.json()["location"])).json() == ended.json()
        assert (await client.get("/runs")).json() == {"schema": 1, "runs": [without_schema(ended.json())]}

    api.play(scenario)
    assert api.river.asked == ["other"]


def test_a_run_that_failed_is_an_answer_and_not_an_error_of_the_api(api: Api) -> None:
    api.river.chat = FakeChat([TransportError("No answer.", where="there", hint="Start one.")])

    async def scenario(client: httpx.AsyncClient) -> None:
        ended = await client.post("/runs?wait=true", json={"task": "t"})
        assert (ended.status_code, ended.json()["status"], ended.json()["reason"]) == (200, "failed", "TransportError")
        assert ended.json()["error"]["hint"] == "Start one."

    api.play(scenario)


def test_an_llm_that_does_not_come_up_is_a_503_and_no_run(api: Api) -> None:
    died = StartError("It died.", where="the log", hint="Read it.")

    def find(model: str | None) -> Endpoint:
        raise died

    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post("/runs", json={"task": "t"})
        assert (answer.status_code, answer.json()) == (
            503,
            {"schema": 1, **StartError("It died.", where="the log", hint="Read it.").as_dict()},
        )

    api.river.find = find
    api.play(scenario)
    assert list_runs(api.root) == []


def test_other_requests_are_answered_while_the_llm_starts(api: Api) -> None:
    started = threading.Event()

    def find(model: str | None) -> Endpoint:
        assert started.wait(5)
        return Endpoint("http://127.0.0.1:1/v1", "tiny")

    async def scenario(client: httpx.AsyncClient) -> None:
        run = asyncio.create_task(client.post("/runs", json={"task": "t"}))
        assert (await client.get("/health")).status_code == 200
        started.set()
        assert (await run).status_code == 202

    api.river.find = find
    api.play(scenario)


@pytest.mark.promise("L27")
def test_a_client_may_tighten_the_limits_and_not_widen_them(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        asked = {"max_steps": 3, "max_tokens": 10**9}
        assert (await client.post("/runs?wait=true", json={"task": "t", "limits": asked})).status_code == 200

    configured = Run(max_steps=10, max_tokens=5000, max_seconds=60.0)
    api.river.config = Config(run=configured, workspace_root=api.root)
    api.play(scenario)
    assert [task.limits for task in api.river.ran] == [Limits(max_steps=3, max_tokens=5000, max_seconds=60.0)]


@pytest.mark.promise("L24")
def test_no_more_runs_than_allowed_go_on_at_once(api: Api) -> None:
    async def forever() -> str:
        await asyncio.Event().wait()
        return "never"

    api.river.chat = FakeChat([lambda _: forever()] * 2)

    async def scenario(client: httpx.AsyncClient) -> None:
        locations = [(await client.post("/runs", json={"task": "t"})).json()["location"] for _ in range(2)]
        busy = await client.post("/runs", json={"task": "t"})
        assert (busy.status_code, busy.headers["Retry-After"]) == (429, "5")
        assert {(await client.get(location)).json()["status"] for location in locations} == {"running"}

    api.play(scenario, most_running=2)
    assert [run.result.status for run in list_runs(api.root)] == ["interrupted", "interrupted"]


def test_the_applications_end_ends_its_runs_first(api: Api) -> None:
    async def forever() -> str:
        await asyncio.Event().wait()
        return "never"

    api.river.chat = FakeChat([lambda _: forever()])
    app = api.app()

    async def body() -> None:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        async with client:
            async with app.router.lifespan_context(app):
                headers = {"Authorization": f"Bearer {api.token}"}
                assert (await client.post("/runs", json={"task": "t"}, headers=headers)).status_code == 202
            assert [run.result.status for run in list_runs(api.root)] == ["interrupted"]

    asyncio.run(asyncio.wait_for(body(), 5))


@pytest.mark.parametrize(("limit", "status"), [("0", 422), ("1", 200), ("500", 200), ("501", 422), ("x", 422)])
def test_a_list_is_as_long_as_asked_for_within_bounds(api: Api, limit: str, status: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for _ in range(2):
            await client.post("/runs?wait=true", json={"task": "t"})
        answer = await client.get(f"/runs?limit={limit}")
        assert answer.status_code == status
        if status == 200:
            assert len(answer.json()["runs"]) == min(2, int(limit))

    api.play(scenario)


def test_a_list_holds_the_newest_fifty_when_nobody_says_how_many(api: Api) -> None:
    made = [runs.create(api.root).id for _ in range(51)]

    async def scenario(client: httpx.AsyncClient) -> None:
        listed = (await client.get("/runs")).json()["runs"]
        assert [run["id"] for run in listed] == made[:0:-1]

    api.play(scenario)


@pytest.mark.promise("L26")
@pytest.mark.parametrize(("length", "status"), [(200_000, 200), (200_001, 422)])
def test_a_task_may_be_as_long_as_allowed(api: Api, length: int, status: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post("/runs?wait=true", json={"task": "x" * length, "limits": {"max_tokens": 1}})
        assert answer.status_code == status

    api.play(scenario)


@pytest.mark.parametrize(("length", "status"), [(0, 422), (1, 200), (500, 200), (501, 422)])
def test_a_models_name_has_a_length(api: Api, length: int, status: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post("/runs?wait=true", json={"task": "t", "model": "m" * length})
        assert answer.status_code == status

    api.play(scenario)


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"max_steps": 1, "max_tokens": 1, "max_seconds": 0.001}, 200), ({"max_steps": 0}, 422),
        ({"max_tokens": 0}, 422), ({"max_seconds": 0}, 422), ({"max_seconds": "Infinity"}, 422), ({"steps": 1}, 422),
    ],
)  # fmt: skip
def test_a_limit_is_positive_and_has_a_known_name(api: Api, limits: dict[str, Any], status: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post("/runs?wait=true", json={"task": "t", "limits": limits})
        assert answer.status_code == status

    api.play(scenario)


def test_a_path_with_a_slash_too_many_is_another_path(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.get("/runs/")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 404

    api.play(scenario)


def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.delete("/health")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert answer.json()["hint"] == "docs/api.md lists every route."

    api.play(scenario)


def test_a_run_that_goes_on_when_the_application_ends_is_ended_with_it(api: Api) -> None:
    asked = asyncio.Event()

    async def forever() -> str:
        asked.set()
        await asyncio.Event().wait()
        return "never"

    api.river.chat = FakeChat([lambda _: forever()])

    async def body() -> None:
        app = api.app()
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {api.token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
            async with app.router.lifespan_context(app):
                await client.post("/runs", json={"task": "t"})
                await asked.wait()
            # Here the loop still runs: whatever has ended by now was ended by the application.
            assert [run.result.status for run in list_runs(api.root)] == ["interrupted"]

    asyncio.run(asyncio.wait_for(body(), 20))


def test_who_waits_when_the_server_stops_is_told_so(api: Api) -> None:
    asked = asyncio.Event()

    async def forever() -> str:
        asked.set()
        await asyncio.Event().wait()
        return "never"

    api.river.chat = FakeChat([lambda _: forever()])

    async def scenario(client: httpx.AsyncClient) -> None:
        waiting = asyncio.create_task(client.post("/runs?wait=true", json={"task": "t"}))
        await asked.wait()
        app: Any = client._transport
        await app.app.state.jobs.stop()
        answer = await waiting
        assert (answer.status_code, answer.json()["error"]) == (503, "InterruptedByUser")
        assert (await client.post("/runs", json={"task": "t"})).status_code == 503

    api.play(scenario)
    assert [run.result.status for run in list_runs(api.root)] == ["interrupted"]


@pytest.mark.parametrize("run_id", ["nothing", "..", "%2e%2e", "..%2f..", "20260101-000000-000000-000000"])
def test_an_unknown_run_is_a_404_with_a_reason(api: Api, run_id: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.get(f"http://127.0.0.1/runs/{run_id}")
        assert answer.status_code == 404
        assert answer.json()["exit_code"] == 1

    api.play(scenario)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{}", 422, "task"),
        (b'{"task": " "}', 422, "task"),
        (b'{"task": 5}', 422, "task"),
        (b'{"task": "t", "limits": {"max_steps": 0}}', 422, "limits.max_steps"),
        (b'{"task": "t", "limits": {"max_seconds": NaN}}', 422, "limits.max_seconds"),
        (b'{"task": "t", "colour": 1}', 422, "colour"),
        (b"[]", 422, "body"),
        (b"", 422, "body"),
        (b"{", 400, None),
    ],
)
def test_a_wrong_body_names_the_field(api: Api, body: bytes, status: int, field: str | None) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post("/runs", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"], answer.json()["where"]) == (status, "UsageError", field)

    api.play(scenario)
    assert api.river.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/x", 404), ("DELETE", "/runs", 405), ("GET", "/docs", 404)]
)
def test_an_unknown_route_is_the_same_kind_of_object(api: Api, method: str, path: str, status: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["error"]) == (status, "ApiError")

    api.play(scenario)


@pytest.mark.parametrize("wait", ["", "?wait=true"])
def test_a_fault_of_concierge_shows_nothing_of_its_insides(
    api: Api, wait: str, caplog: pytest.LogCaptureFixture
) -> None:
    def find(model: str | None) -> Endpoint:
        raise ZeroDivisionError("insides")

    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post(f"/runs{wait}", json={"task": "t"})
        assert (answer.status_code, answer.json()["error"]) == (500, "ApiError")
        assert "insides" not in answer.text

    api.river.find = find
    api.play(scenario)
    assert "insides" in caplog.text


def test_a_blank_token_is_refused(api: Api) -> None:
    with pytest.raises(ConfigError, match="blank"):
        api.app(token=" ")
