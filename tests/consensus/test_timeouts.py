"""Timeouts follow the times that are observed, within bounds, and grow with the rounds of a height."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.events import TimeoutKind
from consensus.timeouts import (
    LATE_PROPOSALS,
    TIMES_ENOUGH,
    TIMES_MAX,
    Pace,
    PaceSettings,
    timeouts_of,
    with_proposal,
    with_quorum,
)
from consensus.types import Round

SETTINGS = PaceSettings(allowance_ms=100, larger_block_ms=50, propose_ms_max=5_000, votes_ms_max=2_000, first_ms=400)


def after(proposals: list[int], quorums: list[int]) -> Pace:
    return reduce(with_quorum, quorums, reduce(with_proposal, proposals, Pace()))


@pytest.mark.parametrize(
    ("proposals", "expected_ms"),
    [
        ([], 750),
        ([10], 750),
        ([10] * (TIMES_ENOUGH - 1), 750),
        ([10] * TIMES_ENOUGH, 165),
        ([10] * (TIMES_MAX - 2) + [300], 600),
        ([10] * 20 + [300] * LATE_PROPOSALS, 165),
        ([10] * 20 + [300] * (LATE_PROPOSALS + 1), 600),
        ([300] * (LATE_PROPOSALS + 1) + [10] * (TIMES_MAX - LATE_PROPOSALS), 165),
        ([10, 20, 10**9, 20] * 8, 180),
        ([10**9] * TIMES_ENOUGH, 5_000),
        ([-5] * TIMES_ENOUGH, 150),
    ],
)
def test_a_proposal_has_half_as_long_again_as_all_but_a_few_of_the_last_ones_took(
    proposals: list[int], expected_ms: int
) -> None:
    assert timeouts_of(after(proposals, []), SETTINGS).propose_ms == expected_ms


def test_votes_have_half_as_long_again_as_the_longest_quorum_took() -> None:
    assert timeouts_of(after([], [300] + [10] * (TIMES_MAX - 1)), SETTINGS).prevote_ms == 550
    assert timeouts_of(after([], [300] + [10] * TIMES_MAX), SETTINGS).prevote_ms == 115


def test_votes_have_a_time_of_their_own() -> None:
    timeouts = timeouts_of(after([1_000] * TIMES_ENOUGH, [5] * TIMES_ENOUGH), SETTINGS)
    assert (timeouts.propose_ms, timeouts.prevote_ms, timeouts.precommit_ms) == (1_650, 107, 107)


@given(
    st.lists(st.integers(0, 10**6), max_size=40),
    st.lists(st.integers(0, 10**6), max_size=40),
    st.sampled_from(TimeoutKind),
    st.integers(0, 100),
)
def test_timeouts_are_bounded_and_grow_with_the_rounds(
    proposals: list[int], quorums: list[int], kind: TimeoutKind, round_: int
) -> None:
    timeouts = timeouts_of(after(proposals, quorums), SETTINGS)
    first = timeouts.duration_ms(kind, Round(0))
    assert SETTINGS.allowance_ms <= first <= SETTINGS.propose_ms_max
    assert timeouts.duration_ms(kind, Round(round_ + 2)) - timeouts.duration_ms(kind, Round(round_)) >= first - 1
