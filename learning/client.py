"""Home of models in a notebook: a task's head as a torch module, and the consensus score of any weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from learning.architecture import Architecture
from learning.evaluation import Evaluator, InvalidSamples
from learning.fetching import fetch_head
from learning.model_file import Head, tensors_of, weights_of

NAT = 1 << 20


class Model(nn.Module):
    """The float model of an architecture, its parameters named as in a file of `model pull`.

    It takes samples as bytes 0 to 255, [n, width], in any number type, and gives logits float32[n, classes].
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(architecture.layers))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        values = inputs.float() * 2.0**-self.architecture.input_exponent
        for place, layer in enumerate(self.layers):
            values = layer(torch.relu(values) if place else values)
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What consensus says of a model on some samples."""

    loss: int  # summed over the samples, in 2^-20 nat
    correct: int
    samples: int

    @property
    def mean_loss_nats(self) -> float:
        return self.loss / NAT / self.samples

    @property
    def accuracy(self) -> float:
        return self.correct / self.samples


def as_model(head: Head) -> Model:
    """A head as a module."""
    model = Model(head.architecture)
    tensors = tensors_of(head.architecture, head.weights)
    model.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in tensors.items()})
    return model


def pull(url: str, task: str, root: str | None = None) -> Model:
    """The newest head of a task (its id, or its name), or the one of a root. Raises FetchFailed."""
    return as_model(fetch_head(url, task, root))


def evaluate(model: Model, inputs: Any, labels: Any, threads: int = 1) -> Score:
    """The exact score of a model, rounded to consensus' grid: inputs bytes [n, width], labels [n], n at least 1.

    Raises InvalidSamples, NoExactBackend.
    """
    tensors = {name: values.detach().cpu().numpy() for name, values in model.state_dict().items()}
    weights = weights_of(model.architecture, tensors)
    samples, truth = _bytes(inputs), np.asarray(labels).astype(np.int64)
    if not len(truth):
        raise InvalidSamples("there is no sample to evaluate on")
    prepared = Evaluator(model.architecture, threads=threads).prepare(weights)
    loss = int(prepared.losses(samples, truth).sum())
    return Score(loss=loss, correct=prepared.correct(samples, truth), samples=len(truth))


def _bytes(inputs: Any) -> NDArray[np.uint8]:
    """Samples as uint8, whatever holds them. Raises InvalidSamples where that would change one."""
    given = np.asarray(inputs)
    samples: NDArray[np.uint8] = given.astype(np.uint8)
    if not np.array_equal(samples, given):
        raise InvalidSamples("inputs must be whole numbers from 0 to 255, as the task's schema encodes them")
    return samples
