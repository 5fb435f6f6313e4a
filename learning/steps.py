"""Home of the vector arithmetic on steps: clamping, exact products, rebasing, clipping, weighting."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np

from learning.architecture import PARAMETER_MAX
from learning.commitment import Int32Array, Int64Array

WEIGHT_SHIFT = 16  # fractional bits of an update's weight in its round
BOND_WEIGHT_MAX = 8  # bonds count up to this many times the minimum
MOMENTUM_QUARTERS = (0, 1, 2, 4, 6, 8, 12)

_VALUE_MAX = 2**25  # of every vector below: two steps between weights added up
_RUN = 2**12  # so many products of two such values sum up within int64


def clamp(values: Int64Array) -> Int32Array:
    """Weights int32[P]: every value moved to the nearest one that a weight may have."""
    return np.clip(values, -PARAMETER_MAX, PARAMETER_MAX).astype(np.int32)


def dot(left: Int64Array, right: Int64Array) -> int:
    """The exact inner product of two int64[P]; runs are summed within int64, then as Python integers."""
    assert max(_magnitude(left), _magnitude(right)) <= _VALUE_MAX
    runs = np.add.reduceat(left * right, np.arange(0, len(left), _RUN))
    return sum(runs.tolist())


def with_momentum(head: Int32Array, step: Int32Array, quarters: int) -> Int32Array:
    """The head int32[P], gone on by so many quarters of the last step."""
    return clamp(head + ((quarters * step.astype(np.int64) + 2) >> 2))


def rebase(delta: Int64Array, head: Int32Array, base: Int32Array) -> Int64Array:
    """A delta int64[P] on `base`, less half of what the head has moved on since."""
    return delta - ((head.astype(np.int64) - base + 1) >> 1)


def norm(step: Int64Array) -> int:
    """The Euclidean norm of a step, rounded down, in 2^-20."""
    return isqrt(dot(step, step))


def bond_weight(bond: int, bond_minimum: int) -> int:
    """How much of a bond counts for weight."""
    return min(bond, BOND_WEIGHT_MAX * bond_minimum)


def weighted_median(values: Sequence[int], weights: Sequence[int]) -> int:
    """The least value at which the weights up to it (ties by place) reach half of all; at least one value."""
    half = sum(weights)
    reached = 0
    for value, weight in sorted(zip(values, weights, strict=True), key=lambda pair: pair[0]):
        reached += weight
        if 2 * reached >= half:
            return value
    raise AssertionError("no values")


def clip(step: Int64Array, length: int, limit: int, head: Int32Array) -> Int64Array:
    """A step int64[P] of norm `length`, shortened to `limit` and then to what `head` can take without saturating."""
    if length > limit:
        factor = (limit << 16) // length
        step = (step * factor + 2**15) >> 16
    return clamp(head + step).astype(np.int64) - head


def weights_of(bonds: Sequence[int]) -> list[int]:
    """Each bond's share of their sum, with WEIGHT_SHIFT fractional bits, rounded down."""
    total = sum(bonds)
    return [(bond << WEIGHT_SHIFT) // total for bond in bonds]


def add_scaled(head: Int32Array, scaled: Int64Array, shift: int) -> Int32Array:
    """The head plus a sum of weighted steps int64[P] that has `shift` fractional bits, rounded to nearest."""
    return clamp(head + ((scaled + 2 ** (shift - 1)) >> shift))


def _magnitude(values: Int64Array) -> int:
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))
