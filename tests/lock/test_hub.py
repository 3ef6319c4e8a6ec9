from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.catalog import loader
from concierge.catalog.reference import Hub, Local
from concierge.config.keys import Llm
from concierge.errors import ConciergeError, ConfigError, FetchError
from concierge.lock import file as lockfile
from concierge.lock import foreign, resolve
from concierge.lock import hub as hubs
from concierge.lock.hub import HttpHub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMIT = "23749fefcc72300e3a2ad315e1317431b06b590a"
SHA256 = "9465e63a22add5354d9bb4b99e90117043c7124007664907259bd16d043bb031"
WANTED = Hub("Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", COMMIT)
RESOLVE = f"/Qwen/Qwen3-0.6B-GGUF/resolve/{COMMIT}/Qwen3-0.6B-Q8_0.gguf"
API = f"/api/models/Qwen/Qwen3-0.6B-GGUF/revision/{COMMIT}"
TREE = f"/api/models/Qwen/Qwen3-0.6B-GGUF/tree/{COMMIT}"
LINKED = {
    "location": "https://cas-bridge.xethub.hf.co/xet-bridge-us/680",
    "x-repo-commit": COMMIT,
    "x-linked-size": "639446688",
    "x-linked-etag": f'"{SHA256}"',
    "etag": '"61c9f1"',
}
INFO = {"sha": COMMIT, "gated": False, "cardData": {"license": "apache-2.0"}, "tags": ["gguf"]}


def hub(answers: dict[str, httpx.Response]) -> HttpHub:
    def answer(request: httpx.Request) -> httpx.Response:
        return answers.get(request.url.path, httpx.Response(404))

    return HttpHub(httpx.Client(transport=httpx.MockTransport(answer)))


def test_size_and_hash_come_from_the_redirect_and_the_licence_from_the_card() -> None:
    found = hub({RESOLVE: httpx.Response(302, headers=LINKED), API: httpx.Response(200, json=INFO)}).look_up(
        WANTED, WANTED.file
    )
    assert (found.size, found.sha256) == (639_446_688, SHA256)
    assert (found.licence, found.gated) == ("apache-2.0", False)
    assert found.url == f"https://huggingface.co{RESOLVE}"


def test_a_mirror_without_those_headers_is_asked_for_the_file_list() -> None:
    entries = [
        {"type": "file", "path": "README.md", "oid": "1f", "size": 5},
        {
            "type": "file",
            "path": WANTED.file,
            "oid": "2e",
            "size": 639446688,
            "lfs": {"oid": SHA256, "size": 639446688, "pointerSize": 134},
        },
    ]
    answers = {
        RESOLVE: httpx.Response(200, headers={"x-repo-commit": COMMIT}),
        TREE: httpx.Response(200, json=entries),
        API: httpx.Response(200, json={**INFO, "gated": "manual"}),
    }
    found = hub(answers).look_up(WANTED, WANTED.file)
    assert (found.size, found.sha256, found.gated) == (639_446_688, SHA256, True)


def test_a_small_file_without_a_sha256_cannot_be_pinned() -> None:
    git = {**LINKED, "x-linked-etag": '"' + "a" * 40 + '"'}
    answers = {RESOLVE: httpx.Response(200, headers=git), TREE: httpx.Response(200, json=[])}
    with pytest.raises(ConfigError, match="does not state the sha256"):
        hub(answers).look_up(WANTED, WANTED.file)


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (404, ConfigError, "knows no such repository, commit or file"),
        (401, FetchError, "wants an account"),
        (403, FetchError, "wants an account"),
        (503, FetchError, "answered 503"),
    ],
)
def test_each_refusal_of_the_hub_has_its_sentence(status: int, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence) as caught:
        hub({RESOLVE: httpx.Response(status)}).look_up(WANTED, WANTED.file)
    assert isinstance(caught.value, ConciergeError)
    assert caught.value.where == f"https://huggingface.co{RESOLVE}"
    assert caught.value.hint


