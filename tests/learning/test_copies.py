"""What counts as a copy, exactly and at any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.copies import find_copies, inner_products, is_copy
from learning.round import PastUpdate
from learning.steps import dot
from learning.updates import DELTA_MAX


def update(miner: int, *delta: int) -> PastUpdate:
    return PastUpdate(miner=bytes([miner]) * 20, delta=np.array(delta, dtype=np.int32))


def exact(left: np.ndarray, right: np.ndarray) -> int:
    return sum(int(a) * int(b) for a, b in zip(left, right, strict=True))


@settings(deadline=None, max_examples=30)
@given(size=st.sampled_from([1, 2, 4095, 4096, 4097, 8191, 8192, 8193, 20_000]), seed=st.integers(0, 99))
def test_products_are_exact(size, seed):
    random = np.random.default_rng(seed)
    deltas = [random.integers(-DELTA_MAX, DELTA_MAX + 1, size).astype(np.int32) for _ in range(3)]
    table = inner_products(deltas[:2], deltas)
    assert table.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert table[i, j] == exact(deltas[i], deltas[j])
            assert dot(deltas[i].astype(np.int64), deltas[j].astype(np.int64)) == exact(deltas[i], deltas[j])


@pytest.mark.parametrize("sign", [1, -1])
def test_products_of_the_largest_values_are_exact(sign):
    size = 100_000
    most = np.full(size, DELTA_MAX, dtype=np.int32)
    assert inner_products([most], [sign * most])[0, 0] == sign * size * DELTA_MAX**2
    assert dot(most.astype(np.int64), sign * most.astype(np.int64)) == sign * size * DELTA_MAX**2
    largest = np.full(size, 2**25, dtype=np.int64)
    assert dot(largest, sign * largest) == sign * size * 2**50


def test_dot_refuses_values_that_could_overflow():
    with pytest.raises(AssertionError):
        dot(np.array([2**25 + 1]), np.array([1]))


def test_the_same_delta_of_another_miner_is_a_copy_and_of_the_same_is_not():
    assert find_copies([update(1, 3, 4), update(2, 3, 4), update(1, 3, 4)], []) == [False, True, True]
    assert find_copies([update(1, 3, 4), update(1, 3, 4)], []) == [False, False]
    assert find_copies([update(1, 3, 4)], [update(2, 3, 4)]) == [True]
    assert find_copies([update(1, 3, 4)], [update(1, 3, 4)]) == [False]


def test_only_earlier_updates_of_the_round_can_be_copied():
    assert find_copies([update(1, 3, 4), update(2, 1, 0), update(3, 6, 8)], []) == [False, False, True]


def test_a_copy_of_a_copy_is_a_copy_even_where_it_is_none_of_the_first():
    # Each is within the limit of the one before (cosine of 8 degrees), the third not of the first (16 degrees).
    turn = [(round(10**6 * np.cos(a)), round(10**6 * np.sin(a))) for a in np.radians([0, 8, 16])]
    updates = [update(i, *delta) for i, delta in enumerate(turn)]
    assert find_copies([updates[0], updates[2]], []) == [False, False]
    assert find_copies(updates, []) == [False, True, True]


def test_scaled_deltas_are_copies_and_opposite_ones_are_not():
    assert find_copies([update(1, 30, 40), update(2, 3, 4), update(3, -30, -40)], []) == [False, True, False]


def test_zero_is_a_copy_of_zero_only():
    assert find_copies([update(1, 0, 0), update(2, 0, 0), update(3, 1, 0)], []) == [False, True, False]


def test_the_limit_is_a_squared_cosine_of_exactly_98_hundredths():
    # (7, 1) and (1, 0): squared cosine 49/50.
    assert not is_copy(7, 50, 1)
    assert find_copies([update(1, 7, 1), update(2, 1, 0)], []) == [False, False]
    assert find_copies([update(1, 70, 10), update(2, 70, 9)], []) == [False, True]
    assert is_copy(7_000_001, 50 * 10**6, 10**6)


def test_large_deltas_one_step_apart_are_told_from_equal_ones():
    big = [DELTA_MAX] * 50
    near = [*big[:-1], DELTA_MAX - 1]
    square, other = exact(big, big), exact(near, near)
    assert square + other - 2 * exact(big, near) == 1
    assert find_copies([update(1, *big), update(2, *near)], []) == [False, True]  # by its cosine


def test_a_round_without_updates_has_no_copies():
    assert find_copies([], [update(1, 3, 4)]) == []
