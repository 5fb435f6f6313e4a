"""Home of evaluation as nodes run it: packed models over blocks of samples, on the micro-kernel."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from learning.architecture import ACTIVATION_MAX
from learning.loss_kernel import cross_entropy
from learning.microkernel import PANEL, ROWS, tile_activations, tile_sums
from learning.packing import (
    COLUMN_START,
    CUT_START,
    FAN_OUT,
    FUSED,
    PAIR_START,
    PAIRS,
    PANEL_START,
    PANELS,
    SHIFT,
    pack_models,
)

BLOCK = 48  # samples that go through all layers together, so that their activations stay in the cache
_SOURCES = ("architecture", "loss_tables", "loss_kernel", "microkernel", "packing", "kernels")

assert BLOCK % ROWS == 0, (BLOCK, ROWS)


@njit(nogil=True, error_model="numpy")
def _tile_in_chunks(
    x: Any, stride: Any, weights: Any, cuts: Any, chunks: Any, bias: Any, scratch: Any, out: Any
) -> None:
    """Sums int64[ROWS * PANEL] of one tile: int32 sums of each chunk of K, added up with the bias in int64."""
    nothing, sums = scratch[:PANEL], scratch[PANEL:]
    for row in range(ROWS):
        for column in range(PANEL):
            out[row * PANEL + column] = bias[column]
    for chunk in range(chunks):
        begin, end = cuts[chunk], cuts[chunk + 1]
        tile_sums(
            x + 4 * begin, stride, end - begin, weights + 4 * PANEL * begin, nothing.ctypes.data, sums.ctypes.data,
            4 * PANEL, 0,
        )  # fmt: skip
        for place in range(ROWS * PANEL):
            out[place] += sums[place]


@njit(nogil=True, error_model="numpy")
def _hidden_panel(
    layer: Any, panel: Any, x: Any, x_stride: Any, rows: Any, model: Any, scratch: Any, wide: Any, out: Any
) -> None:
    """Activations of one panel of a hidden layer: out int16[BLOCK, panels * PANEL] flat; x is an address."""
    weights, bias, start, cuts, chunks = model
    width, half = layer[PANELS] * PANEL, np.int64(1) << (layer[SHIFT] - 1)
    first = layer[COLUMN_START] + panel * PANEL
    own_weights = weights.ctypes.data + 4 * (layer[PAIR_START] + panel * layer[PAIRS] * PANEL)
    count = chunks[layer[PANEL_START] + panel]
    if count == FUSED:
        for row in range(0, rows, ROWS):
            tile_activations(
                x + row * x_stride, x_stride, layer[PAIRS], own_weights, start.ctypes.data + 4 * first,
                out.ctypes.data + 2 * (row * width + panel * PANEL), 2 * width, layer[SHIFT],
            )  # fmt: skip
        return
    own_cuts = cuts[layer[CUT_START] + panel * (layer[PAIRS] + 1) :]
    for row in range(0, rows, ROWS):
        own_x = x + row * x_stride
        _tile_in_chunks(own_x, x_stride, own_weights, own_cuts, count, bias[first:], scratch, wide)
        for place in range(ROWS * PANEL):
            value = min(max((wide[place] + half) >> layer[SHIFT], 0), ACTIVATION_MAX)
            out[(row + place // PANEL) * width + panel * PANEL + place % PANEL] = value


@njit(nogil=True, error_model="numpy")
def _copy_tile(sums: Any, rows: Any, columns: Any, out: Any) -> None:
    """The part of a tile's sums that is of samples and classes there are."""
    for row in range(rows):
        for column in range(columns):
            out[row, column] = sums[row * PANEL + column]


@njit(nogil=True, error_model="numpy")
def _last_panel(
    layer: Any, panel: Any, x: Any, x_stride: Any, rows: Any, model: Any, scratch: Any, wide: Any, out: Any
) -> None:
    """Logits of one panel of the last layer: out int64[>= rows, classes]; rows need not fill the last tile."""
    weights, bias, start, cuts, chunks = model
    first, count = layer[COLUMN_START] + panel * PANEL, chunks[layer[PANEL_START] + panel]
    own_weights = weights.ctypes.data + 4 * (layer[PAIR_START] + panel * layer[PAIRS] * PANEL)
    own_cuts = cuts[layer[CUT_START] + panel * (layer[PAIRS] + 1) :]
    columns = min(PANEL, layer[FAN_OUT] - panel * PANEL)
    for row in range(0, rows, ROWS):
        if count == FUSED:
            tile_sums(
                x + row * x_stride, x_stride, layer[PAIRS], own_weights, start.ctypes.data + 4 * first,
                scratch.ctypes.data + 4 * PANEL, 4 * PANEL, 0,
            )  # fmt: skip
            _copy_tile(scratch[PANEL:], min(ROWS, rows - row), columns, out[row:, panel * PANEL :])
        else:
            own_x = x + row * x_stride
            _tile_in_chunks(own_x, x_stride, own_weights, own_cuts, count, bias[first:], scratch, wide)
            _copy_tile(wide, min(ROWS, rows - row), columns, out[row:, panel * PANEL :])


