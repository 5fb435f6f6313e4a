"""Home of the game that a round's updates play: coalitions, Banzhaf values, and medians over custodians."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from learning.commitment import Int64Array
from learning.encoding import sha256, tag, u64

EXACT_PLAYERS_MAX = 8

Masks: TypeAlias = npt.NDArray[np.bool_]  # [M, n]: which players are in which coalition


def coalitions(players: int, beacon: bytes) -> Masks:
    """The coalitions bool[M, n] to evaluate: all of up to 8 players, else Hadamard rows that the beacon shuffles.

    Each player is in exactly half of the rows. In the rows of [A; -A], with A a Sylvester-Hadamard matrix, any
    two players are together in a quarter of them, so that others' influence on a player's value cancels out.
    """
    if players <= EXACT_PLAYERS_MAX:
        rows = np.arange(2**players)
        every: Masks = (rows[:, None] >> np.arange(players)) & 1 == 1
        return every
    return _hadamard_rows(players, beacon)


def _hadamard_rows(players: int, beacon: bytes) -> Masks:
    order = 1 << (players - 1).bit_length()
    words = _words(beacon)
    columns = list(range(order))
    for last in range(order - 1, 0, -1):  # Fisher and Yates
        other = next(words) % (last + 1)
        columns[last], columns[other] = columns[other], columns[last]
    negated = np.array([next(words) & 1 for _ in range(players)], dtype=np.int64)
    both = np.arange(order)[:, None] & np.array(columns[:players])
    odd = (np.bitwise_count(both) & 1) ^ negated  # 1 where the entry is -1
    return np.concatenate([odd == 0, odd == 1])


def _words(beacon: bytes) -> Iterator[int]:
    """The beacon's random 64-bit words, four from each hash."""
    for number in count():
        digest = sha256(tag("coalitions"), beacon, u64(number))
        for start in range(0, len(digest), 8):
            yield int.from_bytes(digest[start : start + 8], "big")


def paired_values(losses: Int64Array, masks: Masks) -> Int64Array:
    """`b` int64[n, K]: on each sample, the losses [M, K] of coalitions without a player less those with it."""
    total: Int64Array = losses.sum(axis=0)
    with_player: Int64Array = masks.T.astype(np.int64) @ losses
    return total - 2 * with_player


def lower_median(values: list[int]) -> int:
    """The lower of the middle values; at least one value."""
    return sorted(values)[(len(values) - 1) // 2]


def median_over_custodians(values: Int64Array, custodians: int) -> int:
    """Lower median over custodians of the sums of int64[K], of which each has an equal run."""
    sums: list[int] = values.reshape(custodians, -1).sum(axis=1).tolist()
    return lower_median(sums)


def contribution(paired: Int64Array, coalition_count: int, custodians: int) -> int:
    """The Banzhaf value of one player from its `b` int64[K], in 2^-20 nat a sample, rounded down."""
    samples = len(paired) // custodians
    return median_over_custodians(paired, custodians) // (coalition_count // 2 * samples)


def sum_of_squares(values: Int64Array) -> int:
    """Exact, as squares of sums of losses leave int64."""
    squares: list[int] = [value * value for value in values.tolist()]
    return sum(squares)
