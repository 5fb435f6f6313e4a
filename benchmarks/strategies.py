"""Home of what miners may do, honest and hostile: from what an account can know at a commit to its deltas.

A strategy is a function of `Knowledge` and a seeded generator, and returns the deltas that one account
commits this round, none or several, as int64 vectors on the parameter grid (2^-20). It knows what everybody
knows - heads, opened shards, updates revealed so far - and its own private samples; never others' updates
of the running round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning.architecture import Architecture
from learning.datasets import Dataset
from learning.trainer import DELTA_MAX, Training, train

Vector = npt.NDArray[np.int64]

LOTTERY_TICKETS = 2
EXTRAPOLATION = 3  # how far the extrapolator goes along the last step
NOISY_COPY_SQUARED_COSINE = 0.9  # of the copy with its original; the copy test is at 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """An update that was revealed and judged: whose, its delta, and the contribution its record gives it."""

    account: bytes
    delta: Vector
    contribution: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What an account can know when it commits. Vectors are flat weights or deltas at 2^-20.

    `account`: its own address. `heads`: since genesis, oldest first; the newest is what all strategies build
    on. `revealed`: the updates judged last. `radius`: the task's trust radius. `private`: the account's own
    samples, `public`: all opened shards.
    """

    account: bytes
    architecture: Architecture
    heads: tuple[Vector, ...]
    revealed: tuple[Revealed, ...]
    radius: int
    private: Dataset
    public: Dataset

    @property
    def base(self) -> Vector:
        """The head that the account's update is committed against."""
        return self.heads[-1]


Strategy = Callable[[Knowledge, np.random.Generator], list[Vector]]


def honest(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """Trains on the private share and all opened shards."""
    return [_train(known, _joined(known.private, known.public), rng)]


def public_only(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """Trains on opened shards alone; sits out while there are none."""
    return [_train(known, known.public, rng)] if len(known.public) else []


def noise(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """One random direction as long as an update usually is."""
    return [_random_direction(known, rng, _usual_norm(known))]


def lottery(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """Several random directions a round, hoping that one happens to help."""
    return [_random_direction(known, rng, _usual_norm(known)) for _ in range(LOTTERY_TICKETS)]


def exact_copier(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """Commits the best update that another account revealed last, value by value."""
    original = _best_of_others(known)
    return [] if original is None else [original]


def noisy_copier(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """Commits the best update revealed last, with just enough noise to pass the copy test by a margin."""
    original = _best_of_others(known)
    if original is None:
        return []
    share = (1 / NOISY_COPY_SQUARED_COSINE - 1) ** 0.5
    disturbance = _random_direction(known, rng, _norm(original) * share)
    return [_bounded(original + disturbance)]


def extrapolator(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """Bets that the head goes on as it last moved; untrained, from public bytes alone."""
    if len(known.heads) < 2:
        return []
    step = known.heads[-1] - known.heads[-2]
    return [_bounded(EXTRAPOLATION * step)] if step.any() else []


def label_flipper(known: Knowledge, rng: np.random.Generator) -> list[Vector]:
    """Trains on its private samples with every label turned into its opposite."""
    own = known.private
    flipped = Dataset(inputs=own.inputs, labels=own.classes - 1 - own.labels, classes=own.classes)
    return [_train(known, flipped, rng)]


STRATEGIES: Mapping[str, Strategy] = {
    "honest": honest,
    "public only": public_only,
    "noise": noise,
    "exact copier": exact_copier,
    "noisy copier": noisy_copier,
    "lottery": lottery,
    "extrapolator": extrapolator,
    "label flipper": label_flipper,
}
HOSTILE = ("noise", "exact copier", "noisy copier", "lottery", "extrapolator", "label flipper")


def _train(known: Knowledge, samples: Dataset, rng: np.random.Generator) -> Vector:
    """The delta of the trainer that miners come with, from the newest head."""
    seed = int(rng.integers(2**63))
    return train(known.architecture, known.base.astype(np.int32), samples, Training(), seed)


def _joined(first: Dataset, second: Dataset) -> Dataset:
    return Dataset(
        inputs=np.concatenate([first.inputs, second.inputs]),
        labels=np.concatenate([first.labels, second.labels]),
        classes=first.classes,
    )


def _best_of_others(known: Knowledge) -> Vector | None:
    """The delta that contributed most among those that others revealed last: the worst case of copying."""
    others = [update for update in known.revealed if update.account != known.account]
    return max(others, key=lambda update: update.contribution).delta if others else None


def _norm(vector: Vector) -> float:
    return float(np.sqrt(np.square(vector.astype(np.float64)).sum()))


def _usual_norm(known: Knowledge) -> float:
    """The median norm of what was revealed last; before anything was, the trust radius."""
    norms = [_norm(update.delta) for update in known.revealed]
    return float(np.median(norms)) if norms else float(known.radius)


def _random_direction(known: Knowledge, rng: np.random.Generator, norm: float) -> Vector:
    direction = rng.normal(size=len(known.base))
    return _bounded(np.rint(direction * (norm / np.sqrt(np.square(direction).sum()))).astype(np.int64))


def _bounded(delta: Vector) -> Vector:
    """Within what the dense codec can carry."""
    return np.clip(delta, -DELTA_MAX, DELTA_MAX)
