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

_RUN = 2**12  # parameters whose products are summed at a time
_LOW_BITS = 30  # sums of runs are added up as two digits, each within int64

Table: TypeAlias = npt.NDArray[Any]  # of Python integers

assert DELTA_MAX**2 * _RUN < 2**63
assert max(DELTA_MAX**2 * _RUN >> _LOW_BITS, 2**_LOW_BITS) * (PARAMETERS_MAX // _RUN + 1) < 2**63


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
    high = np.zeros((len(left), len(right)), dtype=np.int64)
    low = np.zeros_like(high)
    for start in range(0, len(left[0]) if left else 0, _RUN):
        sums = _block(left, start) @ _block(right, start).T  # of int64, so not by BLAS
        high += sums >> _LOW_BITS
        low += sums & (2**_LOW_BITS - 1)
    table: Table = (high.astype(object) << _LOW_BITS) + low.astype(object)
    return table


def _block(deltas: Sequence[Int32Array], start: int) -> npt.NDArray[np.int64]:
    return np.stack([delta[start : start + _RUN] for delta in deltas]).astype(np.int64)
