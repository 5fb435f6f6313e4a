"""A backend that differs in a bit is disabled; with none left, nothing is evaluated."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from learning import evaluation, golden, reference
from learning.architecture import Architecture
from learning.backends import Float64Backend, Float64Model, PlainBackend, PlainModel
from learning.evaluation import BACKENDS, Evaluator, NoExactBackend, self_test
from learning.kernel_backend import KernelBackend

SMALL = Architecture(layers=(4, 3, 2))


@pytest.fixture(autouse=True)
def forget():
    """Verdicts are the process's: later tests must not see these."""
    kept = dict(evaluation._verdicts)
    yield
    evaluation._verdicts.clear()
    evaluation._verdicts.update(kept)


def backend_with(dense=reference.dense, rescale_relu=reference.rescale_relu):
    """The reference with one function of it replaced."""

    class Model(PlainModel):
        def logits(self, inputs):
            activations = inputs.astype(np.int64)
            for layer in self._architecture.dense_layers:
                sums = dense(layer, self._weights, activations)
                activations = rescale_relu(layer, sums) if layer.shift else sums
            return activations

    class Broken(PlainBackend):
        def prepare(self, weights):
            return Model(self._architecture, weights)

    return Broken


def wrapped_to_int32(layer, parameters, activations):
    return reference.dense(layer, parameters, activations).astype(np.int32).astype(np.int64)


def in_float32(layer, parameters, activations):
    matrix = reference.evaluation_weights(parameters[layer.weight_start : layer.bias_start]).astype(np.float32)
    bias = reference.evaluation_bias(layer, parameters[layer.bias_start : layer.bias_start + layer.fan_out])
    sums = activations.astype(np.float32) @ matrix.reshape(layer.fan_out, layer.fan_in).T
    return sums.astype(np.int64) + bias


def biases_left_out(layer, parameters, activations):
    without = parameters.copy()
    without[layer.bias_start : layer.bias_start + layer.fan_out] = 0
    return reference.dense(layer, without, activations)


def halves_to_even(layer, sums):
    return np.clip(np.rint(sums / 2.0**layer.shift).astype(np.int64), 0, 32767)


def truncated(layer, sums):
    return np.clip(sums >> layer.shift, 0, 32767)


def not_saturated(layer, sums):
    return np.maximum(reference.shift_right_rounded(sums, layer.shift), 0)


def saturated_to_32768(layer, sums):
    return np.clip(reference.shift_right_rounded(sums, layer.shift), 0, 32768)


def without_relu(layer, sums):
    return np.clip(reference.shift_right_rounded(sums, layer.shift), -32767, 32767)


class OneOffInALoss(Float64Backend):
    def prepare(self, weights):
        model = Float64Model(self._architecture, weights)
        losses = model.losses
        model.losses = lambda inputs, labels: losses(inputs, labels) + (np.arange(len(inputs)) == 63)
        return model


class WrongInSteps(PlainBackend):
    def losses_of_steps(self, base, scaled, masks, shift, inputs, labels):
        return super().losses_of_steps(base, scaled - 1, masks, shift, inputs, labels)


class Raises(PlainBackend):
    def prepare(self, weights):
        raise OSError("no such device")


BROKEN = {
    "int32 accumulators": backend_with(dense=wrapped_to_int32),
    "float32 products": backend_with(dense=in_float32),
    "no biases": backend_with(dense=biases_left_out),
    "halves to even": backend_with(rescale_relu=halves_to_even),
    "truncation": backend_with(rescale_relu=truncated),
    "no saturation": backend_with(rescale_relu=not_saturated),
    "saturation one too high": backend_with(rescale_relu=saturated_to_32768),
    "no ReLU": backend_with(rescale_relu=without_relu),
    "one loss off by one": OneOffInALoss,
    "steps off by one": WrongInSteps,
    "raises": Raises,
}


def test_the_reference_with_nothing_replaced_passes(monkeypatch):
    monkeypatch.setattr(evaluation, "BACKENDS", {"whole": backend_with()})
    assert self_test((1, 2)) == {"whole": None}


def test_every_backend_passes():
    assert self_test((1, 2)) == {"kernel": None, "float64": None, "reference": None}


