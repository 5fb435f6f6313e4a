"""Home of timeouts that follow what the network gives: they grow when it is slow and shrink when it is fast.

A timeout only decides how long a round waits for what does not come; the paper asks that it grow with the rounds of a
height, so that at last everyone waits long enough. What came, and how long it took, gives the length it begins with:

    timeout of round r = (allowance + 3/2 * a long one of the last 16 times) * (1 + r / 2)

Of quorums it is the longest: no single node makes one late. Of proposals it is the fifth-longest once 16 are known: one
validator of four that is always late, on purpose perhaps, makes four of them, and must not hold everyone's timeouts
long. Before that it is the longest, and until eight have been observed, a time that is assumed counts among them.
A proposal's allowance is larger: a block may suddenly hold far more than those before it. Half as long again covers a
network that has just become slower. A message that came after its timeout counts too, by which timeouts that are too
short are found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from consensus.actions import Timeouts

TIMES_MAX: Final = 16
TIMES_ENOUGH: Final = 8
LATE_PROPOSALS: Final = 4
"""So many of the longest of TIMES_MAX times of proposals are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceSettings:
    """Bounds of the timeouts of round 0, and the time that is assumed at first, in milliseconds."""

    allowance_ms: int = 150  # also the least timeout: a busy machine's hiccups
    larger_block_ms: int = 250  # beside the allowance, for proposals
    propose_ms_max: int = 10_000
    votes_ms_max: int = 5_000
    first_ms: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The last times, in milliseconds: of proposals from their round's start, of quorums from the own vote."""

    proposals_ms: tuple[int, ...] = ()
    quorums_ms: tuple[int, ...] = ()


def with_proposal(pace: Pace, took_ms: int) -> Pace:
    """A proposal was at hand, and judged, so long after its round had started here."""
    return replace(pace, proposals_ms=(*pace.proposals_ms[1 - TIMES_MAX :], max(0, took_ms)))


def with_quorum(pace: Pace, took_ms: int) -> Pace:
    """A quorum for one block, or for nil, was there so long after the own vote of its kind."""
    return replace(pace, quorums_ms=(*pace.quorums_ms[1 - TIMES_MAX :], max(0, took_ms)))


def timeouts_of(pace: Pace, settings: PaceSettings) -> Timeouts:
    """The timeouts of the rounds to come."""
    longer_ms = settings.allowance_ms + settings.larger_block_ms
    times_ms = pace.proposals_ms
    usual_ms = tuple(sorted(times_ms)[:-LATE_PROPOSALS]) if len(times_ms) == TIMES_MAX else times_ms
    propose_ms = min(settings.propose_ms_max, _length_ms(usual_ms, longer_ms, settings))
    votes_ms = min(settings.votes_ms_max, _length_ms(pace.quorums_ms, settings.allowance_ms, settings))
    return Timeouts(
        propose_ms=propose_ms,
        propose_step_ms=propose_ms // 2,
        prevote_ms=votes_ms,
        prevote_step_ms=votes_ms // 2,
        precommit_ms=votes_ms,
        precommit_step_ms=votes_ms // 2,
    )


def _length_ms(times_ms: tuple[int, ...], allowance_ms: int, settings: PaceSettings) -> int:
    if len(times_ms) < TIMES_ENOUGH:
        times_ms = (*times_ms, settings.first_ms)
    return allowance_ms + 3 * max(times_ms) // 2
