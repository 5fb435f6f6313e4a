"""Home of what an honest training is made into to be paid more than it is worth: doubled, or split over accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.strategies import Knowledge, Strategy, Vector, honest
from learning.encoding import sha256
from learning.trainer import DELTA_MAX

IDENTITIES = 4  # over which one miner splits its bond


def doubled(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """An honest update, twice as large."""
    return [_bounded(2 * delta) for delta in honest(known, rng)]


def clone(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """One of several accounts of one miner: each trains on the same samples, by a generator of its own."""
    return honest(known, rng)


def _slice_of(number: int) -> Callable[[Knowledge, np.random.Generator], list[Vector]]:
    """One of several accounts of one miner: each commits its part of one training's values, as long as the whole."""

    def strategy(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
        # All accounts of the miner train alike, as they draw from what only they share.
        common = sha256(known.base.tobytes(), known.private.inputs.tobytes())
        (delta,) = honest(known, np.random.Generator(np.random.PCG64(int.from_bytes(common, "big"))))
        part = np.where(np.arange(len(delta)) % IDENTITIES == number, delta, 0)
        norms = [float(np.sqrt(np.square(vector.astype(np.float64)).sum())) for vector in (delta, part)]
        return [_bounded(np.rint(part * (norms[0] / max(norms[1], 1.0))).astype(np.int64))]

    return strategy


SLICES = tuple(f"slice {number + 1}" for number in range(IDENTITIES))
DISGUISES: Mapping[str, Strategy] = {
    "doubled": doubled,
    "clone": clone,
    **{name: _slice_of(number) for number, name in enumerate(SLICES)},
}


def _bounded(delta: Vector) -> Vector:
    """Within what the dense codec can carry."""
    return np.clip(delta, -DELTA_MAX, DELTA_MAX)
