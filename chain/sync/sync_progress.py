"""Home of how far a node has caught up with its peers, and how long that will take: for RPC, the log and a terminal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chain.node import Node
from rpc.backend import Syncing

log = logging.getLogger("lyceum.sync")

BEHIND_BLOCKS: Final = 2  # so many are on their way in a network in step
RATE_SECONDS: Final = 10.0  # of which the speed is the mean
LOOK_SECONDS: Final = 1.0
LOG_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Catching up at one moment."""

    starting: int  # the height at which it began
    current: int
    highest: int  # what peers have committed, as far as they have told
    blocks_per_second: float

    @property
    def part(self) -> float:
        """Which part of the way lies behind, 0 to 1."""
        return (self.current - self.starting) / max(1, self.highest - self.starting)

    @property
    def seconds_left(self) -> float | None:
        """None where nothing has moved lately."""
        return (self.highest - self.current) / self.blocks_per_second if self.blocks_per_second else None

    def text(self) -> str:
        """In words, for a person."""
        left = self.seconds_left
        return (
            f"block {self.current:,} of {self.highest:,} ({100 * self.part:.0f} %), "
            f"{self.blocks_per_second:,.1f} blocks/s, {'?' if left is None else in_time(left)} left"
        )


class SyncProgress:
    """Watches a node: `now` answers at any time, `run` writes a line to the log each few seconds while it is behind."""

    def __init__(
        self, height: Callable[[], int], highest: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`height` is the tip's; `highest` is what peers have committed, as far as they have told."""
        self._height, self._highest, self._clock = height, highest, clock
        self._starting: int | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def now(self) -> Progress | None:
        """None where the node is in step with its peers, as far as they have told."""
        height, highest, now = self._height(), self._highest(), self._clock()
        if highest - height <= BEHIND_BLOCKS:
            self._starting = None
            self._samples.clear()
            return None
        if self._starting is None:
            self._starting = height
        if not self._samples or self._samples[-1][0] < now:
            self._samples.append((now, height))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_SECONDS:
            self._samples.popleft()
        then, before = self._samples[0]
        rate = (height - before) / (now - then) if now > then else 0.0
        return Progress(starting=self._starting, current=height, highest=highest, blocks_per_second=rate)

    def syncing(self) -> Syncing | None:
        """For `eth_syncing` and `learn_status`."""
        progress = self.now()
        if progress is None:
            return None
        return Syncing(starting=progress.starting, current=progress.current, highest=progress.highest)

    async def run(self) -> None:
        """Until cancelled."""
        told = -LOG_SECONDS
        behind = False
        while True:
            progress = self.now()
            if progress is not None and self._clock() - told >= LOG_SECONDS:
                told = self._clock()
                log.info("catching up: %s", progress.text())
            elif progress is None and behind:
                log.info("in step with peers at block %d", self._height())
                told = -LOG_SECONDS
            behind = progress is not None
            await asyncio.sleep(LOOK_SECONDS)


def progress_of(node: Node) -> SyncProgress:
    """A node's progress."""

    def highest() -> int:
        replica = node.replica
        return node.chain.tip.height if replica.tip is None else replica.highest - 1

    return SyncProgress(lambda: node.chain.tip.height, highest)


def in_time(seconds: float) -> str:
    """A duration with its two greatest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
