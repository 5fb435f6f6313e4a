"""Home of what a seed means: who votes with what power, what goes wrong and how often, and until when."""

import random
from dataclasses import dataclass

from consensus.types import ValidatorSet, Voter

NODES = 4
EPOCH_HEIGHTS = 3
POWERS = ((1, 1, 1, 1), (1, 2, 3, 4), (5, 5, 4, 3), (1, 1, 1, 3), (10, 10, 1, 1), (0, 1, 1, 1))
POWERS_OF_ONE_THIRD = ((1, 1, 1, 0), (2, 2, 1, 1), (3, 2, 2, 2), (5, 4, 3, 3))
"""The first one holds exactly a third: no liar of that size may break agreement, but it may stop progress."""
POWERS_BELOW_ONE_THIRD = ((1, 1, 1, 1), (3, 4, 4, 4), (2, 2, 2, 1), (1, 1, 2, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One history's circumstances. Rates are probabilities; times are milliseconds of simulated time."""

    powers: tuple[tuple[int, ...], ...]
    liar: bool
    progress: bool
    loss: float
    duplication: float
    delay_ms_max: int
    delay_tail: float
    crash: float
    blackout: float
    down_ms_max: int
    partition: float
    clock_skew_ms_max: int
    build_failure: float
    invalid_block: float
    quiet_at_ms: int
    log_bytes_max: int

    def validators(self, height: int) -> ValidatorSet:
        """The set that votes at a height; it changes with the epoch."""
        powers = self.powers[((height - 1) // EPOCH_HEIGHTS) % len(self.powers)]
        return ValidatorSet(members=tuple((address(i), power) for i, power in enumerate(powers) if power))


def address(index: int) -> Voter:
    return Voter(bytes([index + 1]) * 20)


def make(seed: int) -> Plan:
    """The plan of a seed: half have a lying validator, most have crashes, some of all nodes at once."""
    rng = random.Random(seed)
    liar = rng.random() < 0.5
    exact = liar and rng.random() < 0.5
    pool = POWERS_OF_ONE_THIRD if exact else POWERS_BELOW_ONE_THIRD if liar else POWERS
    crashes = rng.random() < 0.7
    return Plan(
        powers=tuple(rng.choice(pool) for _ in range(3)),
        liar=liar,
        progress=not exact,
        loss=rng.choice((0.0, 0.05, 0.2, 0.5)),
        duplication=rng.choice((0.0, 0.05, 0.3)),
        delay_ms_max=rng.choice((5, 50, 400)),
        delay_tail=rng.choice((0.0, 0.02, 0.1)),
        crash=rng.choice((0.01, 0.03, 0.1)) if crashes else 0.0,
        blackout=rng.choice((0.0, 0.2, 0.5)) if crashes else 0.0,
        down_ms_max=rng.choice((100, 1_000, 6_000)),
        partition=rng.choice((0.0, 0.0, 0.3)),
        clock_skew_ms_max=rng.choice((0, 0, 20_000)),
        build_failure=rng.choice((0.0, 0.1)),
        invalid_block=rng.choice((0.0, 0.1)),
        quiet_at_ms=rng.choice((10_000, 20_000, 30_000)),
        log_bytes_max=rng.choice((500, 4_000, 1 << 20)),
    )
