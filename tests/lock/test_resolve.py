from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concierge.catalog import loader
from concierge.catalog.types import (
    Artefact,
    Build,
    Catalog,
    Chat,
    Gguf,
    HttpsSource,
    Model,
    Needs,
    NixSource,
    PathSource,
    PypiSource,
    Recurrent,
)
from concierge.config.keys import Llm
from concierge.errors import ConfigError
from concierge.lock import file as lockfile
from concierge.lock import resolve
from concierge.lock.file import Asked, build_key, seal

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.reference import Hub, Local

COMMIT = "23749fefcc72300e3a2ad315e1317431b06b590a"
CATALOG = loader.load()

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sha256 = st.text("0123456789abcdef", min_size=64, max_size=64)
commit = st.text("0123456789abcdef", min_size=40, max_size=40)
positive = st.integers(1, 10**12)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2})?", fullmatch=True)
sources = st.one_of(
    st.builds(
        PypiSource,
        package=words,
        version=words,
        member=st.none() | words,
        wheel=st.none() | words,
        wheel_size=st.none() | positive,
        wheel_sha256=st.none() | sha256,
    ),
    st.builds(HttpsSource, url=words.map(lambda word: f"https://{word}")),
    st.builds(PathSource, path=words),
    st.builds(NixSource, attribute=words),
)
artefacts = st.builds(
    Artefact,
    name=st.text(st.characters(exclude_characters="/\\", exclude_categories=("Cc", "Cs")), min_size=1, max_size=8),
    size=positive,
    sha256=sha256,
    trust=st.sampled_from(["publisher", "manifests", "manifest", "seen"]),
    role=st.sampled_from(["main", "companion"]),
    archive=st.sampled_from([None, "zip", "tar.gz", "tar.zst"]),
    strip=st.integers(0, 3),
    sources=st.lists(sources, min_size=1, max_size=2).map(tuple),
)
several = st.lists(artefacts, min_size=1, max_size=2).map(tuple)
lists = st.none() | st.lists(versions, max_size=3).map(tuple)
builds = st.builds(
    Build,
    engine=st.sampled_from(["llama-cpp", "ollama"]),
    version=words,
    accelerator=st.sampled_from(["cuda", "rocm", "vulkan", "metal", "cpu"]),
    system=st.sampled_from(["x86_64-linux", "aarch64-darwin", "x86_64-windows"]),
    launcher=st.sampled_from(["xllamacpp", "llama-server", "ollama"]),
    licence=words,
    executable=st.none() | words,
    commit=st.none() | commit,
    llama_cpp=st.none() | positive,
    proven=st.booleans(),
    needs=st.builds(Needs, glibc=st.none() | versions, driver=st.none() | versions, compute=lists, gfx=lists),
    artefact=several,
)
ggufs = st.builds(
    Gguf,
    architecture=words,
    layers=positive,
    embedding=positive,
    vocab=positive,
    heads=positive,
    kv_heads=st.integers(0, 64) | st.lists(st.integers(0, 64), min_size=1, max_size=4).map(tuple),
    key_length=positive,
    value_length=positive,
    recurrent=st.none()
    | st.builds(Recurrent, conv_kernel=positive, inner_size=positive, state_size=positive, group_count=positive),
    active=st.floats(0.001, 1),
)
models = st.builds(
    Model,
    name=names,
    title=words,
    family=words,
    params=positive,
    params_active=st.none() | positive,
    quant=words,
    rank=positive,
    licence=words,
    gated=st.booleans(),
    repo=words,
    revision=st.none() | commit,
    context_train=positive,
    minimum_build=st.none() | positive,
    chat=st.builds(Chat, template=words, tools=st.booleans()),
    gguf=st.none() | ggufs,
    artefact=several,
)
locks = st.builds(
    seal,
    words,
    st.builds(Asked, engine=words, model=words, context=positive, accelerator=words),
    st.builds(Catalog, builds=st.lists(builds, max_size=3).map(tuple), models=st.lists(models, max_size=3).map(tuple)),
    st.dictionaries(words, words, max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(locks)
def test_what_is_dumped_reads_back_as_the_same_lock(written: lockfile.Lock) -> None:
    assert lockfile.parse(lockfile.dump(written)) == written


@settings(max_examples=30, deadline=None)
@given(st.permutations(CATALOG.builds), st.permutations(CATALOG.models))
def test_the_bytes_do_not_depend_on_the_order_of_the_catalogue(b: list[Build], m: list[Model]) -> None:
    shuffled = Catalog(builds=tuple(b), models=tuple(m))
    assert lockfile.dump(resolve.resolve(Llm(), shuffled)) == lockfile.dump(resolve.resolve(Llm(), CATALOG))


def test_the_default_configuration_locks_every_build_and_the_whole_ladder() -> None:
    locked = resolve.resolve(Llm(), CATALOG)
    assert set(locked.build) == set(CATALOG.builds)
    assert {model.name for model in locked.model} == {model.name for model in CATALOG.models if model.gguf}
    assert locked.catalog.model("smollm2-135m") == CATALOG.model("smollm2-135m")


def test_a_named_model_is_locked_alone_and_an_accelerator_keeps_only_its_builds() -> None:
    locked = resolve.resolve(Llm(model="smollm2-135m", accelerator="cpu"), CATALOG)
    assert [model.name for model in locked.model] == ["smollm2-135m"]
    assert {build.accelerator for build in locked.build} == {"cpu"}


@pytest.mark.parametrize("llm", [Llm(model="gpt-4o"), Llm(engine="remote"), Llm(engine="vllm", model="org/model")])
def test_what_only_a_server_knows_pins_nothing(llm: Llm) -> None:
    locked = resolve.resolve(llm, CATALOG)
    assert (locked.build, locked.model) == ((), ())


def test_the_text_has_one_field_a_line_and_no_time() -> None:
    text = lockfile.dump(resolve.resolve(Llm(model="smollm2-135m"), CATALOG))
    assert text.startswith("# Written by `concierge lock`.")
    assert 'sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"\n' in text
    assert 'context = "auto"\n' in text
    assert "{" not in text
    assert "2026-11" not in text


def test_a_change_of_any_line_is_noticed() -> None:
    lines = lockfile.dump(resolve.resolve(Llm(), CATALOG)).splitlines(keepends=True)
    fields = [n for n, line in enumerate(lines) if " = " in line and not line.endswith("[\n")]
    for number in fields[2::23]:
        line = lines[number]
        changed = "".join([*lines[:number], _altered(line), *lines[number + 1 :]])
        with pytest.raises(ConfigError, match="was changed after it was written"):
            lockfile.parse(changed)


def _altered(line: str) -> str:
    key, _, value = line.partition(" = ")
    return f'{key} = "other"\n' if value != '"other"\n' else f"{key} = 1\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("schema = [", "not valid TOML"),
        ("", "schema None"),
        ("schema = 2\n", "schema 2"),
        ("schema = 1\n", "was changed after"),
    ],
)
def test_what_is_no_lock_of_ours_gives_a_sentence_and_a_next_step(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        lockfile.parse(text)
    assert caught.value.hint


def test_a_lock_with_an_unknown_key_is_refused_even_when_its_digest_is_right() -> None:
    from concierge.lock.file import _hash
    from concierge.lock.tomltext import dumps

    document: dict[str, Any] = {"schema": 1, "generator": "1", "surprise": True}
    with pytest.raises(ConfigError, match=r"concierge\.lock: `"):
        lockfile.parse(dumps({"digest": _hash(document), **document}))


def test_a_missing_or_unreadable_lock_says_which_command_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No lock at") as caught:
        lockfile.load(tmp_path / "concierge.lock")
    assert caught.value.hint == "Run `concierge lock` to write it."
    (tmp_path / "concierge.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        lockfile.load(tmp_path / "concierge.lock")
    assert caught.value.where == str(tmp_path / "concierge.lock")


@pytest.mark.skipif(sys.platform == "win32", reason="a folder is a file without permission there")
def test_a_lock_that_is_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory") as caught:
        lockfile.load(tmp_path)
    assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize("text", ["schema = [", "", "schema = 1\n", "schema = 1\nwhen = 2026-01-01\n"])
def test_a_lock_that_cannot_be_used_is_named_by_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "concierge.lock"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        lockfile.load(path)
    assert caught.value.where == str(path)


def test_the_source_tells_locks_of_different_questions_apart_and_not_releases() -> None:
    asked = Asked(engine="auto", model="auto", context=8192, accelerator="auto")
    one, same = (seal(release, asked, CATALOG, {}) for release in ("1.0", "2.0"))
    others = [
        seal("1.0", asked.model_copy(update={"context": 4096}), CATALOG, {}),
        seal("1.0", asked, Catalog(builds=CATALOG.builds[1:], models=CATALOG.models), {}),
        seal("1.0", asked, CATALOG, {"ubatch": "512"}),
    ]
    assert one.source == same.source
    assert len({one.source, *(lock.source for lock in others)}) == 4


def test_a_lock_that_was_just_written_is_current(tmp_path: Path) -> None:
    (tmp_path / "concierge.lock").write_text(lockfile.dump(resolve.resolve(Llm(), CATALOG)), encoding="utf-8")
    assert resolve.check(lockfile.load(tmp_path / "concierge.lock"), Llm(), CATALOG) == []


def test_a_changed_configuration_is_named_with_both_values_and_refused_when_locked() -> None:
    locked = resolve.resolve(Llm(context=4096), CATALOG)
    assert resolve.check(locked, Llm(), CATALOG) == [
        resolve.Difference("llm.context", "4096", "auto", "locked for 4096, configured auto", "config")
    ]
    with pytest.raises(ConfigError, match="locked for 4096, configured auto"):
        resolve.confine(locked, Llm())
    assert resolve.confine(locked, Llm(context=4096)) == locked.catalog


def test_a_changed_catalogue_is_named_by_entry_and_field_and_does_not_spoil_the_lock() -> None:
    locked = resolve.resolve(Llm(), CATALOG)
    first, gone, *others = CATALOG.builds
    newer = first.model_copy(update={"licence": "other"})
    added = CATALOG.models[0].model_copy(update={"name": "added"})
    differences = resolve.check(locked, Llm(), Catalog(builds=(newer, *others), models=(*CATALOG.models, added)))
    assert {difference.kind for difference in differences} == {"catalogue"}
    assert {difference.what: difference.reason for difference in differences} == {
        f"build {' '.join(build_key(first))}": "differs in licence",
        f"build {' '.join(build_key(gone))}": "locked, and this release no longer offers it",
        "model added": "this release knows it and the lock does not",
    }
    assert resolve.confine(locked, Llm()) == locked.catalog


def test_a_changed_serving_parameter_is_named_with_both_values() -> None:
    locked = resolve.resolve(Llm(), CATALOG)
    (name, now), *_ = locked.serving.items()
    older = locked.model_copy(update={"serving": {**locked.serving, name: "other", "gone": "1"}})
    assert resolve.check(older, Llm(), CATALOG) == [
        resolve.Difference(f"serving.{key}", old, new, f"locked as {old}, would now be {new}", "catalogue")
        for key, old, new in sorted([("gone", "1", None), (name, "other", now)])
    ]


def test_a_difference_shows_the_first_of_each_hash_or_the_fields_that_changed() -> None:
    locked = resolve.resolve(Llm(model="smollm2-135m"), CATALOG)
    (model,) = locked.model
    file = model.artefact[0]
    fields = model.model_copy(update={"rank": 77, "licence": "mit"})
    content = model.model_copy(update={"artefact": (file.model_copy(update={"sha256": "f" * 64}),)})
    for other, old, new in (
        (fields, f"rank={model.rank}, licence={model.licence}", "rank=77, licence=mit"),
        (content, f"{file.name} {file.sha256[:12]}", f"{file.name} {'f' * 12}"),
    ):
        catalog = Catalog(builds=CATALOG.builds, models=(other,))
        (difference,) = resolve.check(locked, Llm(model="smollm2-135m"), catalog)
        assert (difference.what, difference.locked, difference.wanted) == ("model smollm2-135m", old, new)


def described(wanted: Hub | Local) -> Model:
    return CATALOG.models[0].model_copy(update={"name": wanted.name})


def test_a_model_of_a_commit_is_described_once_and_then_taken_as_locked() -> None:
    llm = Llm(model=f"hf:a/b/My.gguf@{COMMIT}")
    locked = resolve.resolve(llm, CATALOG, described)
    assert [model.name for model in locked.model] == ["my"]
    assert resolve.check(locked, llm, CATALOG) == []


def test_a_local_file_that_changed_makes_the_lock_stale(tmp_path: Path) -> None:
    llm = Llm(model="./my.gguf")
    locked = resolve.resolve(llm, CATALOG, described, folder=tmp_path)

    def other(wanted: Hub | Local) -> Model:
        return described(wanted).model_copy(update={"context_train": 1})

    assert resolve.check(locked, llm, CATALOG, described, folder=tmp_path) == []
    differences = resolve.check(locked, llm, CATALOG, other, folder=tmp_path)
    assert [d.reason for d in differences] == ["differs in context_train"]


def test_a_foreign_model_without_a_way_to_describe_it_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="cannot be looked up here"):
        resolve.resolve(Llm(model=f"hf:a/b/c.gguf@{COMMIT}"), CATALOG)


def test_no_two_builds_of_the_catalogue_share_a_key() -> None:
    assert len({build_key(build) for build in CATALOG.builds}) == len(CATALOG.builds)


def older() -> tuple[lockfile.Lock, lockfile.Lock]:
    """A lock of an older release, and what this one would write."""
    wanted = resolve.resolve(Llm(), CATALOG)
    first = wanted.model[0].artefact[0].model_copy(update={"sha256": "0" * 64})
    model = wanted.model[0].model_copy(update={"artefact": (first, *wanted.model[0].artefact[1:])})
    builds = tuple(build.model_copy(update={"licence": "Other"}) for build in wanted.build)
    chosen = Catalog(builds=builds, models=(model, *wanted.model[2:]))
    return seal("0", wanted.llm, chosen, dict(wanted.serving)), wanted


def test_one_model_moves_alone() -> None:
    lock, wanted = older()
    moved = resolve.upgraded(lock, wanted, [wanted.model[0].name])
    assert [model.name for model in moved.model] == [model.name for model in lock.model]
    assert moved.model[0] == wanted.model[0]
    assert moved.build == lock.build
    assert len(resolve.compare(lock, moved)) == 1


def test_one_engine_moves_with_all_its_builds_and_new_models_come_by_name() -> None:
    lock, wanted = older()
    moved = resolve.upgraded(lock, wanted, ["llama-cpp", wanted.model[1].name])
    assert {build for build in moved.build if build.engine == "llama-cpp"} == {
        build for build in wanted.build if build.engine == "llama-cpp"
    }
    assert {build for build in moved.build if build.engine != "llama-cpp"} == {
        build for build in lock.build if build.engine != "llama-cpp"
    }
    assert wanted.model[1] in moved.model
    assert moved.model[0] == lock.model[0]


def test_everything_that_moves_by_name_is_the_lock_that_would_be_written() -> None:
    lock, wanted = older()
    names = {*(build.engine for build in wanted.build), *(model.name for model in wanted.model)}
    assert resolve.upgraded(lock, wanted, names).source == wanted.source


def test_a_name_that_nothing_has_and_a_lock_of_another_question_are_refused() -> None:
    lock, wanted = older()
    with pytest.raises(ConfigError, match="has a model or an engine `llama3`"):
        resolve.upgraded(lock, wanted, ["llama3"])
    with pytest.raises(ConfigError, match="is not for this configuration"):
        resolve.upgraded(lock, resolve.resolve(Llm(context=512), CATALOG), ["llama-cpp"])


def test_what_moves_is_told_with_both_hashes_and_sizes() -> None:
    lock, wanted = older()
    lines = [difference.moved for difference in resolve.compare(lock, wanted)]
    (model,) = (line for line in lines if line.startswith(f"model {wanted.model[0].name}:"))
    assert " 000000000000" in model
    assert f"{wanted.model[0].artefact[0].sha256[:12]}" in model
    assert model.count("GB)") + model.count("MB)") == 2
    (new,) = (line for line in lines if line.startswith(f"model {wanted.model[1].name}:"))
    assert ": nothing → " in new
