"""Home of packing: parameters, or a base and steps to be added, become the int16 panels that the micro-kernel reads.

A panel holds PANEL columns of one layer as (pairs of K, PANEL, 2) int16, zero where K is odd or columns are missing.
Its int32 sums cannot overflow: from the actual weights K is cut into chunks with max|a| sum|w| < 2^31 in every column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learning.architecture import PARAMETER_EXPONENT, PARAMETER_MAX, WEIGHT_EXPONENT, WEIGHT_MAX, Architecture
from learning.microkernel import PANEL

# Columns of the table of layers that the kernels walk along.
FAN_IN, FAN_OUT, PAIRS, PANELS, INPUT_MAX, SHIFT, BIAS_SHIFT = range(7)
WEIGHT_START, BIAS_START, PANEL_START, COLUMN_START, PAIR_START, CUT_START = range(7, 13)
FIELDS = 13

FUSED = 0  # in place of a number of chunks: one chunk, and bias and rounding fit into int32 with it
_INT32_END = 2**31
_WEIGHT_SHIFT = PARAMETER_EXPONENT - WEIGHT_EXPONENT
_WEIGHT_HALF = 1 << (_WEIGHT_SHIFT - 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Where everything of a packed model lies."""

    table: NDArray[np.int64]  # [layers, FIELDS]
    classes: int
    panels: int  # all layers'
    columns: int  # all panels'
    pairs: int  # pairs of columns' weights, all panels'
    cuts: int

    @property
    def model_bytes(self) -> int:
        """Of the weights of one packed model."""
        return 4 * self.pairs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedModels:
    """G models in the form of the micro-kernel; each array's first axis is the model."""

    weights: NDArray[np.int32]  # [G, pairs]: two int16 each
    bias: NDArray[np.int64]  # [G, columns] at the accumulator's scale
    start: NDArray[np.int32]  # [G, columns]: bias and rounding, of panels that are FUSED
    cuts: NDArray[np.int64]  # [G, cuts]: of each panel, where its chunks begin and the last one ends, in pairs
    chunks: NDArray[np.int64]  # [G, panels]: how many chunks, or FUSED

    @property
    def arrays(self) -> tuple[Any, ...]:
        """As the kernels take them."""
        return self.weights, self.bias, self.start, self.cuts, self.chunks


