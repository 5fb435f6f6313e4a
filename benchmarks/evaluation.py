"""Home of the question what exactness costs: evaluation in integers beside torch fp32, and coalitions a second.

Both sides have their model ready (packed, or an nn.Sequential under inference mode) and turn the same samples into the
same logits: bytes in and int64 out here, float32 in and out there. They take turns, each long enough to be timed, with
as many threads; figures are medians of the turns. One thread is timed by the CPU's clock, which other processes disturb
least; several by the wall's, which they disturb a lot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.processes import machine
from learning import microkernel, reference
from learning.architecture import Architecture
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.trainer import as_inputs, as_module

SHAPES = ((64, 64, 10), (784, 256, 10))
UPDATES = 8
SHIFT = 16
TURN_SECONDS = 0.03
PAUSE_SECONDS = 0.005  # until the other side's threads no longer wait in a loop
RATIO_REQUIRED = 1.2  # of the forward pass with one thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians of one shape and number of threads."""

    layers: tuple[int, ...]
    threads: int
    batch: int
    exact_forward_us: float
    torch_forward_us: float
    exact_losses_us: float
    torch_losses_us: float
    exact_coalitions_per_second: float
    torch_coalitions_per_second: float

    @property
    def forward_ratio(self) -> float:
        """How many times as fast as torch the exact forward pass is."""
        return self.torch_forward_us / self.exact_forward_us

    @property
    def losses_ratio(self) -> float:
        """The same with the loss of each sample."""
        return self.torch_losses_us / self.exact_losses_us


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """One model, a batch and eight updates, for both sides."""

    architecture: Architecture
    weights: np.ndarray
    scaled: np.ndarray  # int64[UPDATES, P], weighted alike
    inputs: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, layers: tuple[int, ...], batch: int) -> Workload:
        """Random bytes and updates that are small beside the weights."""
        generator = np.random.default_rng(1)
        architecture = Architecture(layers=layers)
        weights = initial_weights(architecture, bytes(32))
        deltas = generator.normal(0, 0.002 * 2**20, (UPDATES, len(weights))).round().astype(np.int64)
        return cls(
            architecture=architecture,
            weights=weights,
            scaled=deltas << (SHIFT - 3),
            inputs=generator.integers(0, 256, (batch, layers[0])).astype(np.uint8),
            labels=generator.integers(0, layers[-1], batch),
        )


def exact_tasks(work: Workload, threads: int) -> dict[str, Callable[[], object]]:
    """What the kernel does in a turn."""
    evaluator = Evaluator(work.architecture, "kernel", threads)
    model = evaluator.prepare(work.weights)
    expected = reference.logits(work.architecture, work.weights, work.inputs)
    assert (model.logits(work.inputs) == expected).all()
    masks = list(range(1 << UPDATES))
    return {
        "forward": lambda: model.logits(work.inputs),
        "losses": lambda: model.losses(work.inputs, work.labels),
        "coalitions": lambda: evaluator.losses_of_steps(
            work.weights, work.scaled, masks, SHIFT, work.inputs, work.labels
        ),
    }


def torch_tasks(work: Workload) -> dict[str, Callable[[], object]]:
    """The same in fp32."""
    module = as_module(work.architecture, work.weights)
    inputs, labels = as_inputs(work.architecture, work.inputs), torch.from_numpy(work.labels)
    expected = reference.logits(work.architecture, work.weights, work.inputs) / 2.0**work.architecture.logit_exponent
    assert np.abs(module(inputs).detach().numpy() - expected).max() < 0.05, "the two sides run different models"
    base = nn.utils.parameters_to_vector(module.parameters()).detach()
    steps = torch.from_numpy(work.scaled / 2.0 ** (SHIFT + 20)).float()

    def losses() -> torch.Tensor:
        return nn.functional.cross_entropy(module(inputs), labels, reduction="none")

    def coalitions() -> None:
        for mask in range(1 << UPDATES):
            members = [member for member in range(UPDATES) if mask >> member & 1]
            nn.utils.vector_to_parameters(base + steps[members].sum(0), module.parameters())
            losses()
        nn.utils.vector_to_parameters(base, module.parameters())

    return {"forward": lambda: module(inputs), "losses": losses, "coalitions": coalitions}


