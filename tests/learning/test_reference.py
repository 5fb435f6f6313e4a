"""The reference is the arithmetic of the protocol, and its loss is within the stated error of the true one."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from learning import loss_tables, reference
from learning.architecture import Architecture
from tests.learning.models import models
from tests.learning.plain_model import PlainModel

VECTORS = Path(__file__).parents[1] / "vectors" / "evaluation.json"


def true_losses(logits: np.ndarray, exponent: int, labels: np.ndarray) -> np.ndarray:
    """float64 losses in 2^-20 nat; its own error is some 2^-50 of the largest term."""
    values = (logits.max(axis=1, keepdims=True) - logits) / 2.0**exponent
    return (np.log(np.exp(-values).sum(axis=1)) + values[np.arange(len(labels)), labels]) * 2**20


def assert_close(logits: np.ndarray, exponent: int, labels: np.ndarray) -> None:
    losses = reference.cross_entropy(logits, exponent, labels)
    expected = np.minimum(true_losses(logits, exponent, labels), loss_tables.LOSS_MAX)
    assert np.abs(losses - expected).max() <= loss_tables.LOSS_ERROR_MAX
    assert losses.min() >= 0
    assert losses.max() <= loss_tables.LOSS_MAX


def test_tables_are_the_correctly_rounded_ones():
    with localcontext() as context:
        context.prec = 50
        scale, steps = 2**40, [Decimal(i) for i in range(2049)]
        powers = [int((Decimal(2) ** (-step / 1024) * scale).to_integral_value()) for step in steps[:1025]]
        logarithms = [int(((1 + step / 2048).ln() * scale).to_integral_value()) for step in steps]
        log2_e = int((2**31 / Decimal(2).ln()).to_integral_value())
    assert loss_tables.POWERS.tolist() == powers
    assert loss_tables.LOGARITHMS.tolist() == logarithms
    assert log2_e == loss_tables.LOG2_E
    assert logarithms[-1] == loss_tables.LN_2
    assert loss_tables.digest(loss_tables.POWERS, loss_tables.LOGARITHMS) == loss_tables.TABLES_SHA256


@pytest.mark.parametrize("exponent", [12, 16, 20, 21, 26])
def test_loss_of_two_classes_is_right_over_its_whole_range(exponent):
    # Differences from 0 to beyond where the loss saturates, on a grid that meets every entry of both tables.
    differences = np.unique(np.linspace(0, 33 << exponent, 40_000).astype(np.int64))
    logits = np.stack([np.zeros_like(differences), differences], axis=1) - (1 << 46)
    for label in (0, 1):
        assert_close(logits, exponent, np.full(len(logits), label))


@pytest.mark.parametrize("classes", [2, 3, 10, 257, 4096])
@pytest.mark.parametrize("spread", [0.0, 0.001, 0.1, 1.0, 5.0, 40.0, 2.0**21])
def test_loss_of_many_classes_is_right_whatever_their_spread(classes, spread):
    generator = np.random.default_rng(classes)
    logits = generator.normal(0, spread * 2**21, (2**17 // classes, classes)).round().astype(np.int64)
    logits = np.clip(logits, -(2**47) + 1, 2**47 - 1)
    assert_close(logits, 21, generator.integers(0, classes, len(logits)))


def test_loss_saturates_at_32_nat_and_not_before():
    logits = np.array([[0, 32 * 2**20], [0, 32 * 2**20 - 1], [0, 2**47 - 1], [-(2**47) + 1, 2**47 - 1]])
    losses = reference.cross_entropy(logits, 20, np.zeros(4, dtype=np.int64))
    assert losses.tolist() == [2**25, 2**25 - 1, 2**25, 2**25]


def test_loss_never_falls_as_the_label_gets_less_likely():
    differences = np.arange(0, 33 << 12)
    logits = np.stack([-differences, np.zeros_like(differences)], axis=1)
    assert (np.diff(reference.cross_entropy(logits, 12, np.zeros(len(logits), dtype=np.int64))) >= 0).all()


def test_of_equal_logits_the_lowest_class_is_predicted():
    assert reference.predictions(np.array([[1, 7, 7], [5, 5, 5], [-3, -4, -3]])).tolist() == [1, 0, 0]


def test_weights_round_halves_up_and_saturate():
    parameters = np.array([127, 128, -128, -129, 383, 384, 2**23 - 1, -(2**23) + 1, 32767 * 256 + 127], dtype=np.int32)
    assert reference.evaluation_weights(parameters).tolist() == [0, 1, 0, -1, 1, 2, 32767, -32767, 32767]


def test_biases_are_shifted_and_rounded_only_where_the_accumulator_is_coarser():
    parameters = np.array([7, 8, -8, -9, 2**23 - 1, -(2**23) + 1], dtype=np.int32)
    coarse, fine = Architecture(layers=(1, 6, 2), input_exponent=4).dense_layers
    assert reference.evaluation_bias(coarse, parameters).tolist() == [0, 1, 0, -1, 2**19, -(2**19)]
    assert reference.evaluation_bias(fine, parameters).tolist() == [2 * int(value) for value in parameters]


@given(models(width_max=9, batch_max=5))
@settings(deadline=None, max_examples=100)
def test_logits_are_those_of_python_integers(model):
    architecture, weights, inputs, _ = model
    plain = PlainModel(architecture.to_json())
    expected = [plain.logits(weights.tolist(), row)[0] for row in inputs.tolist()]
    assert reference.logits(architecture, weights, inputs).tolist() == expected


def test_the_reference_gives_the_published_vectors():
    for vector in json.loads(VECTORS.read_text()):
        architecture = Architecture.from_json(vector["architecture"].encode())
        weights = np.array(vector["weights"], dtype=np.int32)
        logits = reference.logits(architecture, weights, np.array(vector["inputs"], dtype=np.uint8))
        labels = np.array(vector["labels"], dtype=np.int64)
        assert logits.tolist() == vector["logits"]
        assert reference.cross_entropy(logits, architecture.logit_exponent, labels).tolist() == vector["losses"]
        assert reference.predictions(logits).tolist() == vector["predictions"]
