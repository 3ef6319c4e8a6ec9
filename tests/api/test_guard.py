from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.api.conftest import Api


@pytest.mark.parametrize("path", ["/runs", "/runs/x", "/nothing", "/health/", "//health"])
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic a-token-of-some-length", "a-token-of-some-length"]
)
def test_without_the_token_nothing_is_told(api: Api, path: str, given: str | None) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        del client.headers["Authorization"]
        headers = {} if given is None else {"Authorization": given}
        answer = await client.get(f"http://127.0.0.1{path}", headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.json()["error"] == "ApiError"

    api.play(scenario)


def test_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        given = client.headers["Authorization"].replace("Bearer", "bearer")
        assert (await client.get("/runs", headers={"Authorization": given})).status_code == 200

    api.play(scenario)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8787", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8787", 200), ("192.168.1.5", 200),
        ("box.local:8787", 200), ("evil.example", 403), ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403), ("", 403), ("[evil]", 403), ("evil@127.0.0.1", 403),
    ],
)  # fmt: skip
def test_only_addresses_and_allowed_names_are_answered(api: Api, host: str, status: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.get("/health", headers={"Host": host})).status_code == status
        assert (await client.get("/runs", headers={"Host": host})).status_code == status

    api.play(scenario, hosts=["Box.local"])


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_of_another_type_is_refused(api: Api, kind: str | None) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {} if kind is None else {"Content-Type": kind}
        assert (await client.post("/runs", content=b'{"task": "t"}', headers=headers)).status_code == 415

    api.play(scenario)
    assert api.river.ran == []


def test_a_body_must_have_a_length_and_a_small_one(api: Api) -> None:
    json = {"Content-Type": "application/json"}

    async def scenario(client: httpx.AsyncClient) -> None:
        async def chunks() -> object:
            yield b"{}"

        assert (await client.post("/runs", content=b" " * 2_000_000, headers=json)).status_code == 413
        assert (await client.post("/runs", content=chunks(), headers=json)).status_code == 411  # type: ignore[arg-type]

    api.play(scenario)


def test_a_foreign_page_gets_no_permission(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = await client.options("/runs", headers=asked)
        assert answer.status_code == 405
        answer = await client.get("/health", headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]

    api.play(scenario)
