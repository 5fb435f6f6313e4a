"""Every backend gives the reference's bits, whatever the model, batch, threads and memory order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import reference
from learning.architecture import PARAMETER_MAX, Architecture
from learning.backends import step_weights
from learning.evaluation import Evaluator, InvalidSamples
from learning.initial import initial_weights
from tests.learning.models import Model, models

FAST = ["kernel", "float64"]
WIDE = Architecture(layers=(784, 256, 10))


def expected_of(model: Model) -> tuple[np.ndarray, np.ndarray, int]:
    architecture, weights, inputs, labels = model
    logits = reference.logits(architecture, weights, inputs)
    losses = reference.cross_entropy(logits, architecture.logit_exponent, labels)
    return logits, losses, int((reference.predictions(logits) == labels).sum())


def as_order(array: np.ndarray, order: str) -> np.ndarray:
    """The same values in C order, in Fortran order, or as every other row of a larger array."""
    if order == "strided":
        return np.repeat(array, 2, axis=0)[::2]
    return np.asarray(array, order=order)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", FAST)
@given(model=models(), order=st.sampled_from(["C", "F", "strided"]))
@settings(deadline=None, max_examples=60)
def test_a_fast_backend_equals_the_reference_on_every_bit(backend, threads, model, order):
    architecture, weights, inputs, labels = model
    logits, losses, correct = expected_of(model)
    evaluator, inputs = Evaluator(architecture, backend, threads), as_order(inputs, order)
    assert evaluator.logits(weights, inputs).tobytes() == logits.tobytes()
    assert evaluator.losses(weights, inputs, as_order(labels, order)).tobytes() == losses.tobytes()
    assert evaluator.correct(weights, inputs, labels) == correct


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("rows", "threads"), [(1, 1), (47, 2), (48, 1), (49, 1), (512, 2), (1024, 1), (1024, 5)])
@pytest.mark.parametrize("scale", [1, 4, 40, 1000])
def test_a_wide_model_equals_the_reference_with_few_chunks_and_with_many(backend, rows, threads, scale):
    # From weights that need one chunk of K to ones that need hundreds.
    generator = np.random.default_rng(rows)
    weights = initial_weights(WIDE, bytes(32)).astype(np.int64) * scale
    weights = np.clip(weights, -PARAMETER_MAX, PARAMETER_MAX).astype(np.int32)
    inputs = generator.integers(0, 256, (rows, 784)).astype(np.uint8)
    labels = generator.integers(0, 10, rows)
    # Some rows of every part, as the reference takes long for all of them.
    some = np.unique(np.linspace(0, rows - 1, 40).astype(int))
    logits, losses, _ = expected_of((WIDE, weights, inputs[some], labels[some]))
    prepared = Evaluator(WIDE, backend, threads).prepare(weights)
    assert prepared.logits(inputs)[some].tobytes() == logits.tobytes()
    assert prepared.losses(inputs, labels)[some].tobytes() == losses.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", [*FAST, "reference"])
@given(
    model=models(width_max=20, batch_max=70),
    members=st.integers(0, 5),
    magnitude=st.sampled_from([0, 2**10, 2**30, 2**45, 2**59 - 1]),
    shift=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    order=st.sampled_from(["C", "F"]),
)
@settings(deadline=None, max_examples=30)
def test_losses_of_steps_are_those_of_each_coalitions_own_weights(
    backend, threads, model, members, magnitude, shift, seed, order
):
    architecture, base, inputs, labels = model
    generator = np.random.default_rng(seed)
    scaled = generator.integers(-magnitude, magnitude + 1, (members, len(base)))
    masks = generator.integers(0, 2, (generator.integers(1, 40), members)).astype(np.bool_)
    expected = []
    for mask in masks:
        # In Python integers, as the protocol writes it.
        sums = [sum(int(row[k]) for row, chosen in zip(scaled, mask, strict=True) if chosen) for k in range(len(base))]
        values = [int(b) + ((total + 2 ** (shift - 1)) >> shift) for b, total in zip(base, sums, strict=True)]
        weights = np.array([min(max(value, -PARAMETER_MAX), PARAMETER_MAX) for value in values], dtype=np.int32)
        expected.append(expected_of((architecture, weights, inputs, labels))[1])
    evaluator = Evaluator(architecture, backend, threads)
    losses = evaluator.losses_of_steps(
        base, as_order(scaled, order), as_order(masks, order), shift, as_order(inputs, order), labels
    )
    assert losses.tobytes() == np.stack(expected).tobytes()


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_masks_may_be_integers_whose_bit_i_is_member_i(backend):
    architecture = Architecture(layers=(20, 9, 3))
    generator = np.random.default_rng(1)
    base = initial_weights(architecture, bytes(32))
    scaled = generator.integers(-(2**33), 2**33, (5, len(base)))
    inputs, labels = generator.integers(0, 256, (30, 20)).astype(np.uint8), generator.integers(0, 3, 30)
    masks = generator.permutation(32).tolist()
    evaluator = Evaluator(architecture, backend)
    losses = evaluator.losses_of_steps(base, scaled, masks, 16, inputs, labels)
    for row, mask in zip(losses, masks, strict=True):
        chosen = np.array([bool(mask & 1 << i) for i in range(5)])
        own = step_weights(base, scaled, chosen, 16)
        assert row.tolist() == evaluator.losses(own, inputs, labels).tolist()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("backend", FAST)
def test_losses_many_takes_a_matrix_in_any_order_or_blocks(backend, threads):
    architecture = Architecture(layers=(31, 33, 5))
    generator = np.random.default_rng(2)
    weights = generator.integers(-(2**19), 2**19, (7, architecture.parameters)).astype(np.int32)
    inputs, labels = generator.integers(0, 256, (70, 31)).astype(np.uint8), generator.integers(0, 5, 70)
    expected = np.stack([expected_of((architecture, row, inputs, labels))[1] for row in weights]).tobytes()
    evaluator = Evaluator(architecture, backend, threads)
    assert evaluator.losses_many(weights, inputs, labels).tobytes() == expected
    assert evaluator.losses_many(np.asfortranarray(weights), inputs, labels).tobytes() == expected
    blocks = (weights[first : first + 3] for first in range(0, 7, 3))
    assert evaluator.losses_many(blocks, inputs, labels).tobytes() == expected


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_no_samples_and_no_models_are_no_losses(backend):
    architecture = Architecture(layers=(6, 3))
    evaluator, weights = Evaluator(architecture, backend, 2), initial_weights(architecture, bytes(32))
    none, no_labels = np.zeros((0, 6), dtype=np.uint8), np.zeros(0, dtype=np.int64)
    some, labels = np.zeros((4, 6), dtype=np.uint8), np.zeros(4, dtype=np.int64)
    scaled = np.zeros((2, len(weights)), dtype=np.int64)
    assert evaluator.logits(weights, none).shape == (0, 3)
    assert evaluator.losses(weights, none, no_labels).shape == (0,)
    assert evaluator.correct(weights, none, no_labels) == 0
    assert evaluator.losses_many(np.zeros((0, len(weights)), dtype=np.int32), some, labels).shape == (0, 4)
    assert evaluator.losses_many(iter(()), some, labels).shape == (0, 4)
    assert evaluator.losses_of_steps(weights, scaled, [], 16, some, labels).shape == (0, 4)
    assert evaluator.losses_of_steps(weights, scaled, [1, 2], 16, none, no_labels).shape == (2, 0)


@pytest.mark.parametrize("backend", [*FAST, "reference"])
def test_samples_that_are_not_of_the_architecture_are_refused(backend):
    architecture = Architecture(layers=(6, 3))
    evaluator, weights = Evaluator(architecture, backend), initial_weights(architecture, bytes(32))
    inputs, labels = np.zeros((2, 6), dtype=np.uint8), np.zeros(2, dtype=np.int64)
    for wrong in (3, -1, 2**62):
        with pytest.raises(InvalidSamples, match="labels from"):
            evaluator.losses(weights, inputs, np.array([0, wrong]))
        with pytest.raises(InvalidSamples, match="labels from"):
            evaluator.prepare(weights).losses(inputs, np.array([0, wrong]))
    for width in (5, 7):
        with pytest.raises(InvalidSamples, match="the model takes 6"):
            evaluator.logits(weights, np.zeros((2, width), dtype=np.uint8))
    for beyond in (PARAMETER_MAX + 1, -PARAMETER_MAX - 1, -(2**31)):
        with pytest.raises(InvalidSamples, match="keep within"):
            evaluator.losses_many(np.array([weights, np.full_like(weights, beyond)]), inputs, labels)


def test_a_prepared_model_does_not_change_with_the_array_it_came_from():
    architecture = Architecture(layers=(6, 3))
    weights, inputs = initial_weights(architecture, bytes(32)), np.full((2, 6), 9, dtype=np.uint8)
    for backend in [*FAST, "reference"]:
        own = weights.copy()
        prepared = Evaluator(architecture, backend).prepare(own)
        before = prepared.logits(inputs)
        own[:] = 0
        assert prepared.logits(inputs).tolist() == before.tolist()
