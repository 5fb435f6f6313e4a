"""Home of training: floating point with torch on any device, rounded to the integer grid at the end."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from learning.architecture import Architecture
from learning.datasets import Dataset

WEIGHT_SCALE = float(1 << 20)
DELTA_MAX = 2 * ((1 << 23) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How to train: Adam on minibatches, for `epochs` passes, or for `steps` minibatches where epochs is None."""

    steps: int = 50
    epochs: int | None = None
    batch: int = 32
    learning_rate: float = 3e-3
    device: str = "cpu"


def as_module(architecture: Architecture, weights: NDArray[np.int32]) -> nn.Sequential:
    """The float model that integer weights (int32[P]) stand for; its inputs are bytes * 2^-input_exponent."""
    layers: list[nn.Module] = []
    widths = architecture.layers
    for place, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(fan_in, fan_out))
        if place < len(widths) - 2:
            layers.append(nn.ReLU())
    module = nn.Sequential(*layers)
    values = torch.from_numpy(weights.astype(np.float64) / WEIGHT_SCALE).float()
    nn.utils.vector_to_parameters(values, module.parameters())
    return module


def as_inputs(architecture: Architecture, inputs: NDArray[np.uint8]) -> torch.Tensor:
    """uint8[n, width] -> float32[n, width]."""
    return torch.from_numpy(inputs.astype(np.float32) / float(1 << architecture.input_exponent))


def delta_of(module: nn.Module, weights: NDArray[np.int32]) -> NDArray[np.int64]:
    """int64[P]: what a trained module changed, rounded to the grid of 2^-20 and cut to what an update may say."""
    values = torch.cat([p.detach().reshape(-1).double().cpu() for p in module.parameters()]).numpy()
    grid = np.floor(np.nan_to_num(values, nan=0.0, posinf=8.0, neginf=-8.0) * WEIGHT_SCALE + 0.5)
    delta = np.clip(grid, -(2.0**30), 2.0**30).astype(np.int64) - weights.astype(np.int64)
    bounded: NDArray[np.int64] = np.clip(delta, -DELTA_MAX, DELTA_MAX)
    return bounded


def train(
    architecture: Architecture, weights: NDArray[np.int32], data: Dataset, training: Training, seed: int
) -> NDArray[np.int64]:
    """Train from `weights` on `data`; returns the update, int64[P] in units of 2^-20."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    module = as_module(architecture, weights).to(training.device)
    inputs = as_inputs(architecture, data.inputs).to(training.device)
    labels = torch.from_numpy(data.labels).to(training.device)
    optimiser = torch.optim.Adam(module.parameters(), lr=training.learning_rate)
    steps = training.steps
    if training.epochs is not None:
        steps = training.epochs * max(1, -(-len(data) // training.batch))
    for _ in range(steps):
        picked = torch.randint(len(data), (min(training.batch, len(data)),), generator=generator).to(training.device)
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(module(inputs[picked]), labels[picked])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return delta_of(module, weights)
