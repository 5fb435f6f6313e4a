"""Home of what a backend of evaluation is, and of the two plain ones: the reference and float64 matrix products."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from learning import reference
from learning.architecture import PARAMETER_MAX, Architecture, DenseLayer

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


class Model(Protocol):
    """One model in the form in which a backend evaluates it. It is immutable: any number of threads may use it."""

    def logits(self, inputs: UInt8Array) -> Int64Array:
        """int64[B, classes] in units of 2^-logit_exponent."""
        ...

    def losses(self, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """int64[B] in 2^-20 nat."""
        ...


class Backend(Protocol):
    """One way to evaluate the models of one architecture, on the thread that asks."""

    def prepare(self, weights: Int32Array) -> Model:
        """The model of parameters int32[P]."""
        ...

    def losses_many(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """Losses int64[M, B] of the models of parameters int32[M, P]."""
        ...

    def losses_of_steps(
        self, base: Int32Array, scaled: Int64Array, masks: BoolArray, shift: int, inputs: UInt8Array, labels: Int64Array
    ) -> Int64Array:
        """Losses int64[M, B] of the models `step_weights(base, scaled, mask, shift)` for each of masks bool[M, n]."""
        ...


def step_weights(base: Int32Array, scaled: Int64Array, mask: BoolArray, shift: int) -> Int32Array:
    """A coalition's int32[P]: clamp(base + ((sum of scaled[i] where mask[i], + 2^(shift-1)) >> shift))."""
    step = reference.shift_right_rounded(scaled[mask].sum(axis=0), shift)
    weights: Int32Array = np.clip(base + step, -PARAMETER_MAX, PARAMETER_MAX).astype(np.int32)
    return weights


class PlainBackend:
    """Evaluation straight from the definition; `PlainModel` says how."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture

    def prepare(self, weights: Int32Array) -> PlainModel:
        """The model of parameters int32[P]."""
        return PlainModel(self._architecture, weights)

    def losses_many(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """One model after the other."""
        losses = np.empty((len(weights), len(inputs)), dtype=np.int64)
        for row, own in enumerate(weights):
            losses[row] = self.prepare(own).losses(inputs, labels)
        return losses

    def losses_of_steps(
        self, base: Int32Array, scaled: Int64Array, masks: BoolArray, shift: int, inputs: UInt8Array, labels: Int64Array
    ) -> Int64Array:
        """One coalition after the other."""
        losses = np.empty((len(masks), len(inputs)), dtype=np.int64)
        for row, mask in enumerate(masks):
            losses[row] = self.prepare(step_weights(base, scaled, mask, shift)).losses(inputs, labels)
        return losses


class PlainModel:
    """The definition itself: int64 throughout."""

    def __init__(self, architecture: Architecture, weights: Int32Array) -> None:
        self._architecture = architecture
        self._weights = weights.copy()

    def logits(self, inputs: UInt8Array) -> Int64Array:
        """int64[B, classes]."""
        return reference.logits(self._architecture, self._weights, inputs)

    def losses(self, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """int64[B] in 2^-20 nat."""
        return reference.cross_entropy(self.logits(inputs), self._architecture.logit_exponent, labels)


class Float64Backend(PlainBackend):
    """The definition with its products by float64 GEMM: exact, as every partial sum is an integer below 2^47 < 2^53."""

    def prepare(self, weights: Int32Array) -> Float64Model:
        """The model of parameters int32[P]."""
        return Float64Model(self._architecture, weights)


class Float64Model(PlainModel):
    """A model whose weights are float64 matrices of integers."""

    def __init__(self, architecture: Architecture, weights: Int32Array) -> None:
        super().__init__(architecture, weights)
        self._layers = [(layer, *_float64_parts(layer, weights)) for layer in architecture.dense_layers]

    def logits(self, inputs: UInt8Array) -> Int64Array:
        """int64[B, classes]."""
        activations = inputs.astype(np.int64)
        for layer, matrix, bias in self._layers:
            # The sums become integers before anything else happens to them, so -0.0 goes no further.
            sums = (activations.astype(np.float64) @ matrix).astype(np.int64) + bias
            activations = reference.rescale_relu(layer, sums) if layer.shift else sums
        return activations


def _float64_parts(layer: DenseLayer, weights: Int32Array) -> tuple[NDArray[np.float64], Int64Array]:
    """Evaluation weights float64[fan_in, fan_out] and biases int64[fan_out] of one layer."""
    matrix = reference.evaluation_weights(weights[layer.weight_start : layer.bias_start])
    bias = reference.evaluation_bias(layer, weights[layer.bias_start : layer.bias_start + layer.fan_out])
    return matrix.reshape(layer.fan_out, layer.fan_in).T.astype(np.float64), bias
