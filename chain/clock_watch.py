"""Home of the warning to an operator whose machine's clock differs from the times of the blocks decided now."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from statistics import median_low
from typing import Final

from chain.node import Committed

log = logging.getLogger("lyceum.node")

DIFFERENCE_MS_MAX: Final = 5_000
WARNING_SECONDS: Final = 60.0  # from one warning to the next
BLOCKS: Final = 5  # the last ones, whose median counts: one proposer's clock may be wrong


class ClockWatch:
    """A follower of the node; only blocks decided live count."""

    def __init__(
        self,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now_ms, self._monotonic_s = now_ms, monotonic_s
        self._differences: deque[int] = deque(maxlen=BLOCKS)
        self._quiet_until = -float("inf")

    def committed(self, committed: Committed) -> None:
        """A block's time lies between its height's start and now, if the clocks agree."""
        if not committed.live:
            return
        now, time_ms = self._now_ms(), committed.header.time_ms
        self._differences.append(min(0, now - time_ms) + max(0, now - int(committed.finality_ms) - time_ms))
        difference, monotonic = median_low(self._differences), self._monotonic_s()
        if len(self._differences) == BLOCKS and abs(difference) > DIFFERENCE_MS_MAX and monotonic >= self._quiet_until:
            self._quiet_until = monotonic + WARNING_SECONDS
            way = "ahead of" if difference > 0 else "behind"
            log.warning(
                "this machine's clock is %.0f s %s the times of the network's blocks: set it right, as by NTP",
                abs(difference) / 1000,
                way,
            )
