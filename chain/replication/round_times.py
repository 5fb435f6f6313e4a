"""Home of how long rounds take as this node sees them, from which the next height's timeouts follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from consensus.actions import Timeouts
from consensus.events import Step
from consensus.rules import State
from consensus.timeouts import Pace, PaceSettings, timeouts_of, with_proposal, with_quorum

ROUNDS_MAX = 8  # of a height whose starts are kept


@dataclass(slots=True)
class RoundTimes:
    """Watches the state of consensus after each input."""

    settings: PaceSettings
    clock_ms: Callable[[], int]
    pace: Pace = field(default_factory=Pace)
    _starts_ms: dict[int, int] = field(default_factory=dict)
    _proposed: dict[int, None] = field(default_factory=dict)
    _place: tuple[int, int, Step] | None = None
    _place_ms: int = 0

    def start_height(self) -> None:
        self._starts_ms, self._proposed, self._place = {}, {}, None

    def timeouts(self) -> Timeouts:
        """The timeouts of the rounds to come."""
        return timeouts_of(self.pace, self.settings)

    def proposed(self, round_: int) -> None:
        """A peer's proposal of a round is judged, in time or not."""
        started = self._starts_ms.get(round_)
        if started is not None and round_ not in self._proposed:
            self._proposed[round_] = None
            self.pace = with_proposal(self.pace, self.clock_ms() - started)

    def observe(self, state: State) -> None:
        """Note where consensus stands after an input."""
        place = state.height, state.round, state.step
        if place == self._place:
            return
        now, before, before_ms = self.clock_ms(), self._place, self._place_ms
        self._place, self._place_ms = place, now
        if before is None or before[1] != state.round:
            self._starts_ms[state.round] = now
            while len(self._starts_ms) > ROUNDS_MAX:
                self._starts_ms.pop(next(iter(self._starts_ms)))
        elif _was_quorum(before[2], state):
            self.pace = with_quorum(self.pace, now - before_ms)


def _was_quorum(before: Step, state: State) -> bool:
    """Whether the step since `before`, in one round, was by a quorum for a block.

    One for nil tells nothing: it waits for everyone's timeout, from which no timeout must follow.
    """
    if before == Step.PRECOMMIT:
        return state.step == Step.DECIDED
    powers = state.book.prevotes(state.round).powers
    polka = any(block_id and state.validators.is_quorum(power) for block_id, power in powers.items())
    return before == Step.PREVOTE and polka
