from __future__ import annotations

import pytest

from concierge.server.look import look, same_model
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
        ((200, b"<html>"), "unlisted"),
        ((204, {}), "unlisted"),
        ((404, {}), "unlisted"),
        ((500, {}), "unlisted"),
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
    with peer(lambda *_: models({"id": "other", "owned_by": "llamacpp"}, {"id": "m:latest", **entry})) as server:
        seen = look(server.endpoint("m", "key"))
    found = seen.endpoint
    assert (found.model, found.dialect, found.context, found.api_key) == ("m:latest", dialect, context, "key")
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
    ("one", "other", "same"),
    [
        ("m", "m", True),
        ("m", "m:latest", True),
        ("m:latest", "m", True),
        ("m", "m:7b", False),
        ("m", "m2", False),
        ("m", "M", False),
    ],
)
def test_a_name_without_a_tag_means_the_tag_latest(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same
