"""Home of proposer rotation: weighted round robin by priorities, a pure function of a set and a count.

Priorities start at 0 in each epoch. Each height adds everyone's power to its priority, takes the highest (ties: the
lower address) as proposer of round 0, and subtracts the total power from it. For round r the step is repeated r
times more, on a copy: how many rounds a height took does not move the rotation of the next one.
"""

from collections.abc import Sequence

from consensus.types import Round, ValidatorSet, Voter

Priorities = tuple[int, ...]
"""One integer for each member of a set, in its order; they always sum to 0."""


def start(validators: ValidatorSet) -> Priorities:
    """The priorities before an epoch's first height."""
    return (0,) * len(validators.members)


def advance(validators: ValidatorSet, priorities: Priorities) -> tuple[Voter, Priorities]:
    """A height's proposer at round 0, and the priorities that it leaves to the next height."""
    moved = list(priorities)
    index = _advance(validators, moved)
    return validators.members[index][0], tuple(moved)


def proposer(validators: ValidatorSet, priorities: Priorities, round_: Round) -> Voter:
    """The proposer of a round, from the priorities that the height before left (or `start`)."""
    moved = list(priorities)
    index = -1
    for _ in range(round_ + 1):
        index = _advance(validators, moved)
    return validators.members[index][0]


def after(validators: ValidatorSet, heights: int) -> Priorities:
    """The priorities after so many heights of an epoch: what a restarted node begins the next one with."""
    moved = list(start(validators))
    for _ in range(heights):
        _advance(validators, moved)
    return tuple(moved)


def _advance(validators: ValidatorSet, priorities: list[int]) -> int:
    for index, (_, power) in enumerate(validators.members):
        priorities[index] += power
    highest = _highest(priorities)
    priorities[highest] -= validators.total
    return highest


def _highest(priorities: Sequence[int]) -> int:
    # Members ascend by address and `index` finds the first, so that ties go to the lower address.
    return priorities.index(max(priorities))