def seconds_each(task: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    """Seconds of one of `count` runs."""
    begin = clock()
    for _ in range(count):
        task()
    return (clock() - begin) / count


def interleaved(tasks: Mapping[str, Callable[[], object]], turns: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each task, all taking turns."""
    for task in tasks.values():
        task()
    counts = {name: max(1, round(TURN_SECONDS / seconds_each(task, 1, clock))) for name, task in tasks.items()}
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(turns):
        for name, task in tasks.items():
            time.sleep(PAUSE_SECONDS)
            taken[name].append(seconds_each(task, counts[name], clock))
    return {name: statistics.median(values) for name, values in taken.items()}


@torch.inference_mode()
def measure(layers: tuple[int, ...], threads: int, options: argparse.Namespace) -> Row:
    """One row of the table."""
    torch.set_num_threads(threads)
    work = Workload.of(layers, options.batch)
    ours, theirs = exact_tasks(work, threads), torch_tasks(work)
    clock = time.process_time if threads == 1 else time.perf_counter
    medians: dict[str, float] = {}
    for name in ours:
        turns = options.turns if name != "coalitions" else min(options.turns, 3)
        pair = interleaved({f"exact {name}": ours[name], f"torch {name}": theirs[name]}, turns, clock)
        medians.update(pair)
    return Row(
        layers=layers,
        threads=threads,
        batch=options.batch,
        exact_forward_us=medians["exact forward"] * 1e6,
        torch_forward_us=medians["torch forward"] * 1e6,
        exact_losses_us=medians["exact losses"] * 1e6,
        torch_losses_us=medians["torch losses"] * 1e6,
        exact_coalitions_per_second=(1 << UPDATES) / medians["exact coalitions"],
        torch_coalitions_per_second=(1 << UPDATES) / medians["torch coalitions"],
    )


def table(rows: list[Row]) -> str:
    """The figures for people."""
    lines = [
        "                        forward, us              losses, us               coalitions/s",
        "model       threads    exact   torch ratio    exact   torch ratio     exact     torch",
    ]
    for row in rows:
        lines.append(  # noqa: PERF401
            f"{'-'.join(map(str, row.layers)):<12}{row.threads:>7}"
            f"{row.exact_forward_us:>9.1f}{row.torch_forward_us:>8.1f}{row.forward_ratio:>6.2f}"
            f"{row.exact_losses_us:>9.1f}{row.torch_losses_us:>8.1f}{row.losses_ratio:>6.2f}"
            f"{row.exact_coalitions_per_second:>10.0f}{row.torch_coalitions_per_second:>10.0f}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """0, or 1 where `--check` is given and a forward pass with one thread misses the required ratio."""
    options = _options(argv)
    rows = [measure(layers, threads, options) for layers in SHAPES for threads in options.threads]
    print(table(rows))
    print(f"batch {options.batch}, medians of {options.turns} turns, coalitions of {UPDATES} updates with their losses")
    print(f"load average {os.getloadavg()[0]:.1f}: beside other work, figures of two threads say little")
    if options.json:
        options.json.write_text(json.dumps(_content(rows), indent=1) + "\n", encoding="utf-8")
    missed = [row for row in rows if row.threads == 1 and row.forward_ratio < RATIO_REQUIRED]
    for row in missed:
        print(f"below {RATIO_REQUIRED}: {row.layers} with one thread, {row.forward_ratio:.2f}", file=sys.stderr)
    return 1 if missed and options.check else 0


def _content(rows: list[Row]) -> dict[str, Any]:
    figures = [{**asdict(row), "forward_ratio": row.forward_ratio, "losses_ratio": row.losses_ratio} for row in rows]
    return {
        "machine": machine(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0],
        "lanes": microkernel.LANES,
        "updates": UPDATES,
        "rows": figures,
    }


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks evaluation", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--check", action="store_true", help=f"fail below {RATIO_REQUIRED} times torch with one thread")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
