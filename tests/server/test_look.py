from __future__ import annotations

import pytest

from concierge.server.look import look, refusal
from tests.server.peer import Said, peer

ENTRY = {"id": "m"}


def models(*entries: object) -> Said:
    return (200, {"data": list(entries)})


@pytest.mark.parametrize(
    ("said", "presence"),
    [
        (models(), "unlisted"),
        ((200, {"object": "list", "data": []}), "listed"),
        ((200, {"object": "list", "data": None}), "listed"),
        (models(ENTRY), "listed"),
        ((200, {"data": "m"}), "unlisted"),
        ((200, {}), "unlisted"),
        ((200, ["m"]), "unlisted"),
        ((200, b"<html>"), "page"),
        ((204, {}), "unlisted"),
        ((404, {}), "unlisted"),
        ((500, {}), "broken"),
        ((429, {}), "limited"),
        ((503, {}), "loading"),
        ((401, {}), "denied"),
        ((403, {}), "denied"),
        ((200, None), "silent"),
    ],
)
def test_an_answer_says_what_kind_of_server_is_there(said: Said, presence: str) -> None:
    with peer(lambda *_: said) as server:
        seen = look(server.endpoint())
    assert seen.presence == presence
    assert seen.serves is (said == models(ENTRY))
    assert server.asked == ["GET /v1/models"]


def test_nobody_there_is_refused_with_the_endpoint_as_it_was_named() -> None:
    with peer(lambda *_: models()) as server:
        pass
    seen = look(server.endpoint("m", "key"))
    assert (seen.presence, seen.endpoint, seen.models) == ("refused", server.endpoint("m", "key"), ())


def test_entries_that_are_none_are_passed_over() -> None:
    with peer(lambda *_: models("m", {}, {"id": 1}, {"id": "a"}, ENTRY)) as server:
        seen = look(server.endpoint("other"))
    assert seen.models == ("a", "m")
    assert not seen.serves
    assert seen.endpoint == server.endpoint("other")


@pytest.mark.parametrize(
    ("entry", "dialect", "context"),
    [
        ({}, "generic", None),
        ({"owned_by": "library"}, "ollama", None),
        ({"owned_by": "somebody"}, "generic", None),
        ({"owned_by": None, "max_model_len": 4096}, "generic", 4096),
        ({"max_model_len": "4096"}, "generic", None),
    ],
)
def test_the_entry_of_the_model_says_whose_server_it_is(entry: object, dialect: str, context: int | None) -> None:
    assert isinstance(entry, dict)
    with peer(lambda *_: models({"id": "other", "owned_by": "llamacpp"}, {"id": "m", **entry})) as server:
        seen = look(server.endpoint("m", "key"))
    found = seen.endpoint
    assert (found.model, found.dialect, found.context, found.api_key) == ("m", dialect, context, "key")
    assert server.asked == ["GET /v1/models"]


@pytest.mark.parametrize(
    ("props", "context"),
    [
        ((200, {"default_generation_settings": {"n_ctx": 2048}}), 2048),
        ((200, {"default_generation_settings": {"n_ctx": "2048"}}), None),
        ((200, {"default_generation_settings": None}), None),
        ((200, {}), None),
        ((500, {"default_generation_settings": {"n_ctx": 2048}}), None),
        ((200, None), None),
    ],
)
def test_a_llama_server_is_asked_at_its_root_for_its_context(props: Said, context: int | None) -> None:
    entry = {"id": "m", "owned_by": "llamacpp", "max_model_len": 9}
    with peer(lambda line, _: props if line == "GET /props" else models(entry)) as server:
        seen = look(server.endpoint("m", "key"))
    assert (seen.endpoint.dialect, seen.endpoint.context) == ("llama-server", context)
    assert server.seen == [("GET /v1/models", "Bearer key"), ("GET /props", "Bearer key")]


