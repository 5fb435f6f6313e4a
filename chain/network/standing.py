"""Home of what nodes have to answer for: points of blame that fade, and bans that end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

REMEMBERED_MAX: Final = 4096
FADE_POINTS_PER_SECOND: Final = 0.1


class Standing:
    """Points by node, and bans by node id or host. At most REMEMBERED_MAX of each, the oldest forgotten first.

    The clock gives seconds since 1970, as bans outlive the process.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._points: dict[bytes, tuple[float, float]] = {}  # points, and when they were so many
        self._bans: dict[bytes | str, tuple[float, str]] = {}

    def blame(self, node: bytes, points: float) -> float:
        """Add points; how many there are now."""
        now = self._clock()
        before, then = self._points.pop(node, (0.0, now))
        total = max(0.0, before - (now - then) * FADE_POINTS_PER_SECOND) + points
        self._points[node] = total, now
        _forget_oldest(self._points)
        return total

    def ban(self, who: bytes | str, seconds: float, reason: str) -> None:
        self._bans.pop(who, None)
        self._bans[who] = self._clock() + seconds, reason
        if isinstance(who, bytes):
            self._points.pop(who, None)
        _forget_oldest(self._bans)

    def banned(self, who: bytes | str) -> str | None:
        """Why it is banned; None if it is not."""
        if who not in self._bans:
            return None
        until, reason = self._bans[who]
        if until <= self._clock():
            del self._bans[who]
            return None
        return reason

    def bans(self) -> list[tuple[bytes | str, float, str]]:
        """(who, until when, why) of all that have not ended."""
        now = self._clock()
        return [(who, until, reason) for who, (until, reason) in self._bans.items() if until > now]

    def restore(self, who: bytes | str, until: float, reason: str) -> None:
        """A ban as `bans` told it."""
        self._bans[who] = until, reason
        _forget_oldest(self._bans)


def _forget_oldest(remembered: dict[bytes, tuple[float, float]] | dict[bytes | str, tuple[float, str]]) -> None:
    if len(remembered) > REMEMBERED_MAX:
        del remembered[next(iter(remembered))]  # type: ignore[arg-type]