def test_a_commit_that_resolves_to_another_one_is_refused() -> None:
    headers = {**LINKED, "x-repo-commit": "0" * 40}
    with pytest.raises(ConfigError, match="to the commit 0000") as caught:
        hub({RESOLVE: httpx.Response(302, headers=headers)}).look_up(WANTED, WANTED.file)
    assert (caught.value.where, caught.value.hint) == ("llm.model", f"Write @{'0' * 40}.")


def test_a_weak_entity_tag_states_the_hash_as_well() -> None:
    weak = {**LINKED, "x-linked-etag": f'W/"{SHA256}"'}
    answers = {RESOLVE: httpx.Response(302, headers=weak), API: httpx.Response(200, json=INFO)}
    assert hub(answers).look_up(WANTED, WANTED.file).sha256 == SHA256


def test_nothing_is_asked_for_compressed_because_sizes_would_be_left_out() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        return httpx.Response(200, json=INFO) if request.url.path == API else httpx.Response(302, headers=LINKED)

    HttpHub(httpx.Client(transport=httpx.MockTransport(answer))).look_up(WANTED, WANTED.file)
    assert asked == ["identity", "identity"]


def test_a_file_list_that_is_no_list_pins_nothing() -> None:
    answers = {RESOLVE: httpx.Response(200), TREE: httpx.Response(200, json={"error": "later"})}
    with pytest.raises(ConfigError, match="does not state the sha256") as caught:
        hub(answers).look_up(WANTED, WANTED.file)
    assert caught.value.where == "llm.model"


def test_a_file_in_a_folder_is_looked_for_in_that_folders_list() -> None:
    wanted = Hub(WANTED.repo, f"q8/{WANTED.file}", COMMIT)
    other = {"path": "q8/other.gguf", "lfs": {"oid": "b" * 64, "size": 1}}
    entry = {"path": wanted.file, "lfs": {"oid": SHA256, "size": 7}}
    answers = {
        RESOLVE.replace(WANTED.file, wanted.file): httpx.Response(200),
        f"{TREE}/q8": httpx.Response(200, json=[other, entry]),
    }
    found = hub(answers).look_up(wanted, wanted.file)
    assert (found.size, found.sha256) == (7, SHA256)


@pytest.mark.parametrize("card", [[], {"cardData": "mit"}, {"cardData": {"license": ["mit"]}}], ids=repr)
def test_a_card_of_another_shape_leaves_the_licence_open(card: object) -> None:
    answers = {RESOLVE: httpx.Response(302, headers=LINKED), API: httpx.Response(200, json=card)}
    assert hub(answers).look_up(WANTED, WANTED.file).licence == ""


def test_an_answer_that_is_no_json_is_named_by_its_address() -> None:
    answers = {RESOLVE: httpx.Response(200), TREE: httpx.Response(200, text="<html>")}
    with pytest.raises(FetchError, match="did not answer with JSON") as caught:
        hub(answers).look_up(WANTED, WANTED.file)
    assert caught.value.where == f"https://huggingface.co{TREE}"


def test_a_repository_that_moves_for_ever_is_given_up() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(307, headers={"location": f"/again/{len(asked)}"})

    with pytest.raises(FetchError, match="did not answer with JSON"):
        HttpHub(httpx.Client(transport=httpx.MockTransport(answer))).look_up(WANTED, WANTED.file)
    assert asked[: hubs.HOPS] == [RESOLVE, "/again/1", "/again/2", "/again/3"]
    assert asked[hubs.HOPS] == TREE


def test_a_renamed_repository_is_followed_within_the_hub_only() -> None:
    moved = RESOLVE.replace("Qwen3-0.6B-GGUF", "Renamed-GGUF", 1)
    answers = {
        RESOLVE: httpx.Response(307, headers={"location": moved}),
        moved: httpx.Response(302, headers=LINKED),
        API: httpx.Response(200, json=INFO),
    }
    assert hub(answers).look_up(WANTED, WANTED.file).sha256 == SHA256


