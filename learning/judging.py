"""Home of everything in a settlement that evaluates: momentum, the game, the choice of a head, the radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learning.commitment import Int32Array, Int64Array
from learning.contribution import coalitions, contribution, median_over_custodians, paired_values, sum_of_squares
from learning.round import RADIUS_MAX, Evaluator
from learning.shards import Shard, UInt8Array
from learning.steps import MOMENTUM_QUARTERS, WEIGHT_SHIFT, add_scaled, clamp, with_momentum


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """The samples of several shards of one size, custodian after custodian, and what evaluates them."""

    evaluator: Evaluator
    inputs: UInt8Array  # [K, width]
    labels: Int64Array  # [K]
    custodians: int

    @classmethod
    def of(cls, evaluator: Evaluator, shards: Sequence[Shard]) -> Panel:
        """A panel of at least one shard."""
        return cls(
            evaluator=evaluator,
            inputs=np.concatenate([shard.inputs for shard in shards]),
            labels=np.concatenate([shard.labels for shard in shards]),
            custodians=len(shards),
        )

    @property
    def samples(self) -> int:
        """`K`, over all custodians."""
        return len(self.labels)

    def losses(self, weights: Int32Array) -> Int64Array:
        """Loss int64[K] of each sample."""
        return self.evaluator.losses(weights, self.inputs, self.labels)

    def total(self, weights: Int32Array) -> int:
        """The summed loss; it lies far within int64."""
        return int(self.losses(weights).sum())

    def correct(self, weights: Int32Array) -> int:
        """How many samples are classified rightly."""
        return self.evaluator.correct(weights, self.inputs, self.labels)


def choose_momentum(panel: Panel, head: Int32Array, step: Int32Array) -> tuple[int, Int32Array]:
    """The quarters of the last step, and the head with them, that do best on a panel of spent shards."""
    heads = [with_momentum(head, step, quarters) for quarters in MOMENTUM_QUARTERS]
    totals = [panel.total(candidate) for candidate in heads]
    best = totals.index(min(totals))
    return MOMENTUM_QUARTERS[best], heads[best]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Game:
    """The valid updates of a round as players, each with its weighted step and what the panel found of it."""

    weights: list[int]  # `u`, with WEIGHT_SHIFT fractional bits
    scaled: Int64Array  # [n, P], `u_i * D_i`
    paired: Int64Array  # [n, K], `b`
    contributions: list[int]  # `beta`, in 2^-20 nat a sample


def play(panel: Panel, head: Int32Array, scaled: Int64Array, weights: list[int], beacon: bytes) -> Game:
    """Evaluate coalitions of weighted steps int64[n, P] and value each of them."""
    if not weights:
        nobody = np.zeros((0, panel.samples), dtype=np.int64)
        return Game(weights=[], scaled=scaled, paired=nobody, contributions=[])
    masks = coalitions(len(weights), beacon)
    losses = panel.evaluator.losses_of_steps(head, scaled, masks, WEIGHT_SHIFT, panel.inputs, panel.labels)
    paired = paired_values(losses, masks)
    contributions = [contribution(values, len(masks), panel.custodians) for values in paired]
    return Game(weights=weights, scaled=scaled, paired=paired, contributions=contributions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """The head that a round proposes, and how much better than before momentum's head it is."""

    head: Int32Array
    value: int  # `v`: loss removed on the median custodian's samples, summed over them
    significant: bool


def propose(panel: Panel, head: Int32Array, game: Game, significance_milli: int) -> Candidate:
    """The better of two ways to apply the steps that contributed: at their weight, or as their mean."""
    chosen = [i for i, value in enumerate(game.contributions) if value > 0]
    if not chosen:
        return Candidate(head=head, value=0, significant=False)
    numerator: Int64Array = game.scaled[chosen].sum(axis=0)
    weight = sum(game.weights[i] for i in chosen)
    heads = [
        add_scaled(head, numerator, WEIGHT_SHIFT),
        clamp(head + (numerator + weight // 2) // weight),
    ]
    before = panel.losses(head)
    gains = [before - panel.losses(candidate) for candidate in heads]
    values = [median_over_custodians(gain, panel.custodians) for gain in gains]
    best = values.index(max(values))
    significant = values[best] > 0 and is_significant(gains[best], significance_milli)
    return Candidate(head=heads[best], value=values[best], significant=significant)


def is_significant(gains: Int64Array, significance_milli: int) -> bool:
    """Whether the sum of paired differences int64[K] is positive and exceeds so many of its standard errors."""
    total = int(gains.sum())  # far within int64
    return total > 0 and 10**6 * total**2 > significance_milli**2 * sum_of_squares(gains)


def next_radius(panel: Panel, head: Int32Array, game: Game, radius: int, floor: int) -> int:
    """The trust radius by whether half, all or double of the mean step does best; unpaid."""
    if not game.weights:
        return radius
    mean: Int64Array = game.scaled.sum(axis=0)
    totals = [panel.total(add_scaled(head, mean, WEIGHT_SHIFT + halvings)) for halvings in (1, 0, -1)]
    changed = (radius * 2 // 3, radius, radius * 3 // 2)[totals.index(min(totals))]
    return min(max(changed, floor), RADIUS_MAX)
