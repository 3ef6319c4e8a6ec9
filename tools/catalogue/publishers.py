"""What publishers say of their files today: sizes, hashes and newer versions. Only maintainers need this."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from concierge.lock.hub import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

GITHUB = re.compile(r"https://github\.com/(?P<repo>[^/]+/[^/]+)/releases/download/(?P<tag>[^/]+)/(?P<file>[^/]+)")
HUGGING_FACE = re.compile(r"https://huggingface\.co/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[0-9a-f]+)/(?P<file>.+)")


@dataclass(frozen=True, slots=True)
class Published:
    """A file as its publisher describes it; ``sha256`` is None where the publisher names no hash."""

    size: int
    sha256: str | None


class WheelIndex(Protocol):
    """The package index of the machine that verifies."""

    def published(self, package: str, version: str, wheel: str) -> Published | None:
        """Return the wheel as the index delivers it, or None when the index does not have it."""
        ...


class Publishers:
    """The publishers' own APIs, each asked at most once for the same list.

    Raises:
        httpx.HTTPError: A publisher could not be reached, or answered with a status that means nothing here.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._lists: dict[str, Any] = {}

    def release(self, repo: str, tag: str) -> Mapping[str, Published] | None:
        """Return the assets of a GitHub release, or None when there is no such release."""
        answer = self._get(f"https://api.github.com/repos/{repo}/releases/tags/{tag}")
        return None if answer is None else _assets(answer)

    def releases(self, repo: str) -> list[tuple[str, Mapping[str, Published]]]:
        """Return the newest releases with their assets, newest first."""
        answer = self._get(f"https://api.github.com/repos/{repo}/releases?per_page=50") or []
        return [(release["tag_name"], _assets(release)) for release in answer]

    def dates(self, repo: str) -> list[tuple[str, str]]:
        """Return the newest releases with the time at which each was published (ISO 8601, UTC), newest first."""
        answer = self._get(f"https://api.github.com/repos/{repo}/releases?per_page=50") or []
        return [(release["tag_name"], release["published_at"]) for release in answer]

    def date(self, repo: str, tag: str) -> str | None:
        """Return when a release was published, or None when there is no such release."""
        answer = self._get(f"https://api.github.com/repos/{repo}/releases/tags/{tag}")
        return None if answer is None else str(answer["published_at"])

    def commit(self, repo: str, tag: str) -> str | None:
        """Return the commit of a tag, or None when there is no such tag."""
        answer = self._get(f"https://api.github.com/repos/{repo}/commits/{tag}")
        return None if answer is None else str(answer["sha"])

    def model_file(self, repo: str, revision: str, file: str) -> Published | None:
        """Return a file of a Hugging Face repository at a revision, or None when it is not there."""
        answer = self._get(f"https://huggingface.co/api/models/{repo}/tree/{revision}?recursive=true")
        found = listed(answer, file)
        return None if found is None else Published(*found)

    def model_head(self, repo: str) -> str | None:
        """Return the newest commit of a Hugging Face repository."""
        answer = self._get(f"https://huggingface.co/api/models/{repo}")
        return None if answer is None else str(answer["sha"])

    def _get(self, url: str) -> Any:
        if url not in self._lists:
            answer = self._client.get(url, follow_redirects=True)
            if answer.status_code == 404:
                self._lists[url] = None
            else:
                answer.raise_for_status()
                self._lists[url] = answer.json()
        return self._lists[url]


def _assets(release: Any) -> dict[str, Published]:
    return {asset["name"]: Published(asset["size"], _sha256(asset.get("digest"))) for asset in release["assets"]}


def _sha256(digest: str | None) -> str | None:
    kind, _, value = (digest or "").partition(":")
    return value if kind == "sha256" else None