@pytest.mark.parametrize("name", BROKEN)
def test_a_backend_that_differs_is_disabled(monkeypatch, name):
    monkeypatch.setattr(evaluation, "BACKENDS", {"broken": BROKEN[name], "kernel": KernelBackend})
    verdicts = self_test((1, 2))
    assert verdicts["broken"] is not None
    assert verdicts["kernel"] is None
    with pytest.raises(NoExactBackend, match="broken is disabled"):
        Evaluator(SMALL, "broken")
    assert Evaluator(SMALL).backend == "kernel"


def test_auto_takes_the_first_backend_that_passes(monkeypatch):
    evaluation._verdicts.clear()
    monkeypatch.setattr(evaluation, "BACKENDS", {"kernel": Raises, "float64": WrongInSteps, "reference": PlainBackend})
    evaluator = Evaluator(SMALL)
    assert evaluator.backend == "reference"
    weights = np.zeros(SMALL.parameters, dtype=np.int32)
    losses = evaluator.losses(weights, np.zeros((1, 4), dtype=np.uint8), np.zeros(1, dtype=np.int64))
    assert losses.tolist() == [round(np.log(2) * 2**20)]


def test_with_no_exact_backend_nothing_is_evaluated(monkeypatch):
    evaluation._verdicts.clear()
    monkeypatch.setattr(evaluation, "BACKENDS", {"kernel": Raises, "float64": WrongInSteps})
    with pytest.raises(NoExactBackend, match="no such device"):
        Evaluator(SMALL)


def test_a_backend_wrong_with_two_threads_only_is_not_trusted_with_one(monkeypatch):
    class WrongOnOtherThreads(PlainBackend):
        def losses_of_steps(self, base, scaled, masks, shift, inputs, labels):
            wrong = len(masks) < 2 ** len(scaled)  # a part of the coalitions, so there are others
            return super().losses_of_steps(base, scaled, masks, shift, inputs, labels) + wrong

    monkeypatch.setitem(BACKENDS, "broken", WrongOnOtherThreads)
    assert self_test((1,))["broken"] is None
    assert Evaluator(SMALL, "broken").backend == "broken"
    assert self_test((1, 2))["broken"] is not None
    with pytest.raises(NoExactBackend):
        Evaluator(SMALL, "broken")


def test_altered_tables_disable_everything(monkeypatch):
    altered = golden.POWERS.copy()
    altered[700] += 1
    monkeypatch.setattr(golden, "POWERS", altered)
    assert all("tables" in str(reason) for reason in self_test((1,)).values())


def test_the_vectors_use_every_entry_of_both_tables():
    case = next(case for case in golden.cases() if case.name == "tables")
    logits = reference.logits(case.architecture, case.weights, case.inputs)
    differences = np.abs(logits[:, 1] - logits[:, 0]) / 2.0**case.architecture.logit_exponent
    of_powers = np.floor(differences / np.log(2) % 1 * 1024).astype(int)
    of_logarithms = np.floor(np.exp(-differences[1:]) * 2048).astype(int)  # below ln 2, where the sum is 1 + e^-d
    assert set(of_powers.tolist()) == set(range(1024))
    assert set(of_logarithms.tolist()) == set(range(2048))


INSTRUCTION_SETS = {
    "without AVX-512": ("haswell", "+avx2,+fma,-avx512f", "avx2", 8, "zmm"),
    "without AVX2": ("nehalem", "+sse4.2,-avx,-avx2", "sse4_2", 4, "ymm"),
}
PROGRAM = """
import sys
from learning.evaluation import Evaluator
from learning.golden import first_difference
from learning.kernels import forward, losses, pack
from learning.microkernel import LANES
assert LANES == int(sys.argv[1]), LANES
for threads in (1, 2):
    difference = first_difference(lambda architecture: Evaluator(architecture, "kernel", threads))
    assert difference is None, difference
for function in (forward, losses, pack):
    assembly = "".join(function.inspect_asm().values())
    assert "xmm" in assembly and sys.argv[2] not in assembly, function
"""


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="these are names of x86 processors")
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_the_kernel_is_exact_on_processors(name, tmp_path):
    processor, features, needed, lanes, absent = INSTRUCTION_SETS[name]
    with open("/proc/cpuinfo") as cpuinfo:
        if needed not in cpuinfo.read():
            pytest.skip(f"this processor has no {needed}")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", PROGRAM, str(lanes), absent]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
