"""When to ask again and after how long. Pure: the clock and the dice are passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# 501 and 505 say that asking again is pointless; everything else above 500 may pass.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504, 520, 522, 524, 529})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a client insists. Only requests whose answer has not begun are ever sent again.

    Attributes:
        attempts: Requests in all, the first one included.
        seconds: Time after the first request beyond which none is sent again.
        loading_seconds: The same, while a server says that it still loads its model; these do not count as attempts.
        first_pause_s: Pause before the second request; each later one is twice as long.
        longest_pause_s: The longest pause of our own choosing; a server's ``Retry-After`` may ask for more.
    """

    attempts: int = 4
    seconds: float = 60.0
    loading_seconds: float = 300.0
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0


NO_RETRY: Final = RetryPolicy(attempts=1, seconds=0.0, loading_seconds=0.0)


def may_pass(status: int) -> bool:
    """Tell whether a request that got this status may succeed later."""
    return status in _PASSING


class Backoff:
    """Counts one call's attempts and says how long to pause before the next, or that there is none."""

    def __init__(self, policy: RetryPolicy, *, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random
        self._began = clock()
        self._asked = 0

    def pause(self, *, retry_after: float | None = None, loading: bool = False) -> float | None:
        """Return the seconds to wait before asking again, or None when the budget is spent."""
        policy = self._policy
        if loading:
            pause, budget = self._jittered(policy.first_pause_s * 4), policy.loading_seconds
        else:
            self._asked += 1
            if self._asked >= policy.attempts:
                return None
            pause, budget = self._jittered(policy.first_pause_s * 2 ** (self._asked - 1)), policy.seconds
        pause = max(pause, retry_after or 0.0)
        return pause if self._clock() - self._began + pause <= budget else None

    def _jittered(self, pause: float) -> float:
        """Return between half and all of the pause: many clients must not come back in step."""
        return min(pause, self._policy.longest_pause_s) * (0.5 + 0.5 * self._random())
