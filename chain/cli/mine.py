"""Home of `mine`: a miner as a client of any node, with torch for its training."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from chain.cli.amounts import coins
from chain.cli.children import add_supervision, report_ready, run_role
from chain.cli.main import UsageError
from chain.cli.options import add_key, add_rpc, read_key, set_up_logging
from chain.crypto import address_of, checksum_address
from chain.errors import LyceumError
from chain.roles.miner import Course, Train, mine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chain.roles.task_view import TaskView
    from learning.datasets import Dataset

log = logging.getLogger("lyceum.miner")


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_rpc(parser)
    add(
        "--task", action="append", required=True, metavar="ID", help="a task, by id or name; may be given several times"
    )
    add("--data", action="append", required=True, metavar="SPEC", help="the data for each --task, as in digits#1/3")
    add_key(parser)
    add("--dir", type=Path, metavar="DIR", help="where keys of sealed updates are kept (./miner-ADDRESS)")
    add("--bond", type=coins, default=0, metavar="COINS", help="bond of an update, if more than the task's least")
    add("--steps", type=int, default=50, metavar="N", help="minibatches a round (50)")
    add("--epochs", type=int, metavar="N", help="passes over the data a round, in place of --steps")
    add("--device", default="cpu", help="torch device to train on (cpu)")
    add_supervision(parser)


def trainer(steps: int, epochs: int | None, device: str) -> Train:
    """Training by torch, imported when it first trains."""

    def train_on(task: TaskView, weights: NDArray[np.int32], data: Dataset) -> NDArray[np.int64]:
        from learning.trainer import Training, train

        training = Training(steps=steps, epochs=epochs, device=device)
        return train(task.architecture, weights, data, training, seed=secrets.randbits(63))

    return train_on


def check_device(name: str) -> None:
    """Whether torch can train there; torch is not loaded for the CPU, which it always can. Raises LyceumError."""
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:
        raise LyceumError(f"torch can't use --device {name}: {str(error).splitlines()[0]}") from error


def run(arguments: argparse.Namespace) -> int:
    if len(arguments.task) != len(arguments.data):
        raise UsageError(
            f"{len(arguments.task)} --task and {len(arguments.data)} --data: give one --data for each --task"
        )
    if arguments.steps < 1 or (arguments.epochs is not None and arguments.epochs < 1):
        raise UsageError("--steps and --epochs must be at least 1")
    set_up_logging()
    check_device(arguments.device)
    key = read_key(arguments, arguments.key)
    directory = arguments.dir or Path(f"miner-{address_of(key).hex()[:8]}")
    courses = [Course(task=task, data=data) for task, data in zip(arguments.task, arguments.data, strict=True)]
    train = trainer(arguments.steps, arguments.epochs, arguments.device)
    log.info("mining %s through %s as %s", ", ".join(arguments.task), arguments.rpc, checksum_address(address_of(key)))
    job = mine(arguments.rpc, key, courses, directory, train, bond=arguments.bond, ready=report_ready(arguments))
    asyncio.run(run_role(job, arguments))
    return 0
