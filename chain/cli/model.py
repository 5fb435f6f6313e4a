"""Home of `model`: a task's head as a file, and its exact score on data of the user's."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from chain.cli.main import UsageError
from chain.cli.options import add_rpc
from chain.errors import LyceumError

if TYPE_CHECKING:
    from learning.model_file import Head

SUFFIX = ".safetensors"
NAT = 1 << 20
THREADS_MAX = 64


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def command(name: str, sentence: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=sentence)
        add_rpc(added)
        return added

    pull = command("pull", "fetch a task's head, check it against its root, and keep it in a safetensors file")
    pull.add_argument("task", metavar="TASK", help="its name or id")
    pull.add_argument("--out", type=Path, required=True, metavar=f"FILE{SUFFIX}")
    pull.add_argument("--root", metavar="ROOT", help="an earlier head, see `task lineage` (the newest)")

    evaluate = command("eval", "a model's exact loss and accuracy, as consensus computes them, on a data set of yours")
    evaluate.add_argument("model", metavar=f"FILE{SUFFIX}|TASK", help="a pulled file, or a task's newest head")
    evaluate.add_argument("--data", required=True, metavar="SPEC", help="as in digits@test or csv:my.csv,label=kind")
    evaluate.add_argument("--threads", type=int, default=1, metavar="N", help="to evaluate with (1)")
    evaluate.add_argument("--json", action="store_true", help="print the numbers for scripts")


def run(arguments: argparse.Namespace) -> int:
    return pull(arguments) if arguments.action == "pull" else evaluate(arguments)


def pull(arguments: argparse.Namespace) -> int:
    from learning.fetching import fetch_head
    from learning.model_file import save

    if arguments.out.suffix != SUFFIX:
        raise UsageError(f"--out {arguments.out} must end with {SUFFIX}")
    if not arguments.out.parent.is_dir():
        raise LyceumError(f"there is no folder {arguments.out.parent} to write {arguments.out.name} into")
    head = fetch_head(arguments.rpc, arguments.task, arguments.root)
    save(arguments.out, head)
    print(f"{arguments.out}: {_described(head)}, {head.architecture.parameters} parameters")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    from learning.datasets import load
    from learning.evaluation import Evaluator

    if not 1 <= arguments.threads <= THREADS_MAX:
        raise UsageError(f"--threads {arguments.threads} must be from 1 to {THREADS_MAX}")
    head = _head(arguments)
    data = load(arguments.data, head.schema)
    prepared = Evaluator(head.architecture, threads=arguments.threads).prepare(head.weights)
    loss = int(prepared.losses(data.inputs, data.labels).sum())
    correct = prepared.correct(data.inputs, data.labels)
    mean, accuracy = loss / NAT / len(data), correct / len(data)
    if arguments.json:
        numbers = {"loss": loss, "correct": correct, "samples": len(data), "meanLossNats": mean, "accuracy": accuracy}
        about = {"task": head.task, "name": head.name, "round": head.round, "root": "0x" + head.root.hex()}
        print(json.dumps({**about, "unchanged": head.is_unchanged, **numbers}, indent=1))
        return 0
    print(_described(head))
    print(f"loss      {mean:.6f} nat a sample ({loss} * 2^-20 over {len(data)} samples)")
    print(f"accuracy  {100 * accuracy:.2f} % ({correct} of {len(data)})")
    return 0


def _head(arguments: argparse.Namespace) -> Head:
    """The model that was asked for: a file if it is one, a task's newest head if not."""
    from learning.fetching import fetch_head
    from learning.model_file import load

    path = Path(arguments.model)
    if path.suffix == SUFFIX or path.is_file():
        return load(path)
    return fetch_head(arguments.rpc, arguments.model)


def _described(head: Head) -> str:
    origin = "made by no round" if head.round is None else f"head of round {head.round}"
    changed = "" if head.is_unchanged else ", CHANGED since it was pulled"
    return f"{head.name}, {origin}, root 0x{head.root.hex()}{changed}"