@njit(nogil=True, error_model="numpy")
def _widen(inputs: Any, stride: Any, out: Any) -> None:
    """Bytes [rows, width] as int16 with `stride` values a row; in loops over whole rows only where a row is odd."""
    rows, width = inputs.shape
    if stride == width:
        values = inputs.reshape(-1)
        for place in range(values.shape[0]):
            out[place] = values[place]
        return
    for row in range(rows):
        values, own = inputs[row], out[row * stride : row * stride + width]
        for place in range(width):
            own[place] = values[place]


@njit(nogil=True, error_model="numpy")
def _forward_block(
    table: Any, inputs: Any, model: Any, front: Any, back: Any, scratch: Any, wide: Any, out: Any
) -> None:
    """Logits of up to BLOCK samples uint8[rows, width] in C order; `front` and `back` are room for activations."""
    rows, last, stride = inputs.shape[0], table.shape[0] - 1, 2 * table[0, PAIRS]
    _widen(inputs, stride, front)
    for place in range(last):
        layer = table[place]
        for panel in range(layer[PANELS]):
            _hidden_panel(layer, panel, front.ctypes.data, 2 * stride, rows, model, scratch, wide, back)
        front, back, stride = back, front, layer[PANELS] * PANEL
    for panel in range(table[last, PANELS]):
        _last_panel(table[last], panel, front.ctypes.data, 2 * stride, rows, model, scratch, wide, out)


@njit(nogil=True, error_model="numpy")
def _rooms(table: Any) -> Any:
    """Scratch of one thread: two blocks of activations, int32 sums after PANEL zeros, and int64 sums."""
    width = 2 * table[0, PAIRS]
    for place in range(table.shape[0]):
        width = max(width, table[place, PANELS] * PANEL)
    front, back = np.zeros(BLOCK * width, dtype=np.int16), np.zeros(BLOCK * width, dtype=np.int16)
    return front, back, np.zeros(PANEL + ROWS * PANEL, dtype=np.int32), np.zeros(ROWS * PANEL, dtype=np.int64)


@njit(nogil=True, error_model="numpy")
def _forward(table: Any, models: Any, place: Any, inputs: Any, out: Any) -> None:
    """Logits int64[B, classes] of one of the models, block after block."""
    front, back, scratch, wide = _rooms(table)
    weights, bias, start, cuts, chunks = models
    model = weights[place], bias[place], start[place], cuts[place], chunks[place]
    for begin in range(0, inputs.shape[0], BLOCK):
        _forward_block(table, inputs[begin : begin + BLOCK], model, front, back, scratch, wide, out[begin:])


def _compile_entries(sources: str) -> tuple[Any, Any, Any]:
    """What Python calls, compiled once a machine: numba keys its cache by a function's own file and its closure, so the
    digest of all the sources stands in the closure."""

    @njit(nogil=True, error_model="numpy", cache=True)
    def pack(table: Any, base: Any, scaled: Any, masks: Any, shift: Any, models: Any) -> str:
        """`packing.pack_models`."""
        pack_models(table, base, scaled, masks, shift, models)
        return sources

    @njit(nogil=True, error_model="numpy", cache=True)
    def forward(table: Any, models: Any, place: Any, inputs: Any, out: Any) -> str:
        """Writes the logits int64[B, classes] of model `place`, of inputs uint8[B, width] in C order."""
        _forward(table, models, place, inputs, out)
        return sources

    @njit(nogil=True, error_model="numpy", cache=True)
    def losses(logits: Any, exponent: Any, labels: Any, out: Any) -> str:
        """Writes the losses int64[B] of logits int64[B, classes]."""
        cross_entropy(logits, exponent, labels, out)
        return sources

    return pack, forward, losses


def _digest() -> str:
    folder = Path(__file__).parent
    return sha256(b"".join((folder / f"{name}.py").read_bytes() for name in _SOURCES)).hexdigest()


pack, forward, losses = _compile_entries(_digest())
