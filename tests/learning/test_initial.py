"""A seed stands for the same initial weights on every machine."""

from __future__ import annotations

from hashlib import sha256
from math import isqrt

import numpy as np
import pytest

from learning.architecture import Architecture
from learning.initial import initial_weights

SEED = bytes(range(32))


def test_initial_weights_are_the_pinned_ones():
    weights = initial_weights(Architecture(layers=(64, 32, 10), input_exponent=4), SEED)
    assert weights[:4].tolist() == [-5807, -88427, -75346, 85719]
    assert (
        sha256(weights.astype("<i4").tobytes()).hexdigest()
        == "47be7344572df2a8fa287d2330437ae8dca3c9356b39c69ce5bc7fcf70a44380"
    )


def test_initial_weights_are_what_the_docstring_says():
    architecture = Architecture(layers=(5, 3, 2))
    expected: list[int] = []
    for place, (fan_in, fan_out) in enumerate([(5, 3), (3, 2)]):
        bound = isqrt(2**40 // fan_in)
        for value in range(fan_in * fan_out):
            counter, word = divmod(value, 4)
            block = sha256(b"lyceum/initial-weights/1\0" + SEED + place.to_bytes(4, "big") + counter.to_bytes(8, "big"))
            high = int.from_bytes(block.digest()[8 * word : 8 * word + 8], "little") >> 22
            expected.append((high * (2 * bound + 1) >> 42) - bound)
        expected += [0] * fan_out
    assert initial_weights(architecture, SEED).tolist() == expected


@pytest.mark.parametrize("widths", [(1, 2), (784, 256, 10)])
def test_initial_weights_fill_their_interval_and_no_more(widths):
    architecture = Architecture(layers=widths)
    weights = initial_weights(architecture, SEED)
    for layer in architecture.dense_layers:
        bound = isqrt(2**40 // layer.fan_in)
        drawn = weights[layer.weight_start : layer.bias_start].astype(np.int64)
        assert np.abs(drawn).max() <= bound
        assert not weights[layer.bias_start : layer.bias_start + layer.fan_out].any()
        if len(drawn) > 1000:
            assert abs(drawn.mean()) < 5 * bound / np.sqrt(3 * len(drawn))
            assert abs(drawn.std() / (bound / np.sqrt(3)) - 1) < 0.05


def test_another_seed_gives_other_weights():
    architecture = Architecture(layers=(64, 32, 10))
    others = [initial_weights(architecture, sha256(bytes([seed])).digest()).tobytes() for seed in range(8)]
    assert len(set(others)) == 8
