"""The arithmetic on steps, with values worked out by hand: what is rounded, which way, and where it saturates."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.steps import (
    add_scaled,
    bond_weight,
    clamp,
    clip,
    norm,
    rebase,
    weighted_median,
    weights_of,
    with_momentum,
)

MOST = 2**23 - 1


def whole(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def weights(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def test_weights_end_at_their_bounds():
    clamped = clamp(whole(MOST, MOST + 1, -MOST, -MOST - 1, 2**40, -(2**40), 5))
    assert clamped.tolist() == [MOST, MOST, -MOST, -MOST, MOST, -MOST, 5]
    assert clamped.dtype == np.int32


def test_momentum_rounds_quarters_to_the_nearest_halves_upwards():
    head, step = weights(0, 0, 0, 0, 0, 0), weights(1, 2, 3, -1, -2, -3)
    assert with_momentum(head, step, 1).tolist() == [0, 1, 1, 0, 0, -1]
    assert with_momentum(head, step, 2).tolist() == [1, 1, 2, 0, -1, -1]
    assert with_momentum(head, step, 6).tolist() == [2, 3, 5, -1, -3, -4]
    assert with_momentum(weights(MOST), weights(2 * MOST), 6).tolist() == [MOST]


def test_rebasing_takes_half_of_what_the_head_moved_rounded_upwards():
    assert rebase(whole(0, 0, 0, 0), weights(3, 2, -2, -3), weights(0, 0, 0, 0)).tolist() == [-2, -1, 1, 1]
    assert rebase(whole(7), weights(5), weights(5)).tolist() == [7]
    assert rebase(whole(-2 * MOST), weights(MOST), weights(-MOST)).tolist() == [-3 * MOST]


@settings(deadline=None, max_examples=100)
@given(values=st.lists(st.integers(-(2**25), 2**25), min_size=1, max_size=20))
def test_norms_are_rounded_down(values):
    squares = sum(value * value for value in values)
    assert norm(whole(*values)) ** 2 <= squares < (norm(whole(*values)) + 1) ** 2


def test_the_weighted_median_is_reached_at_exactly_half():
    assert weighted_median([5, 9], [1, 1]) == 5
    assert weighted_median([9, 5], [1, 1]) == 5
    assert weighted_median([5, 9], [1, 2]) == 9
    assert weighted_median([7, 5, 9], [1, 1, 1]) == 7
    assert weighted_median([7, 5, 9], [1, 1, 8]) == 9
    assert weighted_median([5], [10**30]) == 5


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.integers(-(2**25), 2**25), min_size=1, max_size=8),
    limit=st.integers(0, 2**27),
    head=st.integers(-MOST, MOST),
)
def test_clipping_shortens_by_a_factor_of_16_bits_and_never_saturates(values, limit, head):
    step, base = whole(*values), weights(*[head] * len(values))
    length = norm(step)
    clipped = clip(step, length, limit, base)
    factor = Fraction(limit * 2**16 // length, 2**16) if length > limit else 1
    expected = [floor(value * factor + Fraction(1, 2)) for value in values]
    assert clipped.tolist() == [max(min(head + value, MOST), -MOST) - head for value in expected]
    assert abs(base + clipped).max() <= MOST


def test_bonds_count_up_to_eight_minima():
    assert [bond_weight(bond, 10) for bond in (1, 10, 79, 80, 81, 10**9)] == [1, 10, 79, 80, 80, 80]


def test_weights_are_shares_rounded_down_to_16_bits():
    assert weights_of([1, 1, 1]) == [21845] * 3
    assert weights_of([3, 1]) == [49152, 16384]
    assert weights_of([10**20]) == [2**16]
    assert weights_of([]) == []


@pytest.mark.parametrize(
    ("shift", "scaled", "moved"),
    [
        (16, 2**15 - 1, 0),
        (16, 2**15, 1),
        (16, -(2**15), 0),
        (16, -(2**15) - 1, -1),
        (15, 2**15, 1),
        (17, 2**16, 1),
        (17, 2**16 - 1, 0),
    ],
)
def test_scaled_steps_are_rounded_to_the_nearest_halves_upwards(shift, scaled, moved):
    assert add_scaled(weights(10), whole(scaled), shift).tolist() == [10 + moved]
    assert add_scaled(weights(MOST), whole(2**40), shift).tolist() == [MOST]
