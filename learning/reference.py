"""Home of the arithmetic of evaluation as it is defined: plain int64, meant to be read; every backend must equal it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learning.architecture import (
    ACTIVATION_MAX,
    PARAMETER_EXPONENT,
    WEIGHT_EXPONENT,
    WEIGHT_MAX,
    Architecture,
    DenseLayer,
)
from learning.loss_tables import (
    DIFFERENCE_EXPONENT,
    DIFFERENCE_MAX,
    LN_2,
    LOG2_E,
    LOG2_E_EXPONENT,
    LOGARITHM_BITS,
    LOGARITHMS,
    LOSS_EXPONENT,
    LOSS_MAX,
    POWER_BITS,
    POWERS,
    VALUE_EXPONENT,
)

Int64Array = NDArray[np.int64]


def shift_right_rounded(values: Int64Array, shift: int) -> Int64Array:
    """(x + 2^(s-1)) >> s: to nearest, halves upwards; s >= 1."""
    return (values + (1 << (shift - 1))) >> shift


def evaluation_weights(parameters: NDArray[np.int32]) -> Int64Array:
    """Parameters at 2^-20 as weights at 2^-12: rounded, then saturated."""
    rounded = shift_right_rounded(parameters.astype(np.int64), PARAMETER_EXPONENT - WEIGHT_EXPONENT)
    return np.clip(rounded, -WEIGHT_MAX, WEIGHT_MAX)


def evaluation_bias(layer: DenseLayer, parameters: NDArray[np.int32]) -> Int64Array:
    """Biases at 2^-20, at the scale of the layer's accumulator: not coarsened unless that scale is coarser."""
    bias = parameters.astype(np.int64)
    if layer.bias_shift >= 0:
        return bias << layer.bias_shift
    return shift_right_rounded(bias, -layer.bias_shift)


def dense(layer: DenseLayer, parameters: NDArray[np.int32], activations: Int64Array) -> Int64Array:
    """The sums int64[B, fan_out] of one layer, at its accumulator's scale, of activations int64[B, fan_in]."""
    matrix = evaluation_weights(parameters[layer.weight_start : layer.bias_start])
    bias = evaluation_bias(layer, parameters[layer.bias_start : layer.bias_start + layer.fan_out])
    sums: Int64Array = activations @ matrix.reshape(layer.fan_out, layer.fan_in).T + bias
    return sums


def rescale_relu(layer: DenseLayer, sums: Int64Array) -> Int64Array:
    """Sums at the next layer's scale, saturated to int16 (without -32768), negative ones zero."""
    rescaled = np.clip(shift_right_rounded(sums, layer.shift), -ACTIVATION_MAX, ACTIVATION_MAX)
    return np.maximum(rescaled, 0)


def logits(architecture: Architecture, parameters: NDArray[np.int32], inputs: NDArray[np.uint8]) -> Int64Array:
    """int64[B, classes] in units of 2^-logit_exponent, of inputs uint8[B, input_width] under parameters int32[P]."""
    *hidden, last = architecture.dense_layers
    activations = inputs.astype(np.int64)
    for layer in hidden:
        activations = rescale_relu(layer, dense(layer, parameters, activations))
    return dense(last, parameters, activations)


def cross_entropy(logits: Int64Array, exponent: int, labels: Int64Array) -> Int64Array:
    """logsumexp(z) - z[y] of each row z of logits int64[B, C] at 2^-exponent: int64[B] in 2^-20 nat, at most 2^25.

    Within LOSS_ERROR_MAX of the true value; `learning.loss_tables` has the proof.
    """
    differences = logits.max(axis=1, keepdims=True) - logits
    differences = np.minimum(differences << (DIFFERENCE_EXPONENT - exponent), DIFFERENCE_MAX)
    logarithm = _logarithm(_exponential(differences).sum(axis=1))
    of_label = differences[np.arange(len(labels)), labels] << (VALUE_EXPONENT - DIFFERENCE_EXPONENT)
    losses = shift_right_rounded(logarithm + of_label, VALUE_EXPONENT - LOSS_EXPONENT)
    saturated: Int64Array = np.minimum(losses, LOSS_MAX)
    return saturated


def predictions(logits: Int64Array) -> Int64Array:
    """The class int64[B] of the highest logit in each row, of several the lowest class."""
    best: Int64Array = logits.argmax(axis=1)
    return best


def _exponential(differences: Int64Array) -> Int64Array:
    """e^-d at 2^-40 of d at 2^-26, as 2^-(whole + fraction) with the fraction's power interpolated."""
    base_two = shift_right_rounded(differences * LOG2_E, LOG2_E_EXPONENT)
    whole, fraction = base_two >> DIFFERENCE_EXPONENT, base_two & (2**DIFFERENCE_EXPONENT - 1)
    step_bits = DIFFERENCE_EXPONENT - POWER_BITS
    place, along = fraction >> step_bits, fraction & (2**step_bits - 1)
    power = POWERS[place] - (((POWERS[place] - POWERS[place + 1]) * along) >> step_bits)
    shifted: Int64Array = power >> whole
    return shifted


def _logarithm(values: Int64Array) -> Int64Array:
    """ln(v) at 2^-40 of v from 1 to 4,096 at 2^-40: v = 2^whole * (1 + x), with ln(1 + x) interpolated."""
    whole = np.array([int(value).bit_length() - 1 - VALUE_EXPONENT for value in values], dtype=np.int64)
    mantissa = values << (12 - whole)  # at 2^-52
    fraction = mantissa - (1 << (VALUE_EXPONENT + 12))
    place = fraction >> (VALUE_EXPONENT + 12 - LOGARITHM_BITS)
    along = (fraction >> 21) & (2**20 - 1)
    of_fraction = LOGARITHMS[place] + (((LOGARITHMS[place + 1] - LOGARITHMS[place]) * along) >> 20)
    logarithms: Int64Array = of_fraction + whole * LN_2
    return logarithms