def test_a_mirror_without_a_model_card_leaves_the_licence_open() -> None:
    found = hub({RESOLVE: httpx.Response(302, headers=LINKED)}).look_up(WANTED, WANTED.file)
    assert (found.licence, found.gated) == ("", False)


def test_a_licence_of_its_own_has_its_own_name() -> None:
    info = {**INFO, "cardData": {"license": "other", "license_name": "qwen-research"}}
    answers = {RESOLVE: httpx.Response(302, headers=LINKED), API: httpx.Response(200, json=info)}
    assert hub(answers).look_up(WANTED, WANTED.file).licence == "qwen-research"


def test_a_hub_that_cannot_be_reached_says_what_to_do() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with pytest.raises(FetchError, match="did not answer: Connection refused") as caught:
        HttpHub(httpx.Client(transport=httpx.MockTransport(refuse))).look_up(WANTED, WANTED.file)
    assert "a file of this machine" in (caught.value.hint or "")
    assert caught.value.where == f"https://huggingface.co{RESOLVE}"


def served(content: bytes) -> Callable[[httpx.Request], httpx.Response]:
    """A hub whose one file has these bytes and answers range requests."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == API:
            return httpx.Response(200, json=INFO)
        if request.method == "HEAD":
            return httpx.Response(302, headers={**LINKED, "x-linked-size": str(len(content))})
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        return httpx.Response(206, content=content[first : last + 1])

    return answer


def test_a_model_of_the_hub_is_locked_from_its_header_alone(gguf_bytes: bytes) -> None:
    client = httpx.Client(transport=httpx.MockTransport(served(gguf_bytes)))
    llm = Llm(model=f"hf:{WANTED.repo}/{WANTED.file}@{COMMIT}")
    locked = resolve.resolve(llm, loader.load(), foreign.Describer(HttpHub(client)))
    (model,) = locked.model
    assert (model.name, model.quant, model.revision) == ("qwen3-0.6b-q8_0", "Q8_0", COMMIT)
    assert (model.licence, model.repo, model.artefact[0].trust) == ("apache-2.0", WANTED.repo, "publisher")
    assert model.artefact[0].sha256 == SHA256
    assert model.gguf is not None
    assert lockfile.parse(lockfile.dump(locked)) == locked


def test_a_local_file_is_hashed_and_locked_by_its_path(gguf_bytes: bytes, tmp_path: Path) -> None:
    (tmp_path / "My.Model-Q4_K_M.gguf").write_bytes(gguf_bytes)
    describe = foreign.Describer(hub({}))
    llm = Llm(model="./My.Model-Q4_K_M.gguf")
    locked = resolve.resolve(llm, loader.load(), describe, folder=tmp_path)
    (model,) = locked.model
    assert (model.name, model.quant, model.context_train) == ("my.model-q4_k_m", "Q4_K_M", 2048)
    assert model.chat.tools
    assert model.artefact[0].size == len(gguf_bytes)
    assert resolve.check(locked, llm, loader.load(), describe, folder=tmp_path) == []
    (tmp_path / "My.Model-Q4_K_M.gguf").write_bytes(gguf_bytes + b"more")
    assert [str(difference) for difference in resolve.check(locked, llm, loader.load(), describe, folder=tmp_path)] == [
        "model my.model-q4_k_m: differs in artefact"
    ]


def test_a_path_without_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model file at"):
        resolve.resolve(Llm(model="./no.gguf"), loader.load(), foreign.Describer(hub({})), folder=tmp_path)


def test_a_local_file_needs_no_hub(gguf_bytes: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf_bytes)
    assert foreign.describe(Local(tmp_path / "m.gguf"), {"HF_ENDPOINT": "http://no.invalid"}, print).name == "m"


def test_a_model_of_the_hub_needs_a_right_address_of_it() -> None:
    with pytest.raises(ConfigError) as caught:
        foreign.describe(WANTED, {"HF_ENDPOINT": "http://no.invalid"}, print)
    assert caught.value.where == "HF_ENDPOINT"