def layout_of(architecture: Architecture) -> Layout:
    """The layout of all packed models of an architecture."""
    table = np.zeros((len(architecture.dense_layers), FIELDS), dtype=np.int64)
    panels = pairs = cuts = 0
    for row, layer in zip(table, architecture.dense_layers, strict=True):
        own_pairs, own_panels = -(-layer.fan_in // 2), -(-layer.fan_out // PANEL)
        row[[FAN_IN, FAN_OUT, PAIRS, PANELS]] = layer.fan_in, layer.fan_out, own_pairs, own_panels
        row[[INPUT_MAX, SHIFT, BIAS_SHIFT]] = layer.input_max, layer.shift, layer.bias_shift
        row[[WEIGHT_START, BIAS_START]] = layer.weight_start, layer.bias_start
        row[[PANEL_START, COLUMN_START, PAIR_START, CUT_START]] = panels, panels * PANEL, pairs, cuts
        panels += own_panels
        pairs += own_panels * own_pairs * PANEL
        cuts += own_panels * (own_pairs + 1)
    return Layout(
        table=table, classes=architecture.classes, panels=panels, columns=panels * PANEL, pairs=pairs, cuts=cuts
    )


def empty_models(layout: Layout, count: int) -> PackedModels:
    """Room for `count` models. The padding is zero now and is never written."""
    return PackedModels(
        weights=np.zeros((count, layout.pairs), dtype=np.int32),
        bias=np.zeros((count, layout.columns), dtype=np.int64),
        start=np.zeros((count, layout.columns), dtype=np.int32),
        cuts=np.zeros((count, layout.cuts), dtype=np.int64),
        chunks=np.zeros((count, layout.panels), dtype=np.int64),
    )


@njit(nogil=True, error_model="numpy")
def _parameter(base: Any, total: Any, shift: Any) -> Any:
    """A parameter at 2^-20 of its base and the scaled steps' total."""
    value = base + ((total + (1 << (shift - 1))) >> shift)
    return min(max(value, -PARAMETER_MAX), PARAMETER_MAX)


@njit(nogil=True, error_model="numpy")
def _pack_row(base: Any, total: Any, shift: Any, halves: Any) -> Any:
    """Writes the evaluation weights int16 of one column of a layer to `halves`; returns the sum of their magnitudes."""
    half, magnitude = np.int64(1) << (shift - 1), np.int64(0)
    for k in range(base.shape[0]):
        value = base[k] + ((total[k] + half) >> shift)
        value = min(max(value, -PARAMETER_MAX), PARAMETER_MAX)
        weight = min(max((value + _WEIGHT_HALF) >> _WEIGHT_SHIFT, -WEIGHT_MAX), WEIGHT_MAX)
        halves[k] = weight
        magnitude += abs(weight)
    return magnitude


@njit(nogil=True, error_model="numpy")
def _add_steps(total: Any, scaled: Any, first: Any, before: Any, mask: Any) -> None:
    """Turns the total of the steps in `before` into that of the steps in `mask`, for parameters from `first` on."""
    for member in range(mask.shape[0]):
        if mask[member] != before[member]:
            step = scaled[member, first : first + total.shape[0]]
            if mask[member]:
                for k in range(total.shape[0]):
                    total[k] += step[k]
            else:
                for k in range(total.shape[0]):
                    total[k] -= step[k]


@njit(nogil=True, error_model="numpy")
def _bias(layer: Any, column: Any, base: Any, scaled: Any, mask: Any, shift: Any) -> Any:
    """The bias of a column at the accumulator's scale."""
    place, total = layer[BIAS_START] + column, np.int64(0)
    for member in range(mask.shape[0]):
        if mask[member]:
            total += scaled[member, place]
    value, left = _parameter(np.int64(base[place]), total, shift), layer[BIAS_SHIFT]
    if left >= 0:
        return value << left
    return (value + (np.int64(1) << (-left - 1))) >> -left


@njit(nogil=True, error_model="numpy")
def _cut(layer: Any, weights: Any, cuts: Any) -> Any:
    """Cuts a panel, given as its pairs int32[pairs * PANEL], into chunks that cannot overflow; returns how many."""
    halves, sums = weights.view(np.int16), np.zeros(PANEL, dtype=np.int64)
    count, limit = 0, (_INT32_END - 1) // layer[INPUT_MAX]
    cuts[0] = 0
    for pair in range(layer[PAIRS]):
        highest = np.int64(0)
        for column in range(PANEL):
            place = 2 * (pair * PANEL + column)
            sums[column] += abs(np.int64(halves[place])) + abs(np.int64(halves[place + 1]))
            highest = max(highest, sums[column])
        if highest > limit:
            count += 1
            cuts[count] = pair
            for column in range(PANEL):
                place = 2 * (pair * PANEL + column)
                sums[column] = abs(np.int64(halves[place])) + abs(np.int64(halves[place + 1]))
    cuts[count + 1] = layer[PAIRS]
    return count + 1


@njit(nogil=True, error_model="numpy")
def _finish_panel(layer: Any, magnitudes: Any, bias: Any, start: Any, weights: Any, cuts: Any) -> Any:
    """From each column's sum of magnitudes, how a panel's sums are taken: returns its number of chunks, or FUSED."""
    half = np.int64(1) << (layer[SHIFT] - 1) if layer[SHIFT] else np.int64(0)
    fused = True
    for column in range(PANEL):
        fused = fused and magnitudes[column] * layer[INPUT_MAX] + abs(bias[column]) + half < _INT32_END
    if fused:
        for column in range(PANEL):
            start[column] = bias[column] + half
        return FUSED
    return _cut(layer, weights, cuts)


@njit(nogil=True, error_model="numpy")
def pack_models(table: Any, base: Any, scaled: Any, masks: Any, shift: Any, models: Any) -> None:
    """Packs the models of coalitions: base int32[P], scaled int64[n, P], masks bool[G, n], PackedModels.arrays.

    Column by column over all models, so that a column's steps are read from memory once, and each coalition's total is
    made from the one before by what differs.
    """
    weights, bias, start, cuts, chunks = models
    none = np.zeros(masks.shape[1], dtype=np.bool_)
    magnitudes = np.zeros((masks.shape[0], PANEL), dtype=np.int64)
    for place in range(table.shape[0]):
        layer = table[place]
        total = np.zeros(layer[FAN_IN], dtype=np.int64)
        row = np.zeros(layer[PAIRS], dtype=np.int32)
        for panel in range(layer[PANELS]):
            first_pair = layer[PAIR_START] + panel * layer[PAIRS] * PANEL
            magnitudes[:] = 0
            for offset in range(min(PANEL, layer[FAN_OUT] - panel * PANEL)):
                column = panel * PANEL + offset
                first = layer[WEIGHT_START] + column * layer[FAN_IN]
                total[:] = 0
                for model in range(masks.shape[0]):
                    _add_steps(total, scaled, first, none if model == 0 else masks[model - 1], masks[model])
                    own_base = base[first : first + layer[FAN_IN]]
                    magnitudes[model, offset] = _pack_row(own_base, total, shift, row.view(np.int16))
                    for pair in range(layer[PAIRS]):
                        weights[model, first_pair + pair * PANEL + offset] = row[pair]
                    bias[model, layer[COLUMN_START] + column] = _bias(layer, column, base, scaled, masks[model], shift)
            for model in range(masks.shape[0]):
                columns = slice(layer[COLUMN_START] + panel * PANEL, layer[COLUMN_START] + (panel + 1) * PANEL)
                first_cut = layer[CUT_START] + panel * (layer[PAIRS] + 1)
                chunks[model, layer[PANEL_START] + panel] = _finish_panel(
                    layer,
                    magnitudes[model],
                    bias[model, columns],
                    start[model, columns],
                    weights[model, first_pair : first_pair + layer[PAIRS] * PANEL],
                    cuts[model, first_cut : first_cut + layer[PAIRS] + 1],
                )
