"""Home of the evaluation of models: losses and counts that are the same integers on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from learning.architecture import PARAMETER_MAX, Architecture
from learning.backends import (
    Backend,
    BoolArray,
    Float64Backend,
    Int32Array,
    Int64Array,
    Model,
    PlainBackend,
    UInt8Array,
)
from learning.reference import predictions

SHIFT_MAX = 40
_SCALED_MAX = 2**62  # the magnitudes of all scaled steps add up to less, so no order of adding overflows
_ROWS_MIN = 64  # samples that are worth a thread

# By the order of preference of "auto".
BACKENDS: dict[str, Callable[[Architecture], Backend]] = {"float64": Float64Backend, "reference": PlainBackend}
THREADS_MAX = 64


class InvalidSamples(ValueError):
    """Inputs, labels or parameters from outside that are not ones of the architecture."""


class NoExactBackend(RuntimeError):
    """No backend (or not the one asked for) passes the self-test: this machine must not judge."""


class Evaluator:
    """Evaluates models of one architecture; every result is the same on all backends, threads and batch sizes."""

    def __init__(self, architecture: Architecture, backend: str = "auto", threads: int = 1) -> None:
        """`backend` is "auto" or one of BACKENDS; raises NoExactBackend where it is disabled, or all are."""
        assert 1 <= threads <= THREADS_MAX, threads
        self.architecture = architecture
        self.backend = "float64" if backend == "auto" else backend
        self._backend = BACKENDS[self.backend](architecture)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def prepare(self, weights: Int32Array) -> Model:
        """The model of parameters int32[P] in the backend's own form, for use with many batches."""
        self._check_weights(weights)
        return self._backend.prepare(weights)

    def logits(self, weights: Int32Array, inputs: UInt8Array) -> Int64Array:
        """int64[B, classes] in units of 2^-logit_exponent."""
        self._check_inputs(inputs)
        model = self.prepare(weights)
        return np.concatenate(self._each_rows(len(inputs), lambda rows: model.logits(inputs[rows])))

    def losses(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """Loss int64[B] of each sample in 2^-20 nat, at most 2^25: inputs uint8[B, width], labels int64[B]."""
        self._check_samples(inputs, labels)
        model = self.prepare(weights)
        return np.concatenate(self._each_rows(len(inputs), lambda rows: model.losses(inputs[rows], labels[rows])))

    def correct(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> int:
        """How many samples have their label's logit highest; of equal logits the lowest class counts."""
        self._check_samples(inputs, labels)
        return int((predictions(self.logits(weights, inputs)) == labels).sum())

    def losses_many(
        self, weights: Int32Array | Iterable[Int32Array], inputs: UInt8Array, labels: Int64Array
    ) -> Int64Array:
        """Losses int64[M, B] of M models: weights int32[M, P], or an iterable of such blocks where M are too many."""
        self._check_samples(inputs, labels)
        blocks = [weights] if isinstance(weights, np.ndarray) else weights
        parts = [np.empty((0, len(inputs)), dtype=np.int64)]
        for block in blocks:
            assert block.ndim == 2, block.shape
            parts += self._each(list(block), lambda one: self.prepare(one).losses(inputs, labels)[None])
        return np.concatenate(parts)

    def losses_of_steps(
        self,
        base: Int32Array,
        scaled: Int64Array,
        masks: BoolArray | Sequence[int],
        shift: int,
        inputs: UInt8Array,
        labels: Int64Array,
    ) -> Int64Array:
        """Losses int64[M, B] of the models that coalitions S of n scaled steps int64[n, P] make of base int32[P].

        A coalition's parameters are clamp(base + ((sum of scaled[i], i in S, + 2^(shift-1)) >> shift), +-(2^23 - 1)).
        `masks` is bool[M, n], or M integers whose bit i says whether i is in S. 1 <= shift <= 40.
        """
        self._check_samples(inputs, labels)
        self._check_steps(base, scaled, shift)
        chosen = _as_bools(masks, len(scaled))
        parts = np.array_split(chosen, min(self._threads, max(1, len(chosen))))
        return np.concatenate(
            self._each(parts, lambda part: self._backend.losses_of_steps(base, scaled, part, shift, inputs, labels))
        )

    def _each(self, items: Sequence[object], work: Callable[..., Int64Array]) -> list[Int64Array]:
        """The results of `work` on every item, in order, on the threads there are."""
        if self._pool is None or len(items) == 1:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    def _each_rows(self, rows: int, work: Callable[[slice], Int64Array]) -> list[Int64Array]:
        """The results of `work` on slices that make up a batch of `rows`, in order."""
        parts = max(1, min(self._threads, rows // _ROWS_MIN))
        bounds = [rows * part // parts for part in range(parts + 1)]
        return self._each([slice(*pair) for pair in pairwise(bounds)], work)

    def _check_weights(self, weights: Int32Array) -> None:
        assert weights.dtype == np.int32, weights.dtype
        assert weights.shape == (self.architecture.parameters,), weights.shape
        if weights.max() > PARAMETER_MAX or weights.min() < -PARAMETER_MAX:
            raise InvalidSamples(f"parameters from {weights.min()} to {weights.max()}: keep within +-{PARAMETER_MAX}")

    def _check_steps(self, base: Int32Array, scaled: Int64Array, shift: int) -> None:
        self._check_weights(base)
        assert scaled.dtype == np.int64, scaled.dtype
        assert scaled.ndim == 2, scaled.shape
        assert scaled.shape[1] == len(base), scaled.shape
        assert 1 <= shift <= SHIFT_MAX, shift
        largest = max(int(scaled.max(initial=0)), -int(scaled.min(initial=0)))
        assert largest * max(1, len(scaled)) < _SCALED_MAX, largest

    def _check_inputs(self, inputs: UInt8Array) -> None:
        assert inputs.dtype == np.uint8, inputs.dtype
        assert inputs.ndim == 2, inputs.shape
        if inputs.shape[1] != self.architecture.input_width:
            raise InvalidSamples(f"samples of {inputs.shape[1]} bytes: the model takes {self.architecture.input_width}")

    def _check_samples(self, inputs: UInt8Array, labels: Int64Array) -> None:
        self._check_inputs(inputs)
        assert labels.dtype == np.int64, labels.dtype
        assert labels.shape == inputs.shape[:1], (labels.shape, inputs.shape)
        classes = self.architecture.classes
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
            raise InvalidSamples(f"labels from {labels.min()} to {labels.max()}: use 0 to {classes - 1}")


def _as_bools(masks: BoolArray | Sequence[int], members: int) -> BoolArray:
    """bool[M, n] of either form of masks."""
    if isinstance(masks, np.ndarray):
        assert masks.dtype == np.bool_, masks.dtype
        assert masks.ndim == 2, masks.shape
        assert masks.shape[1] == members, masks.shape
        return masks
    assert all(0 <= mask < 1 << members for mask in masks), members
    chosen = [[bool(mask >> member & 1) for member in range(members)] for mask in masks]
    return np.array(chosen, dtype=np.bool_).reshape(len(masks), members)
