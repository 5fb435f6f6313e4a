"""Which head a round proposes, and when it is more than chance, on a model simple enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from learning.judging import Game, Panel, choose_momentum, is_significant, next_radius, play, propose
from learning.shards import Shard
from tests.learning.rounds import BEACON

ONE = 2**16  # the weight of a whole share


class Distance:
    """The model is one number; its loss on a sample is how far it lies from the sample's label."""

    def losses(self, weights, inputs, labels):
        return np.abs(int(weights[0]) - labels)

    def correct(self, weights, inputs, labels):
        return int((self.losses(weights, inputs, labels) == 0).sum())

    def losses_of_steps(self, base, scaled, masks, shift, inputs, labels):
        moved = [base + ((scaled[mask].sum(axis=0) + (1 << (shift - 1))) >> shift) for mask in masks]
        return np.stack([self.losses(weights, inputs, labels) for weights in moved])


def panel(*shards: list[int]) -> Panel:
    """One shard a custodian, with these labels."""
    return Panel.of(
        Distance(),
        [
            Shard(inputs=np.zeros((len(labels), 1), np.uint8), labels=np.array(labels, dtype=np.int64))
            for labels in shards
        ],
    )


def at(value: int) -> np.ndarray:
    return np.array([value], dtype=np.int32)


def game(steps: list[int], weights: list[int], contributions: list[int]) -> Game:
    scaled = np.array([[step * weight] for step, weight in zip(steps, weights, strict=True)], dtype=np.int64)
    nothing = np.zeros((len(steps), 1), dtype=np.int64)
    return Game(weights=weights, scaled=scaled, paired=nothing, contributions=contributions)


def test_momentum_is_what_does_best_and_of_equals_the_least():
    assert choose_momentum(panel([130]), at(100), at(20)) == (6, at(130))
    assert choose_momentum(panel([121]), at(100), at(20)) == (4, at(120))
    assert choose_momentum(panel([50]), at(100), at(20)) == (0, at(100))
    assert choose_momentum(panel([115]), at(100), at(20)) == (2, at(110))  # 110 and 120 are as near
    assert choose_momentum(panel([115]), at(100), at(0)) == (0, at(100))


def test_in_the_game_everyone_is_valued_by_the_median_custodian():
    judged = play(
        panel([200, 200], [200, 200], [0, 0]), at(100), np.array([[10 * ONE], [-4 * ONE]]), [ONE, ONE], BEACON
    )
    assert judged.contributions == [10, -4]
    assert judged.paired.tolist() == [[20, 20, 20, 20, -20, -20], [-8, -8, -8, -8, 8, 8]]


def test_steps_that_contributed_are_taken_at_their_weight_or_as_their_mean():
    one_quarter = game([40, -9, 60], [ONE // 4, ONE // 2, ONE // 4], [1, -1, 1])
    assert propose(panel([125, 125]), at(100), one_quarter, 1000).head == at(125)  # at their weight: 40/4 + 60/4
    assert propose(panel([150, 150]), at(100), one_quarter, 1000).head == at(150)  # their mean
    candidate = propose(panel([150, 150]), at(100), one_quarter, 1000)
    assert (candidate.value, candidate.significant) == (100, True)


def test_of_equally_good_candidates_the_steps_at_their_weight_are_taken():
    half = game([20], [ONE // 2], [1])
    assert propose(panel([115]), at(100), half, 0).head == at(110)  # as near as 120


def test_the_mean_is_rounded_to_the_nearest_halves_upwards():
    weights = [ONE // 4, ONE // 4]
    for steps, mean in [((3, 4), 4), ((-3, -4), -3), ((1, 1), 1)]:
        assert propose(panel([100 + 10 * mean]), at(100), game(list(steps), weights, [1, 1]), 0).head == at(100 + mean)


def test_an_update_that_contributed_nothing_does_not_weigh_on_the_mean():
    idle = game([40, 0], [ONE // 4, ONE // 4], [1, 0])
    assert propose(panel([140]), at(100), idle, 0).head == at(140)


def test_without_contributions_nothing_is_proposed():
    candidate = propose(panel([140]), at(100), game([40, 5], [ONE, ONE], [0, -1]), 0)
    assert (candidate.head, candidate.value, candidate.significant) == (at(100), 0, False)


def test_a_gain_on_average_that_the_median_custodian_does_not_see_is_not_significant():
    step = game([40], [ONE], [1])
    seen = propose(panel([140, 140], [140, 140], [0, 0]), at(100), step, 0)
    assert (seen.value, seen.significant) == (80, True)
    unseen = propose(panel([140, 140, 140, 140], [120, 120, 120, 120]), at(100), step, 0)
    assert (unseen.value, unseen.significant) == (0, False)


def test_significance_is_more_than_so_many_standard_errors():
    gains = np.full(4, 3)  # 12^2 is 4 times 4 * 3^2: two standard errors
    assert is_significant(gains, 1999)
    assert not is_significant(gains, 2000)
    assert not is_significant(-gains, 0)
    assert not is_significant(np.array([5, -5]), 0)
    assert is_significant(np.full(2**16, 2**25, dtype=np.int64), 255_999)
    assert not is_significant(np.full(2**16, 2**25, dtype=np.int64), 256_000)


@pytest.mark.parametrize(("label", "radius"), [(105, 60), (112, 90), (118, 135), (107, 60), (115, 90)])
def test_the_radius_follows_the_best_of_half_all_and_double(label, radius):
    # The mean step leads to 105, 110 and 120; 115 is as near to two of them, and the earlier counts.
    assert next_radius(panel([label]), at(100), game([10], [ONE], [1]), 90, 1) == radius
