"""Home of a task's clock: which cycle and phase a height lies in, and what is accepted then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Phase(IntEnum):
    """Where a task's cycle stands at a height."""

    PENDING = 0  # before the task's first cycle
    REVEAL = 1
    OPEN = 2
    COMMIT = 3
    HOLD = 4
    OVER = 5  # after the last round's shards were opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """When a task's rounds happen: what is committed in cycle r is revealed and judged in cycle r + 1.

    All numbers are blocks, but `start` is a height and `rounds` counts the cycles that take commits.
    """

    start: int
    cycle: int
    reveal: int
    open: int
    hold: int
    rounds: int

    def cycle_of(self, height: int) -> int:
        """The cycle that a height lies in, from 0; negative before the start."""
        return (height - self.start) // self.cycle

    def position_of(self, height: int) -> int:
        """How many blocks of its cycle lie before a height."""
        return (height - self.start) % self.cycle

    def start_of(self, cycle: int) -> int:
        """The first height of a cycle."""
        return self.start + cycle * self.cycle

    @property
    def judging(self) -> int:
        """Blocks of a cycle until the round before it is judged: reveal and open."""
        return self.reveal + self.open

    @property
    def last_height(self) -> int:
        """The last height at which a shard can be opened; settlements may come later."""
        return self.start_of(self.rounds) + self.judging - 1

    def phase_of(self, height: int) -> Phase:
        """The phase of a height. Commits are taken in OPEN and COMMIT, see `accepts_commits`."""
        if height < self.start:
            return Phase.PENDING
        if height > self.last_height:
            return Phase.OVER
        position = self.position_of(height)
        if position < self.reveal:
            return Phase.REVEAL
        if position < self.judging:
            return Phase.OPEN
        return Phase.COMMIT if position < self.cycle - self.hold else Phase.HOLD

    def accepts_commits(self, height: int) -> bool:
        """From the end of reveal on, until `hold` blocks before the end of the cycle."""
        taken = self.reveal <= self.position_of(height) < self.cycle - self.hold
        return taken and 0 <= self.cycle_of(height) < self.rounds

    def accepts_reveals(self, round_number: int, height: int) -> bool:
        return self.cycle_of(height) == round_number + 1 and self.position_of(height) < self.reveal

    def accepts_openings(self, round_number: int, height: int) -> bool:
        position = self.position_of(height)
        return self.cycle_of(height) == round_number + 1 and self.reveal <= position < self.judging
