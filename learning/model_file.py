"""Home of heads outside a node: a model with what it is a model of, kept in a safetensors file without loss.

The file holds float32 tensors under the architecture's names (`layers.0.weight`, ...), each value its integer times
2^-20. That is exact, as the integers have at most 23 bits; so the weights root can be checked from the file alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.architecture import PARAMETER_EXPONENT, PARAMETER_MAX, Architecture, InvalidArchitecture
from learning.commitment import weights_root
from learning.datasets import Schema


class InvalidModelFile(ValueError):
    """A file that can't be read or written as a model; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A task's model, as it was pulled from a node or read from a file."""

    task: str  # 0x-hexadecimal id
    name: str  # the task's
    round: int | None  # whose settlement made it; None where that is not known
    architecture: Architecture
    schema: Schema
    weights: NDArray[np.int32]  # [P], in units of 2^-20
    root: bytes  # under which it was pulled; that of `weights` unless a file was changed since

    @property
    def is_unchanged(self) -> bool:
        """Whether the weights are those that the root commits to."""
        return weights_root(self.architecture, self.weights) == self.root


def tensors_of(architecture: Architecture, weights: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
    """The tensors by name, float32, exact."""
    values = (weights.astype(np.float64) / (1 << PARAMETER_EXPONENT)).astype(np.float32)
    tensors, start = {}, 0
    for name, shape in architecture.tensors:
        size = int(np.prod(shape))
        tensors[name] = values[start : start + size].reshape(shape)
        start += size
    return tensors


def weights_of(architecture: Architecture, tensors: dict[str, NDArray[Any]]) -> NDArray[np.int32]:
    """The integers int32[P] nearest to float tensors, cut off at what a parameter may be. Raises InvalidModelFile."""
    flat = []
    for name, shape in architecture.tensors:
        if name not in tensors or tensors[name].shape != shape:
            found = tensors[name].shape if name in tensors else "missing"
            raise InvalidModelFile(f"tensor {name} is {found}; the architecture wants {shape}")
        flat.append(tensors[name].reshape(-1).astype(np.float64))
    scaled = np.concatenate(flat) * (1 << PARAMETER_EXPONENT)
    if not np.isfinite(scaled).all():
        raise InvalidModelFile("a weight is no finite number")
    rounded: NDArray[np.int32] = np.clip(np.floor(scaled + 0.5), -PARAMETER_MAX, PARAMETER_MAX).astype(np.int32)
    return rounded


def save(path: Path, head: Head) -> None:
    """Write a head, in place of what is there, all of it or nothing. Raises InvalidModelFile."""
    from safetensors.numpy import save as encode

    metadata = {
        "format": "pt",
        "lyceum.task": head.task,
        "lyceum.name": head.name,
        "lyceum.round": "" if head.round is None else str(head.round),
        "lyceum.root": "0x" + head.root.hex(),
        "lyceum.architecture": head.architecture.to_json().decode(),
        "lyceum.schema": json.dumps(head.schema.to_json()),
        "lyceum.exact": "every value times 2^20 is the integer parameter, exactly",
    }
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(encode(tensors_of(head.architecture, head.weights), metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InvalidModelFile(f"can't write {path}: {error.strerror}") from error


def load(path: Path) -> Head:
    """The head in a file that `save` wrote, also after its tensors were changed. Raises InvalidModelFile."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise InvalidModelFile(f"can't read {path} as a safetensors file: {error}") from error
    try:
        architecture = Architecture.from_json(metadata["lyceum.architecture"].encode())
        return Head(
            task=metadata["lyceum.task"],
            name=metadata["lyceum.name"],
            round=int(metadata["lyceum.round"]) if metadata["lyceum.round"] else None,
            architecture=architecture,
            schema=Schema.from_json(json.loads(metadata["lyceum.schema"])),
            weights=weights_of(architecture, tensors),
            root=bytes.fromhex(metadata["lyceum.root"].removeprefix("0x")),
        )
    except KeyError as error:
        raise InvalidModelFile(f"{path} says nothing of {error}: it was not written by `model pull`") from error
    except (InvalidArchitecture, InvalidModelFile, ValueError, TypeError) as error:
        raise InvalidModelFile(f"{path}: {error}") from error
