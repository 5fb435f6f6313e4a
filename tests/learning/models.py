"""Home of random models: architectures, weights that saturate or not, and batches, for property tests."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from hypothesis import strategies as st

from learning.architecture import PARAMETER_MAX, Architecture

Model: TypeAlias = tuple[Architecture, np.ndarray, np.ndarray, np.ndarray]

MAGNITUDES = [1, 300, 2**12, 2**16, 2**18, 2**20, PARAMETER_MAX]


@st.composite
def architectures(draw: st.DrawFn, width_max: int = 70) -> Architecture:
    widths = draw(st.lists(st.integers(1, width_max), min_size=1, max_size=5))
    input_exponent = draw(st.integers(0, 8))
    return Architecture(
        layers=(*widths, draw(st.integers(2, max(2, width_max)))),
        input_exponent=input_exponent,
        activation_exponent=draw(st.integers(0, min(14, 11 + input_exponent))),
    )


def parameters_of(generator: np.random.Generator, count: int, kind: str, magnitude: int) -> np.ndarray:
    """int32[count], none above PARAMETER_MAX in magnitude."""
    if kind == "uniform":
        values = generator.integers(-magnitude, magnitude + 1, count)
    elif kind == "extreme":
        values = generator.choice([-PARAMETER_MAX, PARAMETER_MAX], count)
    elif kind == "constant":
        values = np.full(count, magnitude)
    else:
        values = generator.integers(-magnitude, magnitude + 1, count)
        values[generator.random(count) < 0.02] = PARAMETER_MAX
    return values.astype(np.int32)


@st.composite
def models(draw: st.DrawFn, width_max: int = 70, batch_max: int = 1024) -> Model:
    """An architecture, weights int32[P], inputs uint8[B, width] and labels int64[B]."""
    architecture = draw(architectures(width_max))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["uniform", "extreme", "constant", "outliers"]))
    weights = parameters_of(generator, architecture.parameters, kind, draw(st.sampled_from(MAGNITUDES)))
    rows = draw(st.integers(1, min(64, batch_max)) | st.integers(1, batch_max))
    low, high = draw(st.sampled_from([(0, 255), (255, 255), (0, 16), (0, 0)]))
    inputs = generator.integers(low, high + 1, (rows, architecture.input_width)).astype(np.uint8)
    labels = generator.integers(0, architecture.classes, rows)
    return architecture, weights, inputs, labels
