"""Home of the copy test: updates that repeat one which another account revealed before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learning.architecture import PARAMETERS_MAX
from learning.commitment import Int32Array
from learning.round import PastUpdate
from learning.steps import dot
from learning.updates import DELTA_MAX

COPY_PERCENT = 98  # squared cosine above which an update is a copy

_BLOCK = 8_192  # parameters that are multiplied at a time, to bound memory
_DIGIT = 12  # bits; deltas are split in two digits of at most 2^12 in magnitude

Table: TypeAlias = npt.NDArray[Any]  # of Python integers

# Products of two digits summed over all parameters stay integers that float64 holds, so BLAS gives them exactly.
assert DELTA_MAX < 2 ** (2 * _DIGIT)
assert 2 * PARAMETERS_MAX * 2 ** (2 * _DIGIT) < 2**53


def find_copies(revealed: Sequence[PastUpdate], recent: Sequence[PastUpdate]) -> list[bool]:
    """Whether each update (in commit order) copies one of `recent` or an earlier one of another miner.

    A copy is equal element by element, or has a positive inner product and a squared cosine above 0.98.
    """
    known = [*recent, *revealed]
    products = inner_products([past.delta for past in revealed], [past.delta for past in known])
    squares = [dot(past.delta.astype(np.int64), past.delta.astype(np.int64)) for past in known]
    return [
        any(
            known[j].miner != update.miner and is_copy(products[i, j], squares[len(recent) + i], squares[j])
            for j in range(len(recent) + i)
        )
        for i, update in enumerate(revealed)
    ]


def is_copy(product: int, square: int, other_square: int) -> bool:
    """Whether two deltas of this inner product and these squared norms are copies of one another."""
    if square + other_square == 2 * product:  # their difference has norm zero: they are equal
        return True
    return product > 0 and 100 * product * product > COPY_PERCENT * square * other_square


def inner_products(left: Sequence[Int32Array], right: Sequence[Int32Array]) -> Table:
    """All exact inner products of deltas int32[P], as Python integers [len(left), len(right)]."""
    high, middle, low = (np.zeros((len(left), len(right))) for _ in range(3))
    parameters = len(left[0]) if left else 0
    for start in range(0, parameters, _BLOCK):
        left_high, left_low = _digits(left, start)
        right_high, right_low = _digits(right, start)
        high += left_high @ right_high.T
        middle += left_high @ right_low.T
        middle += left_low @ right_high.T
        low += left_low @ right_low.T
    return (_integers(high) << 2 * _DIGIT) + (_integers(middle) << _DIGIT) + _integers(low)


def _digits(deltas: Sequence[Int32Array], start: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Float64 blocks high, low with delta = high * 2^12 + low and 0 <= low < 2^12."""
    block = np.stack([delta[start : start + _BLOCK] for delta in deltas])
    return (block >> _DIGIT).astype(np.float64), (block & (2**_DIGIT - 1)).astype(np.float64)


def _integers(exact: npt.NDArray[np.float64]) -> Table:
    return exact.astype(np.int64).astype(object)
