"""Home of the kernel backend: what the compiled kernels are given, and how much at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learning import kernels
from learning.architecture import Architecture
from learning.backends import BoolArray, Int32Array, Int64Array, UInt8Array
from learning.packing import Layout, PackedModels, empty_models, layout_of

_GROUP_BYTES = 4 * 2**20  # of models packed together: enough to share reads of the steps, and to stay in the cache
_GROUP_MAX = 64


class KernelBackend:
    """Evaluation on the int16 micro-kernel."""

    def __init__(self, architecture: Architecture) -> None:
        self._exponent = architecture.logit_exponent
        self._layout = layout_of(architecture)
        self._no_steps = np.zeros((0, architecture.parameters), dtype=np.int64)
        self._group = max(1, min(_GROUP_MAX, _GROUP_BYTES // self._layout.model_bytes))

    def prepare(self, weights: Int32Array) -> KernelModel:
        """The model of parameters int32[P]."""
        models = empty_models(self._layout, 1)
        self._pack_alone(weights, models)
        return KernelModel(self._layout, self._exponent, models)

    def losses_many(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """Losses int64[M, B], one model after the other in the same room."""
        samples, models = Samples.of(inputs, labels), empty_models(self._layout, 1)
        model = KernelModel(self._layout, self._exponent, models)
        losses = np.empty((len(weights), len(inputs)), dtype=np.int64)
        for own, out in zip(weights, losses, strict=True):
            self._pack_alone(own, models)
            model.write_losses(0, samples, out)
        return losses

    def losses_of_steps(
        self, base: Int32Array, scaled: Int64Array, masks: BoolArray, shift: int, inputs: UInt8Array, labels: Int64Array
    ) -> Int64Array:
        """Losses int64[M, B], a group of models at a time."""
        base, scaled, masks = np.ascontiguousarray(base), np.ascontiguousarray(scaled), np.ascontiguousarray(masks)
        samples, models = Samples.of(inputs, labels), empty_models(self._layout, min(self._group, len(masks)))
        model = KernelModel(self._layout, self._exponent, models)
        losses = np.empty((len(masks), len(inputs)), dtype=np.int64)
        for first in range(0, len(masks), self._group):
            group = masks[first : first + self._group]
            kernels.pack(self._layout.table, base, scaled, group, shift, models.arrays)
            for place in range(len(group)):
                model.write_losses(place, samples, losses[first + place])
        return losses

    def _pack_alone(self, weights: Int32Array, models: PackedModels) -> None:
        alone = np.zeros((1, 0), dtype=np.bool_)
        kernels.pack(self._layout.table, np.ascontiguousarray(weights), self._no_steps, alone, 1, models.arrays)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """A batch in C order, as the kernels take it."""

    inputs: UInt8Array
    labels: Int64Array

    @classmethod
    def of(cls, inputs: UInt8Array, labels: Int64Array) -> Samples:
        """Copies only what is in another order."""
        return cls(inputs=np.ascontiguousarray(inputs), labels=np.ascontiguousarray(labels))


class KernelModel:
    """One packed model, or several of the same layout."""

    def __init__(self, layout: Layout, exponent: int, models: PackedModels) -> None:
        self._table = layout.table
        self._classes = layout.classes
        self._exponent = exponent
        self._arrays = models.arrays

    def logits(self, inputs: UInt8Array) -> Int64Array:
        """int64[B, classes]."""
        out = np.empty((len(inputs), self._classes), dtype=np.int64)
        kernels.forward(self._table, self._arrays, 0, np.ascontiguousarray(inputs), out)
        return out

    def losses(self, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """int64[B] in 2^-20 nat."""
        losses = np.empty(len(inputs), dtype=np.int64)
        self.write_losses(0, Samples.of(inputs, labels), losses)
        return losses

    def write_losses(self, place: int, samples: Samples, out: Int64Array) -> None:
        """Losses int64[B] of the model at `place`."""
        logits = np.empty((len(samples.inputs), self._classes), dtype=np.int64)
        kernels.forward(self._table, self._arrays, place, samples.inputs, logits)
        kernels.losses(logits, self._exponent, samples.labels, out)
