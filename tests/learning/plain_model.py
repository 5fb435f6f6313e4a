"""Home of the plain model: a perceptron's losses and answers over Python integers, sample after sample.

Only the log-sum-exp is taken from `learning.reference`, as the tables that define it stand there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from learning.reference import cross_entropy

WEIGHT_EXPONENT = 12
PARAMETER_EXPONENT = 20
INT16_MAX = 32767


@dataclass(frozen=True)
class Sample:
    inputs: list[int]
    label: int


def rescale(value: int, shift: int) -> int:
    return (value + (1 << (shift - 1))) >> shift


def saturate(value: int) -> int:
    return min(max(value, -INT16_MAX), INT16_MAX)


class PlainModel:
    """A model of the architecture that this JSON says; weights are lists of integers at 2^-20."""

    def __init__(self, architecture_json: bytes) -> None:
        fields = json.loads(architecture_json)
        self.json = architecture_json
        self.sizes: list[int] = fields["layers"]
        self.input_exponent: int = fields["input_exponent"]
        self.activation_exponent: int = fields["activation_exponent"]
        self.layers = len(self.sizes) - 1
        self.parameters = sum((self.sizes[i] + 1) * self.sizes[i + 1] for i in range(self.layers))

    def logits(self, weights: list[int], inputs: list[int]) -> tuple[list[int], int]:
        """The last layer's sums, and the exponent of their scale."""
        values, exponent, place = inputs, self.input_exponent, 0
        for layer in range(self.layers):
            width, outputs = self.sizes[layer], self.sizes[layer + 1]
            biases = weights[place + width * outputs : place + (width + 1) * outputs]
            scale = exponent + WEIGHT_EXPONENT
            sums = []
            for o in range(outputs):
                row = weights[place + o * width : place + (o + 1) * width]
                used = [saturate(rescale(w, PARAMETER_EXPONENT - WEIGHT_EXPONENT)) for w in row]
                total = sum(value * w for value, w in zip(values, used, strict=True))
                sums.append(total + self.bias(biases[o], scale))
            place += (width + 1) * outputs
            if layer == self.layers - 1:
                return sums, scale
            shift = scale - self.activation_exponent
            values = [max(saturate(rescale(x, shift)), 0) for x in sums]
            exponent = self.activation_exponent
        raise AssertionError("a perceptron has a last layer")

    @staticmethod
    def bias(value: int, scale: int) -> int:
        """A bias at 2^-20, shifted to the accumulator's scale."""
        if scale >= PARAMETER_EXPONENT:
            return value << (scale - PARAMETER_EXPONENT)
        return rescale(value, PARAMETER_EXPONENT - scale)

    def losses(self, weights: list[int], samples: list[Sample]) -> list[int]:
        losses = []
        for sample in samples:
            sums, scale = self.logits(weights, sample.inputs)
            row, label = np.array([sums], dtype=np.int64), np.array([sample.label], dtype=np.int64)
            losses.append(int(cross_entropy(row, scale, label)[0]))
        return losses

    def correct(self, weights: list[int], samples: list[Sample]) -> int:
        return sum(self.answer(weights, sample.inputs) == sample.label for sample in samples)

    def answer(self, weights: list[int], inputs: list[int]) -> int:
        sums, _ = self.logits(weights, inputs)
        return sums.index(max(sums))
