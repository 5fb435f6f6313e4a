"""Home of the int16 micro-kernel: a tile of sums of products, as vector IR that becomes multiply-add instructions.

Pairs of int16 are sign-extended, multiplied and added into int32 lanes. In this order (extend, multiply, then add even
and odd products) LLVM makes it vpmaddwd or vpdpwssd on x86, smull and addp on Arm; shuffling first hides it from LLVM.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import config, types
from numba.extending import intrinsic

from learning.architecture import ACTIVATION_MAX


def _features() -> str:
    """What numba compiles for: as it was told, or what LLVM finds here, which on some systems is nothing."""
    if config.CPU_FEATURES is not None:
        return str(config.CPU_FEATURES)
    try:
        return str(llvmlite.binding.get_host_cpu_features().flatten())
    except RuntimeError:
        return ""


def _lanes_and_rows() -> tuple[int, int]:
    """int32 lanes of a vector, and rows of a tile, that keep a tile of two vectors a row in the registers there are."""
    enabled = _features().split(",")
    if "+avx512bw" in enabled:
        return 16, 8
    return (8, 6) if "+avx2" in enabled else (4, 4)


VECTORS = 2
LANES, ROWS = _lanes_and_rows()
PANEL = VECTORS * LANES  # columns of a tile

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_SUMS = ir.VectorType(_I32, LANES)
_PAIRS = ir.VectorType(_I16, 2 * LANES)
_PRODUCTS = ir.VectorType(_I32, 2 * LANES)
_HALVES = ir.VectorType(_I16, LANES)


def _at(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    """A pointer to `kind` at address + offset bytes."""
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


def _splat(builder: Any, value: Any) -> Any:
    """An int32 in every lane."""
    first = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(first, ir.Constant(_SUMS, ir.Undefined), ir.Constant(_SUMS, [0] * LANES))


def _add_products(builder: Any, total: Any, left: Any, right: Any) -> Any:
    """total[l] + left[2l] right[2l] + left[2l+1] right[2l+1]; left and right are already extended to int32."""
    products, nothing = builder.mul(left, right), ir.Constant(_PRODUCTS, ir.Undefined)
    even = builder.shuffle_vector(products, nothing, ir.Constant(_SUMS, list(range(0, 2 * LANES, 2))))
    odd = builder.shuffle_vector(products, nothing, ir.Constant(_SUMS, list(range(1, 2 * LANES, 2))))
    return builder.add(total, builder.add(even, odd))


def _tile_sums(builder: Any, x: Any, x_stride: Any, pairs: Any, weights: Any, start: Any) -> list[list[Any]]:
    """Emits the loop over pairs of K; returns the tile's sums as ROWS x VECTORS values."""
    row_starts = [builder.add(x, builder.mul(x_stride, _I64(row))) for row in range(ROWS)]
    initial = [builder.load(_at(builder, start, _I64(vector * 4 * LANES), _SUMS), align=4) for vector in range(VECTORS)]
    before, loop, after = builder.block, builder.append_basic_block("pairs"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(_I64)
    sums = [[builder.phi(_SUMS) for _ in range(VECTORS)] for _ in range(ROWS)]
    here = builder.add(weights, builder.mul(k, _I64(4 * PANEL)))
    right = [
        builder.sext(builder.load(_at(builder, here, _I64(vector * 4 * LANES), _PAIRS), align=2), _PRODUCTS)
        for vector in range(VECTORS)
    ]
    added = []
    for row in range(ROWS):
        pair = builder.load(_at(builder, row_starts[row], builder.shl(k, _I64(2)), _I32), align=2)
        left = builder.sext(builder.bitcast(_splat(builder, pair), _PAIRS), _PRODUCTS)
        added.append([_add_products(builder, sums[row][vector], left, right[vector]) for vector in range(VECTORS)])
    following = builder.add(k, _I64(1))
    builder.cbranch(builder.icmp_signed("<", following, pairs), loop, after)
    k.add_incoming(_I64(0), before)
    k.add_incoming(following, loop)
    for row in range(ROWS):
        for vector in range(VECTORS):
            sums[row][vector].add_incoming(initial[vector], before)
            sums[row][vector].add_incoming(added[row][vector], loop)
    builder.position_at_end(after)
    return added


def _rescale_relu(builder: Any, sums: Any, shift: Any) -> Any:
    """min(max(sums >> shift, 0), 32767) as int16 lanes."""
    zero, most = ir.Constant(_SUMS, [0] * LANES), ir.Constant(_SUMS, [ACTIVATION_MAX] * LANES)
    rescaled = builder.ashr(sums, shift)
    positive = builder.select(builder.icmp_signed(">", rescaled, zero), rescaled, zero)
    return builder.trunc(builder.select(builder.icmp_signed("<", positive, most), positive, most), _HALVES)


def _make(rescale: bool) -> Any:
    """The intrinsic; all its arguments are integers, strides are bytes, pairs >= 1."""

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def tile(
        _: Any, x: Any, x_stride: Any, pairs: Any, weights: Any, start: Any, out: Any, stride: Any, shift: Any
    ) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, x_stride, pairs, weights, start, out, stride, shift = arguments
            sums = _tile_sums(builder, x, x_stride, pairs, weights, start)
            places = _splat(builder, builder.trunc(shift, _I32))
            kind, size = (_HALVES, 2) if rescale else (_SUMS, 4)
            for row in range(ROWS):
                row_out = builder.add(out, builder.mul(stride, _I64(row)))
                for vector in range(VECTORS):
                    value = sums[row][vector]
                    value = _rescale_relu(builder, value, places) if rescale else value
                    builder.store(value, _at(builder, row_out, _I64(vector * size * LANES), kind), align=size)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), emit

    return tile


# Both compute start[c] + sum over k of x[r, k] w[k, c] modulo 2^32, for ROWS rows of x (int16, `x_stride` bytes apart)
# and PANEL columns of w (int16, as (pairs, PANEL, 2)); start is int32[PANEL].
tile_sums = _make(rescale=False)  # out int32: the sums as they are; shift is ignored
tile_activations = _make(rescale=True)  # out int16: shifted right by `shift`, ReLU, saturated
