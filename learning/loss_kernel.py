"""Home of cross entropy as nodes run it: `reference.cross_entropy` in loops that LLVM vectorises."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from learning.loss_tables import (
    DIFFERENCE_EXPONENT,
    DIFFERENCE_MAX,
    LN_2,
    LOG2_E,
    LOG2_E_EXPONENT,
    LOGARITHM_BITS,
    LOGARITHMS,
    LOSS_EXPONENT,
    LOSS_MAX,
    POWER_BITS,
    POWERS,
    VALUE_EXPONENT,
)

_HALF_LOG2_E = 1 << (LOG2_E_EXPONENT - 1)
_STEP_BITS = DIFFERENCE_EXPONENT - POWER_BITS
_LABEL_SHIFT = VALUE_EXPONENT - DIFFERENCE_EXPONENT
_LOSS_SHIFT = VALUE_EXPONENT - LOSS_EXPONENT
_ROWS = 64  # at a time, so that what is between the steps stays in the cache
_MANTISSA = VALUE_EXPONENT + 12  # a sum of up to 2^12 values fits its mantissa at this scale


@njit(nogil=True, error_model="numpy")
def cross_entropy(logits: Any, exponent: Any, labels: Any, out: Any) -> None:
    """Writes losses int64[B] of logits int64[B, C] at 2^-exponent for labels int64[B], some rows at a time."""
    room = np.empty(_ROWS * logits.shape[1], dtype=np.int64)
    sums, wholes = np.empty(_ROWS, dtype=np.int64), np.empty(_ROWS, dtype=np.int64)
    for begin in range(0, labels.shape[0], _ROWS):
        rows = min(_ROWS, labels.shape[0] - begin)
        own, powers = slice(begin, begin + rows), room[: rows * logits.shape[1]]
        _cross_entropy(logits[own], exponent, labels[own], powers, sums[:rows], wholes[:rows], out[own])


@njit(nogil=True, error_model="numpy")
def _cross_entropy(logits: Any, exponent: Any, labels: Any, powers: Any, sums: Any, wholes: Any, out: Any) -> None:
    """The same with room for each step: powers int64[B * C], sums and wholes int64[B]."""
    rows, classes = logits.shape
    left = DIFFERENCE_EXPONENT - exponent
    for row in range(rows):
        own, highest = logits[row], logits[row, 0]
        for column in range(1, classes):
            highest = max(highest, own[column])
        for column in range(classes):
            powers[row * classes + column] = min((highest - own[column]) << left, DIFFERENCE_MAX)
        out[row] = powers[row * classes + labels[row]] << _LABEL_SHIFT
    _exponentiate(powers)
    for row in range(rows):
        total = np.int64(0)
        for column in range(row * classes, (row + 1) * classes):
            total += powers[column]
        sums[row] = total
    _add_logarithms(sums, wholes, out)
    for row in range(rows):
        out[row] = min((out[row] + (1 << (_LOSS_SHIFT - 1))) >> _LOSS_SHIFT, LOSS_MAX)


@njit(nogil=True, error_model="numpy")
def _exponentiate(values: Any) -> None:
    """Turns each d at 2^-26 into e^-d at 2^-40, as `reference._exponential` does."""
    for place in range(values.shape[0]):
        base_two = (values[place] * LOG2_E + _HALF_LOG2_E) >> LOG2_E_EXPONENT
        fraction = base_two & ((1 << DIFFERENCE_EXPONENT) - 1)
        step, along = fraction >> _STEP_BITS, fraction & ((1 << _STEP_BITS) - 1)
        power = POWERS[step] - (((POWERS[step] - POWERS[step + 1]) * along) >> _STEP_BITS)
        values[place] = power >> (base_two >> DIFFERENCE_EXPONENT)


@njit(nogil=True, error_model="numpy")
def _add_logarithms(values: Any, wholes: Any, out: Any) -> None:
    """Adds ln(v) at 2^-40 of each v at 2^-40 to `out`, as `reference._logarithm` does."""
    wholes[:] = 0
    for power in range(1, 13):
        for row in range(values.shape[0]):
            wholes[row] += values[row] >> (VALUE_EXPONENT + power) != 0
    for row in range(values.shape[0]):
        whole = wholes[row]
        fraction = (values[row] << (12 - whole)) - (1 << _MANTISSA)
        step, along = fraction >> (_MANTISSA - LOGARITHM_BITS), (fraction >> 21) & ((1 << 20) - 1)
        slope = LOGARITHMS[step + 1] - LOGARITHMS[step]
        out[row] += LOGARITHMS[step] + ((slope * along) >> 20) + whole * LN_2
