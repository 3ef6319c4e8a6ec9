from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concierge.api.guard import BODY_BYTES

if TYPE_CHECKING:
    import httpx

    from tests.api.conftest import Api


@pytest.mark.promise("S21")
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


@pytest.mark.promise("S22")
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


@pytest.mark.promise("L25")
def test_a_body_must_have_a_length_and_a_small_one(api: Api) -> None:
    json = {"Content-Type": "application/json"}

    async def scenario(client: httpx.AsyncClient) -> None:
        async def chunks() -> object:
            yield b"{}"

        assert (await client.post("/runs", content=b" " * 2_000_000, headers=json)).status_code == 413
        assert (await client.post("/runs", content=chunks(), headers=json)).status_code == 411  # type: ignore[arg-type]

    api.play(scenario)


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ("2", 422),
        (str(BODY_BYTES), 422),
        (str(BODY_BYTES + 1), 413),
        ("-1", 411),
        ("+2", 411),
        ("", 411),
        ("2, 2", 411),
    ],
)
def test_a_length_counts_as_it_is_written(api: Api, length: str, status: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {"Content-Type": "application/json", "Content-Length": length}
        assert (await client.post("/runs", content=b"{}", headers=headers)).status_code == status

    api.play(scenario)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", " application/json ;x"])
def test_json_is_json_in_every_spelling(api: Api, kind: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {"Content-Type": kind}
        assert (await client.post("/runs?wait=true", content=b'{"task": "t"}', headers=headers)).status_code == 200

    api.play(scenario)


def test_two_headers_where_one_decides_are_none(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        token = client.headers.pop("Authorization")
        twice = [("Authorization", token), ("Authorization", token)]
        assert (await client.get("/runs", headers=twice)).status_code == 401
        hosts = [("Host", "localhost"), ("Host", "localhost"), ("Authorization", token)]
        assert (await client.get("/runs", headers=hosts)).status_code == 403
        assert (await client.get("/runs", headers=[("Authorization", token)])).status_code == 200

    api.play(scenario)


def test_the_token_may_stand_between_blanks_and_is_compared_whole(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for given, status in (
            (f"Bearer  {api.token} ", 200), (f"Bearer {api.token}x", 401), (f"Bearer {api.token[:-1]}", 401),
            (f"Basic {api.token}", 401), (f"Bearer {api.token.upper()}", 401),
        ):  # fmt: skip
            assert (await client.get("/runs", headers={"Authorization": given})).status_code == status

    api.play(scenario)


def test_the_host_is_looked_at_before_the_token(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.get("/runs", headers={"Host": "evil.example", "Authorization": ""})
        assert answer.status_code == 403
        assert "by address" in answer.json()["hint"]

    api.play(scenario)


def test_a_foreign_page_gets_no_permission(api: Api) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = await client.options("/runs", headers=asked)
        assert answer.status_code == 405
        answer = await client.get("/health", headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]

    api.play(scenario)
