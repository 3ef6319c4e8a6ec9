"""How fast a server of ours reads and writes: llama.cpp's own timings of one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from concierge.net import near

if TYPE_CHECKING:
    from concierge.endpoint import Endpoint

_WORDS = "river stone light cloud paper amber green seven field north "
"""Ten ordinary words, about ten tokens in every vocabulary."""


def rates(endpoint: Endpoint, *, read: int, write: int, timeout: float) -> tuple[float, float] | None:
    """Return the tokens a second that the server writes and reads, or None where it does not answer in time.

    Args:
        endpoint: A llama-server of ours.
        read: Tokens of the prompt, about.
        write: Tokens to write behind it.
        timeout: Seconds to wait.
    """
    question = {
        "prompt": _WORDS * max(read // 10, 1),
        "n_predict": write,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    answer = near.ask(endpoint.root, "/completion", question, timeout=timeout)
    if isinstance(answer, str) or answer.status != 200:
        return None
    return _of(answer.json().get("timings"))


def _of(timings: Any) -> tuple[float, float] | None:
    """Return the two rates of llama.cpp's ``timings`` object, in tokens a second."""
    if not isinstance(timings, dict):
        return None
    written, read = timings.get("predicted_per_second"), timings.get("prompt_per_second")
    if not isinstance(written, int | float) or not isinstance(read, int | float) or not (written > 0 and read > 0):
        return None
    return float(written), float(read)
