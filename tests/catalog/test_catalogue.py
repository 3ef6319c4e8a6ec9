"""What must be true of every entry, whatever a maintainer adds."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from concierge.catalog import loader
from concierge.catalog.types import Artefact, Build, Evidence, Gguf, HttpsSource, Model, PypiSource

CATALOG = loader.load()
BUILD_ARTEFACTS = [(build, artefact) for build in CATALOG.builds for artefact in build.artefact]
MODEL_ARTEFACTS = [(model, artefact) for model in CATALOG.models for artefact in model.artefact]
ARTEFACTS: list[Artefact] = [artefact for _, artefact in (*BUILD_ARTEFACTS, *MODEL_ARTEFACTS)]

# SPDX identifiers in use; LicenseRef- is SPDX's own way to name a licence that is not on its list.
LICENCES = {"MIT", "Apache-2.0", "LicenseRef-LFM-Open-1.0", "LicenseRef-NVIDIA-Open-Model"}


def test_model_names_are_unique_and_models_stand_smallest_first() -> None:
    names = [model.name for model in CATALOG.models]
    assert len(set(names)) == len(names)
    sizes = [model.size for model in CATALOG.models]
    assert sizes == sorted(sizes)


def test_no_two_models_share_a_rank() -> None:
    ranks = [model.rank for model in CATALOG.models]
    assert len(set(ranks)) == len(ranks)


def test_no_two_builds_are_the_same_choice() -> None:
    choices = [(b.engine, b.version, b.accelerator, b.system, b.artefact[0].name) for b in CATALOG.builds]
    assert len(set(choices)) == len(choices)


@pytest.mark.parametrize("entry", [*CATALOG.builds, *CATALOG.models], ids=lambda entry: entry.artefact[0].name)
def test_every_licence_is_an_spdx_identifier(entry: Build | Model) -> None:
    assert entry.licence in LICENCES


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda artefact: artefact.name)
def test_every_https_source_is_pinned(artefact: Artefact) -> None:
    for source in artefact.sources:
        if not isinstance(source, HttpsSource):
            continue
        assert not re.search(r"/(main|master|latest|HEAD)(/|$)", source.url)
        assert re.search(r"/releases/download/[^/]*\d[^/]*/|/resolve/[0-9a-f]{40}/", source.url)
        assert source.url.rsplit("/", 1)[1] == artefact.name


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda artefact: artefact.name)
def test_a_member_of_a_wheel_names_the_wheel_with_size_and_hash(artefact: Artefact) -> None:
    for source in artefact.sources:
        if isinstance(source, PypiSource) and source.member is not None:
            assert source.wheel is not None
            assert source.wheel_size is not None
            assert source.wheel_sha256 is not None


def test_one_hash_means_one_name_and_one_size() -> None:
    seen: dict[str, tuple[str, int]] = {}
    for artefact in ARTEFACTS:
        assert seen.setdefault(artefact.sha256, (artefact.name, artefact.size)) == (artefact.name, artefact.size)


@pytest.mark.parametrize("build", CATALOG.builds, ids=lambda build: f"{build.artefact[0].name}:{build.accelerator}")
def test_a_build_is_one_archive_and_then_its_companions(build: Build) -> None:
    assert [artefact.role for artefact in build.artefact] == ["main", *["companion"] * (len(build.artefact) - 1)]
    assert build.artefact[0].archive is not None
    assert (build.executable is None) == (build.launcher == "xllamacpp")


@pytest.mark.parametrize("build", CATALOG.builds, ids=lambda build: f"{build.artefact[0].name}:{build.accelerator}")
def test_an_accelerated_build_says_what_it_needs(build: Build) -> None:
    if build.accelerator == "cuda":
        assert build.needs.driver is not None
        assert build.needs.compute
    if build.accelerator == "rocm":
        assert build.needs.gfx
    if build.accelerator == "vulkan":
        assert build.needs.vulkan is not None


def test_an_official_cuda_build_never_comes_without_its_runtime() -> None:
    cuda = [b for b in CATALOG.builds if b.engine == "llama-cpp" and b.accelerator == "cuda"]
    assert cuda
    assert all(any(a.name.startswith("cudart-") for a in b.artefact) for b in cuda)


@pytest.mark.parametrize("model", CATALOG.models, ids=lambda model: model.name)
def test_a_model_from_a_repository_is_pinned_to_the_commit_that_its_url_names(model: Model) -> None:
    for artefact in model.artefact:
        for source in artefact.sources:
            if isinstance(source, HttpsSource):
                assert model.revision is not None
                assert f"/{model.repo}/resolve/{model.revision}/" in source.url


@pytest.mark.parametrize("model", CATALOG.models, ids=lambda model: model.name)
def test_the_gguf_facts_of_a_model_agree_with_each_other(model: Model) -> None:
    facts = model.gguf
    assert facts is not None
    if isinstance(facts.kv_heads, tuple):
        assert len(facts.kv_heads) == facts.layers
    assert facts.layers % len(facts.pattern) == 0
    assert ("w" in facts.pattern) == (facts.window is not None)
    assert ("r" in facts.pattern) == (facts.recurrent is not None)
    assert facts.experts_used <= facts.experts
    assert (facts.active < 1) == (facts.experts > 0)


def test_the_ladder_reaches_from_135m_to_what_only_256_gb_hold() -> None:
    sizes = [model.size for model in CATALOG.models]
    assert min(sizes) < 10**8
    assert max(sizes) > 2 * 10**11


def _decides(one: Model, other: Model) -> tuple[Evidence, Evidence] | None:
    """Return the scores of two models on the first benchmark that both have."""
    scores = {evidence.bench: evidence for evidence in other.evidence}
    return next(((each, scores[each.bench]) for each in one.evidence if each.bench in scores), None)


def test_no_rank_contradicts_its_evidence() -> None:
    for one, other in itertools.permutations(CATALOG.models, 2):
        found = _decides(one, other)
        if found is not None and found[0].score > found[1].score:
            assert one.rank > other.rank, (one.name, other.name, found)


def test_a_model_without_evidence_stands_below_all_that_have_some() -> None:
    proven = [model.rank for model in CATALOG.models if model.evidence]
    assert all(model.rank < min(proven) for model in CATALOG.models if not model.evidence)


def test_of_the_same_weights_more_bits_rank_higher() -> None:
    for one, other in itertools.combinations(CATALOG.models, 2):
        if one.name == f"{other.name}-q8" or other.name == f"{one.name}-q8":
            more, less = sorted((one, other), key=lambda model: -model.size)
            assert more.rank > less.rank
            assert more.evidence == less.evidence


@pytest.mark.parametrize("model", CATALOG.models, ids=lambda model: model.name)
def test_what_is_called_estimated_is_a_fact_of_the_model(model: Model) -> None:
    assert model.gguf is not None
    assert set(model.gguf.estimated) <= set(Gguf.model_fields) - {"estimated"}


def test_every_system_has_a_build_that_needs_no_accelerator_but_its_own() -> None:
    plain = {build.system for build in CATALOG.builds if build.accelerator in ("cpu", "metal")}
    assert plain == {
        "x86_64-linux",
        "aarch64-linux",
        "aarch64-darwin",
        "x86_64-darwin",
        "x86_64-windows",
        "aarch64-windows",
    }


def test_the_files_say_their_schema_and_nothing_else_beside_the_entries() -> None:
    folder = Path(loader.__file__).parent
    for name, key in (("engines.toml", "build"), ("models.toml", "model")):
        document = tomllib.loads((folder / name).read_text(encoding="utf-8"))
        assert set(document) == {"schema", key}


def test_a_catalogue_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engines.toml").write_text("schema = 99\nbuild = []\n", encoding="utf-8")
    (tmp_path / "models.toml").write_text("schema = 99\nmodel = []\n", encoding="utf-8")
    with pytest.raises(ValueError, match="schema is not 1"):
        loader.load(tmp_path)
