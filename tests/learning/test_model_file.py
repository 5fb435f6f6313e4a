"""Home of tests of models in files and notebooks: nothing is lost, every change is noticed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from learning.architecture import PARAMETER_MAX, Architecture
from learning.client import Model, as_model, evaluate
from learning.commitment import weights_root
from learning.datasets import Column, Schema
from learning.evaluation import Evaluator, InvalidSamples
from learning.model_file import Head, InvalidModelFile, load, save, tensors_of, weights_of

ARCHITECTURE = Architecture(layers=(5, 4, 3))
SCHEMA = Schema(
    columns=tuple(Column(name=f"x{i}", minimum=-0.1, maximum=1.7) for i in range(5)), labels=("a", "b", "c")
)


def head_of(weights: NDArray[np.int32]) -> Head:
    return Head(
        task="0x" + "12" * 32,
        name="dots",
        round=7,
        architecture=ARCHITECTURE,
        schema=SCHEMA,
        weights=weights,
        root=weights_root(ARCHITECTURE, weights),
    )


def random_head(seed: int = 1) -> Head:
    generator = np.random.default_rng(seed)
    return head_of(generator.integers(-(1 << 20), 1 << 20, ARCHITECTURE.parameters, dtype=np.int32))


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(
        st.integers(-PARAMETER_MAX, PARAMETER_MAX), min_size=ARCHITECTURE.parameters, max_size=ARCHITECTURE.parameters
    )
)
def test_every_weight_there_can_be_survives_as_a_float(values: list[int]) -> None:
    weights = np.array(values, np.int32)
    assert np.array_equal(weights_of(ARCHITECTURE, tensors_of(ARCHITECTURE, weights)), weights)


def test_a_saved_head_is_loaded_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    head = random_head()
    for saved in (head, dataclasses.replace(head, round=None)):
        save(tmp_path / "m.safetensors", saved)
        found = load(tmp_path / "m.safetensors")
        assert np.array_equal(found.weights, head.weights)
        assert dataclasses.replace(found, weights=head.weights) == dataclasses.replace(saved, weights=head.weights)
        assert found.is_unchanged
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_changed_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save(path, random_head())
    tensors = load_file(path)
    tensors["layers.1.bias"][2] += 2.0**-20
    save(path, random_head())
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata)
    changed = load(path)
    assert not changed.is_unchanged
    assert np.count_nonzero(changed.weights - random_head().weights) == 1


def test_files_that_are_no_model_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(InvalidModelFile, match="can't read"):
        load(path)
    path.write_bytes(b"junk")
    with pytest.raises(InvalidModelFile, match="can't read"):
        load(path)
    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(InvalidModelFile, match="not written by `model pull`"):
        load(path)
    head = random_head()
    tensors = tensors_of(ARCHITECTURE, head.weights)
    with pytest.raises(InvalidModelFile, match=r"layers\.0\.weight is missing"):
        weights_of(ARCHITECTURE, {name: t for name, t in tensors.items() if name != "layers.0.weight"})
    with pytest.raises(InvalidModelFile, match=r"layers\.1\.bias is \(2,\)"):
        weights_of(ARCHITECTURE, {**tensors, "layers.1.bias": np.zeros(2, np.float32)})
    with pytest.raises(InvalidModelFile, match="no finite number"):
        weights_of(ARCHITECTURE, {**tensors, "layers.1.bias": np.full(3, np.nan, np.float32)})
    with pytest.raises(InvalidModelFile, match="can't write"):
        save(tmp_path / "none" / "m.safetensors", head)


def test_files_load_into_torch_modules_and_score_as_consensus_does(tmp_path: Path) -> None:
    head, path = random_head(), tmp_path / "m.safetensors"
    save(path, head)
    model = Model(ARCHITECTURE)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in load_file(path).items()})
    generator = np.random.default_rng(2)
    inputs, labels = generator.integers(0, 256, (64, 5), dtype=np.uint8), generator.integers(0, 3, 64)
    exact = Evaluator(ARCHITECTURE, "reference")
    wanted = int(exact.losses(head.weights, inputs, labels).sum()), exact.correct(head.weights, inputs, labels)
    for given_model, given_inputs in ((model, inputs), (as_model(head), torch.from_numpy(inputs).double())):
        score = evaluate(given_model, given_inputs, labels)
        assert (score.loss, score.correct, score.samples) == (*wanted, 64)
    float_loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(inputs)), torch.from_numpy(labels)).item()
    assert abs(score.mean_loss_nats - float_loss) < 2e-3


def test_samples_that_are_no_bytes_are_refused_and_not_rounded() -> None:
    model, labels = as_model(random_head()), np.zeros(2, np.int64)
    for wrong in (np.full((2, 5), 0.5), np.full((2, 5), 256), np.full((2, 5), -1), np.zeros((2, 4), np.uint8)):
        with pytest.raises(InvalidSamples):
            evaluate(model, wrong, labels)
    with pytest.raises(InvalidSamples, match="no sample"):
        evaluate(model, np.zeros((0, 5), np.uint8), labels[:0])
    with pytest.raises(InvalidSamples, match="labels from 0 to 3"):
        evaluate(model, np.zeros((2, 5), np.uint8), np.array([0, 3]))


def test_importing_learning_brings_in_neither_torch_nor_numpy() -> None:
    import subprocess
    import sys

    code = "import sys, learning; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError):
        _ = __import__("learning").nothing
