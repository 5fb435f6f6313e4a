"""Home of the evaluation of models: losses and counts that are the same integers on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

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
from learning.golden import first_difference
from learning.kernel_backend import KernelBackend
from learning.reference import predictions

SHIFT_MAX = 40
THREADS_MAX = 64
_SCALED_MAX = 2**62  # the magnitudes of all scaled steps add up to less, so no order of adding overflows
_PRODUCTS_MIN = 2**23  # of one part of a batch: handing it to another thread takes as long as half of them
_Part = TypeVar("_Part")

# By the order of preference of "auto".
BACKENDS: dict[str, Callable[[Architecture], Backend]] = {
    "kernel": KernelBackend,
    "float64": Float64Backend,
    "reference": PlainBackend,
}
# What the self-test found out in this process: for each backend and number of threads, what is wrong, or None.
_verdicts: dict[tuple[str, int], str | None] = {}


class InvalidSamples(ValueError):
    """Inputs, labels or parameters from outside that are not ones of the architecture."""


class NoExactBackend(RuntimeError):
    """No backend (or not the one asked for) passes the self-test: this machine must not judge."""


class Evaluator:
    """Evaluates models of one architecture; every result is the same on all backends, threads and batch sizes."""

    def __init__(self, architecture: Architecture, backend: str = "auto", threads: int = 1) -> None:
        """`backend` is one of BACKENDS, or "auto" for the first that passes the self-test with so many threads.

        Raises NoExactBackend where that backend failed a self-test before, or where none passes.
        """
        assert 1 <= threads <= THREADS_MAX, threads
        self.architecture = architecture
        self.threads = threads
        self.backend = _first_exact(threads) if backend == "auto" else backend
        reason = _reason(self.backend)
        if reason is not None:
            raise NoExactBackend(f"backend {self.backend} is disabled ({reason}): use another, or another machine")
        self._backend = BACKENDS[self.backend](architecture)
        # Kept, as an architecture works them out each time it is asked, which takes longer than a small batch.
        self.parameters, self.classes = architecture.parameters, architecture.classes
        self._width = architecture.input_width

    def prepare(self, weights: Int32Array) -> PreparedModel:
        """The model of parameters int32[P] in the backend's own form, to be used with many batches."""
        self._check_weights(weights)
        return PreparedModel(self, self._backend.prepare(weights))

    def logits(self, weights: Int32Array, inputs: UInt8Array) -> Int64Array:
        """int64[B, classes] in units of 2^-logit_exponent."""
        return self.prepare(weights).logits(inputs)

    def losses(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """Loss int64[B] of each sample in 2^-20 nat, at most 2^25: inputs uint8[B, width], labels int64[B]."""
        return self.prepare(weights).losses(inputs, labels)

    def correct(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> int:
        """How many samples have their label's logit highest; of equal logits the lowest class counts."""
        return self.prepare(weights).correct(inputs, labels)

    def losses_many(
        self, weights: Int32Array | Iterable[Int32Array], inputs: UInt8Array, labels: Int64Array
    ) -> Int64Array:
        """Losses int64[M, B] of M models: weights int32[M, P], or an iterable of such blocks where M are too many."""
        self.check_samples(inputs, labels)
        done = [np.empty((0, len(inputs)), dtype=np.int64)]
        for block in [weights] if isinstance(weights, np.ndarray) else weights:
            for row in block:
                self._check_weights(row)
            parts = [block[part] for part in _parts(len(block), self.threads)]
            done += spread(parts, lambda part: self._backend.losses_many(part, inputs, labels))
        return np.concatenate(done)

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
        self.check_samples(inputs, labels)
        self._check_steps(base, scaled, shift)
        chosen = _as_bools(masks, len(scaled))
        parts = [chosen[part] for part in _parts(len(chosen), self.threads)]
        return np.concatenate(
            spread(parts, lambda part: self._backend.losses_of_steps(base, scaled, part, shift, inputs, labels))
        )

    def check_inputs(self, inputs: UInt8Array) -> None:
        """Raises InvalidSamples where inputs are of another width."""
        assert inputs.dtype == np.uint8, inputs.dtype
        assert inputs.ndim == 2, inputs.shape
        if inputs.shape[1] != self._width:
            raise InvalidSamples(f"samples of {inputs.shape[1]} bytes: the model takes {self._width}")

    def check_samples(self, inputs: UInt8Array, labels: Int64Array) -> None:
        """Raises InvalidSamples where inputs are of another width, or a label is no class."""
        self.check_inputs(inputs)
        assert labels.dtype == np.int64, labels.dtype
        assert labels.shape == inputs.shape[:1], (labels.shape, inputs.shape)
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= self.classes:
            raise InvalidSamples(f"labels from {labels.min()} to {labels.max()}: use 0 to {self.classes - 1}")

    def _check_weights(self, weights: Int32Array) -> None:
        assert weights.dtype == np.int32, weights.dtype
        assert weights.shape == (self.parameters,), weights.shape
        if weights.max() > PARAMETER_MAX or weights.min() < -PARAMETER_MAX:
            raise InvalidSamples(f"parameters from {weights.min()} to {weights.max()}: keep within +-{PARAMETER_MAX}")

    def _check_steps(self, base: Int32Array, scaled: Int64Array, shift: int) -> None:
        self._check_weights(base)
        assert scaled.dtype == np.int64, scaled.dtype
        assert scaled.ndim == 2, scaled.shape
        assert scaled.shape[1] == len(base), scaled.shape
        assert 1 <= shift <= SHIFT_MAX, shift
        largest = max(int(scaled.max(initial=0)), -int(scaled.min(initial=0)))
        assert largest * len(scaled) < _SCALED_MAX, largest


class PreparedModel:
    """One model, ready for batches of any size. It is immutable, so threads may share it."""

    def __init__(self, evaluator: Evaluator, model: Model) -> None:
        self._evaluator = evaluator
        self._model = model

    def logits(self, inputs: UInt8Array) -> Int64Array:
        """int64[B, classes] in units of 2^-logit_exponent."""
        self._evaluator.check_inputs(inputs)
        return _joined(spread(self._rows(inputs), lambda part: self._model.logits(inputs[part])))

    def losses(self, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """Loss int64[B] of each sample in 2^-20 nat."""
        self._evaluator.check_samples(inputs, labels)
        return _joined(spread(self._rows(inputs), lambda part: self._model.losses(inputs[part], labels[part])))

    def correct(self, inputs: UInt8Array, labels: Int64Array) -> int:
        """How many samples have their label's logit highest; of equal logits the lowest class counts."""
        self._evaluator.check_samples(inputs, labels)
        return int((predictions(self.logits(inputs)) == labels).sum())

    def _rows(self, inputs: UInt8Array) -> list[slice]:
        """The batch, cut into as many parts as are worth a thread."""
        worth = len(inputs) * self._evaluator.parameters // _PRODUCTS_MIN
        return _parts(len(inputs), min(self._evaluator.threads, max(1, worth)))


def self_test(threads: Sequence[int] = (1, 2)) -> dict[str, str | None]:
    """Runs golden vectors on every backend with so many threads; says what is wrong with each, or None.

    A backend that differs is disabled in this process; run it again after any change of device or library.
    """
    _verdicts.clear()
    for name in BACKENDS:
        for count in threads:
            _test(name, count)
    return {name: _reason(name) for name in BACKENDS}


def spread(parts: Sequence[_Part], work: Callable[[_Part], Int64Array]) -> list[Int64Array]:
    """The results of `work` on every part, in order: the first on this thread, the others on ones of their own."""
    if len(parts) == 1:
        return [work(parts[0])]
    others = [_pool(len(parts) - 1).submit(work, part) for part in parts[1:]]
    return [work(parts[0]), *(other.result() for other in others)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for parts, shared by all evaluators; a part never waits for another, so they cannot lock up."""
    return ThreadPoolExecutor(threads, thread_name_prefix="evaluation")


def _parts(items: int, most: int) -> list[slice]:
    """So many items in runs of about the same length: at most so many runs, but one, though it be empty."""
    count = max(1, min(most, items))
    return [slice(*pair) for pair in pairwise(items * part // count for part in range(count + 1))]


def _joined(parts: list[Int64Array]) -> Int64Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _test(name: str, threads: int) -> None:
    """Writes down whether a backend passes; it is given the benefit of the doubt until then."""
    _verdicts.pop((name, threads), None)
    try:
        _verdicts[name, threads] = first_difference(lambda architecture: Evaluator(architecture, name, threads))
    except Exception as error:  # whatever a broken library raises, it disables only its own backend
        _verdicts[name, threads] = f"{type(error).__name__} with {threads} threads: {error}"


def _reason(name: str) -> str | None:
    """Why a backend is disabled: once it differs with some number of threads it is not trusted with another."""
    return next((reason for (tested, _), reason in _verdicts.items() if tested == name and reason is not None), None)


def _first_exact(threads: int) -> str:
    """The first backend that passes with so many threads, tested if it has not been."""
    for name in BACKENDS:
        if (name, threads) not in _verdicts and _reason(name) is None:
            _test(name, threads)
        if _reason(name) is None:
            return name
    reasons = {name: _reason(name) for name in BACKENDS}
    raise NoExactBackend(f"every backend fails the self-test, so this machine must not judge: {reasons}")


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