@pytest.mark.parametrize(
    ("asked", "entry", "serves"),
    [
        ("m", {"id": "m"}, True),
        ("m:latest", {"id": "m"}, False),
        ("m", {"id": "m:latest"}, False),
        ("m", {"id": "m:latest", "owned_by": "library"}, True),
        ("m:latest", {"id": "m", "owned_by": "library"}, True),
        ("m", {"id": "m:7b", "owned_by": "library"}, False),
        ("m", {"id": "M", "owned_by": "library"}, False),
        ("ai/m", {"id": "docker.io/ai/m:latest", "owned_by": "docker"}, True),
        ("ai/m:latest", {"id": "docker.io/ai/m:latest", "owned_by": "docker"}, True),
        ("m", {"id": "docker.io/ai/m:latest", "owned_by": "docker"}, False),
        ("ai/m", {"id": "docker.io/ai/m:8B", "owned_by": "docker"}, False),
        ("/models/x.gguf", {"id": "/models/x.gguf", "owned_by": "llamacpp"}, True),
        ("hf:o/r/x.gguf", {"id": "hf:o/r/x.gguf"}, True),
    ],
)
def test_a_model_is_known_by_its_exact_name_and_as_its_own_servers_tools_write_it(
    asked: str, entry: dict[str, str], serves: bool
) -> None:
    with peer(lambda *_: models({"id": "other"}, entry)) as server:
        seen = look(server.endpoint(asked))
    assert seen.serves is serves
    assert not serves or seen.endpoint.model == entry["id"]


def test_an_exact_name_wins_over_a_shortened_one() -> None:
    latest, exact = {"id": "m:latest", "owned_by": "library"}, {"id": "m"}
    with peer(lambda *_: models(latest, exact)) as server:
        assert look(server.endpoint("m")).endpoint.model == "m"


def test_what_the_catalogue_says_others_call_it_is_known_too() -> None:
    with peer(lambda *_: models({"id": "qwen3:8b"})) as server:
        assert look(server.endpoint("qwen3-8b"), also=["qwen3:8b"]).endpoint.model == "qwen3:8b"
        assert not look(server.endpoint("qwen3-8b")).serves


def test_the_api_below_an_address_without_v1_is_found() -> None:
    with peer(lambda line, _: models(ENTRY) if line == "GET /v1/models" else (404, b"<html>no</html>")) as server:
        seen = look(server.endpoint().root)
    assert (seen.serves, seen.endpoint.base_url) == (True, server.base_url)


def test_a_gentle_look_never_asks_for_models_where_that_would_cut_an_answer() -> None:
    title = {"info": {"title": "🦙 llama.cpp Python API"}}
    with peer(lambda line, _: (200, title) if "openapi" in line else models(ENTRY)) as server:
        assert look(server.endpoint(), gentle=True).presence == "unasked"
        assert server.asked == ["GET /openapi.json"]
    with peer(lambda line, _: (404, {}) if "openapi" in line else models(ENTRY)) as server:
        assert look(server.endpoint(), gentle=True).serves


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ((500, {"error": {"message": "out of memory"}}), "answers 500: out of memory"),
        ((500, {"detail": "boom."}), "answers 500: boom"),
        ((502, b"<html><title>502 Bad Gateway</title></html>"), "answers 502: 502 Bad Gateway"),
        ((429, {"error": "slow down"}), "answers 429: slow down"),
        ((503, {"error": {"message": "Loading model"}}), "answers 503: Loading model"),
        ((404, {}), "answers 404"),
    ],
)
def test_a_refusal_repeats_the_servers_own_words(said: Said, words: str) -> None:
    with peer(lambda *_: said) as server:
        assert words in refusal(look(server.endpoint())).what


@pytest.mark.parametrize(
    "said",
    [
        (401, {"error": {"message": "Invalid API key"}}),
        (403, {}),
        (500, {"error": {"message": "Authentication Error, No api key passed in."}}),
        (400, {"error": {"message": "No connected db.", "type": "no_db_connection"}}),
    ],
)
def test_every_way_to_refuse_a_key_is_one(said: Said) -> None:
    with peer(lambda *_: said) as server:
        without, wrong = look(server.endpoint()), look(server.endpoint(key="wrong"))
    assert (without.presence, wrong.presence) == ("denied", "denied")
    assert "wants a key, and none is set" in refusal(without).what
    assert "refuses the key" in refusal(wrong).what
