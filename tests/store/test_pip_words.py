"""What real pips printed when something failed (``pip/CASE-VERSION.txt``), and the cause that a person is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from concierge.errors import ArtefactError, FetchError, StoreError, VerifyError
from concierge.store.sources.pip_words import failure

RECORDED = Path(__file__).parent / "pip"
PROXY = {"PIP_PROXY": "http://127.0.0.1:9"}

CAUSES = {
    "dns": "the name of the package index is not known here",
    "refused": "nobody listens at the package index",
    "silent": "does not answer in time",
    "503": "out of order: it answers 503",
    "401": "wants an account: it answers 401",
    "403": "wants an account: it answers 403",
    "404": "the package index does not have it",
    "version": "other versions of it only (9.9)",
    "hash": "other bytes than the ones pinned",
    "tls": "certificate of the package index is not trusted",
    "cert": "certificate of the package index is not trusted",
    "proxy-dead": "the proxy does not answer",
    "proxy-refuses": "the proxy refuses: 407",
    "socks": "a SOCKS proxy, which pip does not speak",
    "no-index": "may ask no package index (PIP_NO_INDEX",
    "config": "pip's settings cannot be read",
    "option": "pip's settings are wrong: option default-timeout",
    "http": "nothing from an index over plain http",
    "garbage": "nonsense is no address of an index",
}


@pytest.mark.parametrize("file", sorted(RECORDED.iterdir()), ids=lambda file: file.stem)
def test_each_recorded_failure_is_told_by_its_cause(file: Path) -> None:
    case = file.stem.rpartition("-")[0]
    error = told(file.read_text().splitlines(), PROXY if case == "proxy-dead" else {})
    assert CAUSES[case] in error.what
    assert error.hint
    assert "No matching distribution" not in error.what


def test_every_cause_was_provoked_from_an_old_and_a_new_pip() -> None:
    assert {file.stem for file in RECORDED.iterdir()} == {f"{case}-{pip}" for case in CAUSES for pip in ("22.3", "26")}


def test_causes_are_told_apart() -> None:
    same = {"tls", "cert", "401", "403"}
    assert len({cause for case, cause in CAUSES.items() if case not in same}) == len(CAUSES) - len(same)


@pytest.mark.parametrize(
    ("line", "kind", "cause"),
    [
        ("OSError: [Errno 28] No space left on device", StoreError, "the disk is full"),
        ("OSError: [Errno 30] Read-only file system: '/x'", StoreError, "read-only"),
        ("PermissionError: [Errno 13] Permission denied: '/x/y'", StoreError, "/x/y may not be written"),
        ("/usr/bin/python3: No module named pip", FetchError, "pip is not installed"),
        ("pip: error: no such option: --progress-bar", FetchError, "too old, it does not know --progress-bar"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", VerifyError, "other bytes"),
        ("Caused by NewConnectionError: [Errno 101] Network is unreachable", FetchError, "no way to the package index"),
        ("urllib3.exceptions.ProtocolError: ('Connection aborted.')", FetchError, "the connection broke"),
        ("something that no release said so far", FetchError, "something that no release said so far"),
    ],
)
def test_what_no_local_server_can_provoke_is_told_too(line: str, kind: type[ArtefactError], cause: str) -> None:
    error = told([line], {})
    assert type(error) is kind
    assert cause in error.what
    assert error.exit_code == 4


def test_a_pip_without_a_word_is_an_error_all_the_same() -> None:
    assert "without a word" in told([], {}).what


def test_a_refused_index_is_no_dead_proxy() -> None:
    words = (RECORDED / "refused-26.txt").read_text().splitlines()
    assert "nobody listens" in told(words, {"PIP_PROXY": "http://127.0.0.1:3128"}).what


def told(words: list[str], environ: dict[str, str]) -> ArtefactError:
    return failure("some-wheel 1.0", words, environ, where="some-wheel")
