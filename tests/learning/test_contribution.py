"""Coalitions are balanced, drawn by the beacon alone, and value players by what they add."""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.contribution import (
    coalitions,
    contribution,
    lower_median,
    median_over_custodians,
    paired_values,
    sum_of_squares,
)

BEACON = hashlib.sha256(b"a beacon").digest()


@pytest.mark.parametrize("players", range(9))
def test_up_to_eight_players_form_every_coalition_once(players):
    masks = coalitions(players, BEACON)
    assert masks.shape == (2**players, players)
    for row in range(2**players):
        assert [bool(row >> i & 1) for i in range(players)] == masks[row].tolist()


@pytest.mark.parametrize("players", [9, 10, 15, 16, 17, 31, 32, 33, 64, 100, 256])
def test_hadamard_rows_balance_every_player_and_every_pair(players):
    masks = coalitions(players, BEACON)
    order = next(order for order in (16, 32, 64, 128, 256) if order >= players)
    assert masks.shape == (2 * order, players)
    assert masks.sum(axis=0).tolist() == [order] * players
    together = masks.T.astype(int) @ masks.astype(int)
    assert (together[~np.eye(players, dtype=bool)] == order // 2).all()
    assert (masks[:order] == ~masks[order:]).all()


def test_rows_have_strength_three_so_that_pairs_do_not_disturb_a_players_value():
    masks = coalitions(12, BEACON)
    for three in combinations(range(12), 3):
        patterns = masks[:, three] @ np.array([1, 2, 4])
        assert np.bincount(patterns, minlength=8).tolist() == [4] * 8


def test_another_beacon_draws_other_coalitions():
    other = hashlib.sha256(b"another").digest()
    assert (coalitions(9, BEACON) == coalitions(9, BEACON)).all()
    assert (coalitions(9, BEACON) != coalitions(9, other)).any()
    assert (coalitions(8, BEACON) == coalitions(8, other)).all()


def test_rows_are_sylvesters_with_columns_permuted_and_negated_as_the_page_says():
    words = iter(
        int.from_bytes(
            hashlib.sha256(b"lyceum/coalitions/1\x00" + BEACON + j.to_bytes(8, "big")).digest()[k : k + 8], "big"
        )
        for j in range(100)
        for k in (0, 8, 16, 24)
    )
    permutation = list(range(16))
    for x in range(15, 0, -1):
        y = next(words) % (x + 1)
        permutation[x], permutation[y] = permutation[y], permutation[x]
    signs = [-1 if next(words) & 1 else 1 for _ in range(11)]
    matrix = np.array([[1]])
    for _ in range(4):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    columns = matrix[:, permutation[:11]] * signs
    assert (coalitions(11, BEACON) == (np.concatenate([columns, -columns]) == 1)).all()


def additive_losses(masks: np.ndarray, worth: np.ndarray, seed: int) -> np.ndarray:
    """Losses [M, K] of a game in which player i removes worth[i, k] on sample k, whoever else is there."""
    level = np.random.default_rng(seed).integers(2**20, 2**22, worth.shape[1])
    return level - masks.astype(np.int64) @ worth


@settings(deadline=None, max_examples=40)
@given(players=st.integers(1, 20), custodians=st.integers(1, 4), samples=st.integers(1, 5), seed=st.integers(0, 99))
def test_in_an_additive_game_everyone_is_valued_at_what_they_remove(players, custodians, samples, seed):
    worth = np.random.default_rng(seed).integers(-1000, 1000, (players, custodians * samples))
    masks = coalitions(players, BEACON)
    paired = paired_values(additive_losses(masks, worth, seed), masks)
    assert (paired == worth * (len(masks) // 2)).all()
    for values, own in zip(paired, worth, strict=True):
        sums = sorted(own.reshape(custodians, samples).sum(axis=1).tolist())
        assert contribution(values, len(masks), custodians) == sums[(custodians - 1) // 2] // samples


def test_a_game_with_pairs_gives_the_exact_banzhaf_value_on_hadamard_rows():
    # With interactions of two players only, rows of strength three lose nothing against all subsets.
    random = np.random.default_rng(5)
    players, own = 9, np.random.default_rng(6).integers(-(10**6), 10**6, 9)
    pair = np.triu(random.integers(-(10**6), 10**6, (players, players)), 1)
    masks = coalitions(players, BEACON)
    player_in = masks.astype(np.int64)
    losses = -(player_in @ own * 4 + ((player_in @ pair) * player_in).sum(axis=1) * 4)
    paired = paired_values(losses[:, None], masks)
    every = (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(np.int64)
    all_losses = -(every @ own * 4 + ((every @ pair) * every).sum(axis=1) * 4)
    exact = paired_values(all_losses[:, None], every == 1)
    assert (paired * 2**players == exact * len(masks)).all()


def test_contributions_are_rounded_down():
    values = np.array([3, -1, -4, -3], dtype=np.int64)  # two custodians, sums 2 and -7
    assert contribution(values, 4, 2) == -2  # floor of -7 / (2 * 2)
    assert contribution(-values, 4, 2) == -1  # floor of -2 / 4


def test_the_lower_median_is_the_lower_of_two_middle_values():
    assert lower_median([5]) == 5
    assert lower_median([9, 5]) == 5
    assert lower_median([9, 5, 7]) == 7
    assert lower_median([4, 9, 5, 7]) == 5
    assert median_over_custodians(np.array([1, 2, 10, 20, -5, -6]), 3) == 3


def test_squares_are_summed_beyond_64_bits():
    values = np.full(3, -(2**40), dtype=np.int64)
    assert sum_of_squares(values) == 3 * 2**80
