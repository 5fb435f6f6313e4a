"""Home of the tables by which cross entropy is computed in integers, and of the proof of how exact that is.

With d = max(z) - z >= 0 in units of 2^-26 nat (capped at 32 nat), e^-d is a power of two that is looked up and
interpolated on a straight line, and the sum's logarithm likewise. Errors of the loss, in units of 2^-20 nat:

    chord of 2^-f over steps of 2^-10     at most 2^20 (ln 2 * 2^-10)^2 / 8       <= +0.0601
    chord of ln(1+x) over steps of 2^-11  at most 2^20 (2^-11)^2 / 8              >= -0.0313
    d log2(e) rounded to 2^-26, log2(e) to 2^-31; the cap at 32 nat; two floors at 2^-40 a class; x cut to 2^-31
                                          at most 2^20 (2^-27 + 2^-27 + 4096 e^-32 + 2^-27 + 2^-31)   < +-0.025
    rounding to 2^-20                     at most                                 +-0.5

so that the integer loss is within LOSS_ERROR_MAX of the true one, for any logits and up to 4,096 classes.
"""

from __future__ import annotations

from hashlib import sha256
from math import isqrt

import numpy as np
from numpy.typing import NDArray

LOSS_EXPONENT = 20  # losses are multiples of 2^-20 nat
LOSS_MAX = 2**25  # where a loss saturates: 32 nat
LOSS_ERROR_MAX = 0.6  # units of 2^-20 nat by which a loss below LOSS_MAX may differ from the true one

DIFFERENCE_EXPONENT = 26  # differences of logits, at this scale
DIFFERENCE_MAX = 2**31  # 32 nat
VALUE_EXPONENT = 40  # powers of two and logarithms, at this scale
POWER_BITS = 10  # the power table has 2^this steps from 2^-0 to 2^-1
LOGARITHM_BITS = 11  # the logarithm table has 2^this steps from ln 1 to ln 2
LOG2_E_EXPONENT = 31

_GUARD_EXPONENT = 128  # tables are computed at this scale and rounded once


def _ln_ratio(numerator: int, denominator: int) -> int:
    """ln(numerator / denominator) at the guard scale, by 2 artanh(x) = 2 (x + x^3/3 + ...), floor at each term."""
    top, bottom = numerator - denominator, numerator + denominator
    term, total, odd = (top << (_GUARD_EXPONENT + 1)) // bottom, 0, 1
    while term:
        total += term // odd
        term = term * top * top // (bottom * bottom)
        odd += 2
    return total


def _rounded(value: int, exponent: int) -> int:
    """A value at the guard scale, at 2^-exponent."""
    shift = _GUARD_EXPONENT - exponent
    return (value + (1 << (shift - 1))) >> shift


def _make_powers() -> NDArray[np.int64]:
    """int64[1025]: 2^(-i/1024) at 2^-40, by ten square roots of 1/2 and repeated multiplication."""
    root = 1 << (_GUARD_EXPONENT - 1)
    for _ in range(POWER_BITS):
        root = isqrt(root << _GUARD_EXPONENT)
    value, values = 1 << _GUARD_EXPONENT, []
    for _ in range(2**POWER_BITS + 1):
        values.append(_rounded(value, VALUE_EXPONENT))
        value = value * root >> _GUARD_EXPONENT
    return np.array(values, dtype=np.int64)


def _make_logarithms() -> NDArray[np.int64]:
    """int64[2049]: ln(1 + i/2048) at 2^-40, as a running sum of ln((n+1)/n)."""
    value, values, steps = 0, [0], 2**LOGARITHM_BITS
    for n in range(steps, 2 * steps):
        value += _ln_ratio(n + 1, n)
        values.append(_rounded(value, VALUE_EXPONENT))
    return np.array(values, dtype=np.int64)


def digest(*tables: NDArray[np.int64]) -> str:
    """What pins tables: SHA-256 of their little-endian bytes."""
    return sha256(b"".join(table.astype("<i8").tobytes() for table in tables)).hexdigest()


POWERS = _make_powers()
LOGARITHMS = _make_logarithms()
LN_2 = int(LOGARITHMS[-1])
LOG2_E = _rounded((1 << (2 * _GUARD_EXPONENT)) // _ln_ratio(2, 1), LOG2_E_EXPONENT)
POWERS.setflags(write=False)
LOGARITHMS.setflags(write=False)

TABLES_SHA256 = "73f3b79e6b860927a036f6c1b10fe8708be769098c496ce77a27840586651d6f"
