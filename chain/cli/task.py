"""Home of `task`: what is being taught, how far it has come, and who was paid for it, as any node tells it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from chain.cli.amounts import coins_text, in_coins
from chain.cli.main import UsageError
from chain.cli.options import add_rpc
from chain.cli.tables import print_fields, print_table, short
from chain.crypto import checksum_address

if TYPE_CHECKING:
    from chain.roles.client import NodeClient

ROUNDS_SHOWN = 5
ROUNDS_SHOWN_MAX = 1000
ROUNDS_A_CALL = 1000
COIN_DIGITS = 4
NAT = 1 << 20


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def command(name: str, sentence: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=sentence)
        add_rpc(added)
        added.add_argument("--json", action="store_true", help="print what the node says, for scripts")
        return added

    command("list", "all tasks of the chain")
    show = command("show", "a task: its model, phase, custodians, and who was paid what in its last rounds")
    show.add_argument("task", metavar="TASK", help="its name or id")
    show.add_argument("--rounds", type=int, default=ROUNDS_SHOWN, metavar="N", help=f"how many ({ROUNDS_SHOWN})")
    lineage = command("lineage", "a task's heads since genesis, with the losses before and after each round")
    lineage.add_argument("task", metavar="TASK", help="its name or id")


def run(arguments: argparse.Namespace) -> int:
    actions = {"list": list_tasks, "show": show_task, "lineage": show_lineage}
    if arguments.action == "show" and not 0 <= arguments.rounds <= ROUNDS_SHOWN_MAX:
        raise UsageError(f"--rounds {arguments.rounds} must be from 0 to {ROUNDS_SHOWN_MAX}")
    asyncio.run(actions[arguments.action](arguments))
    return 0


# -------------------------------------------------------------------------------------------------------------- list


async def list_tasks(arguments: argparse.Namespace) -> None:
    from chain.roles.client import NodeClient

    async with NodeClient(arguments.rpc) as node:
        tasks = await node.call("learn_tasks")
    if arguments.json:
        print_json(tasks)
        return
    headers = ["task", "status", "phase", "round", "loss", "accuracy", "id"]
    print_table(headers, [_task_row(task) for task in tasks])


def _task_row(task: dict[str, Any]) -> list[str]:
    last = task["last"]
    judged = last["height"] is not None
    return [
        task["name"],
        task["status"],
        task["phase"],
        f"{min(task['round'], task['clock']['rounds'])} of {task['clock']['rounds']}",
        nats(last["lossAfter"]) if judged else "-",
        accuracy(last["correctAfter"], last["samples"]) if judged else "-",
        named_root(task["task"]),
    ]


# -------------------------------------------------------------------------------------------------------------- show


async def show_task(arguments: argparse.Namespace) -> None:
    from chain.roles.client import NodeClient
    from chain.roles.task_view import find_task

    async with NodeClient(arguments.rpc) as node:
        task = (await find_task(node, arguments.task)).answer
        height = int(await node.call("eth_blockNumber"), 16)
        rounds = await _last_rounds(node, task, arguments.rounds)
    if arguments.json:
        print_json({"task": task, "rounds": rounds})
        return
    print_fields(task_fields(task, height))
    print()
    headers = ["custodian", "shards", "opened", "bond"]
    print_table(headers, [_custodian_row(custodian) for custodian in task["custodians"]])
    if rounds:
        print()
        print_table(
            ["round", "status", "samples", "loss before", "after", "accuracy", "paid"], list(map(round_row, rounds))
        )
        print()
        headers = ["round", "miner", "contribution", "reward", "charge", "cut", "why"]
        print_table(headers, [update_row(found["round"], update) for found in rounds for update in found["updates"]])


async def _last_rounds(node: NodeClient, task: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The last rounds in which anything was committed, oldest first."""
    rounds: list[dict[str, Any]] = []
    number = task["round"]
    while len(rounds) < count and number >= 0:
        found = await node.call("learn_round", task["task"], number)
        if found is not None:
            rounds.append(found)
        number -= 1
    return rounds[::-1]


def task_fields(task: dict[str, Any], height: int) -> list[tuple[str, str]]:
    """What there is to say of a task at a height, by name."""
    clock, last, specification = task["clock"], task["last"], task["specification"]
    architecture = specification["architecture"]
    layers = "-".join(map(str, architecture["layers"]))
    commit = clock["cycle"] - clock["reveal"] - clock["open"] - clock["hold"]
    fields = [
        ("task", task["name"]),
        ("id", task["task"]),
        ("description", task["description"]),
        ("status", f"{task['status']}, {task['settledRounds']} of {clock['rounds']} rounds settled"),
        ("phase", _phase(task, height)),
        (
            "cycle",
            f"{clock['cycle']} blocks: reveal {clock['reveal']}, open {clock['open']}, commit {commit}, "
            f"hold {clock['hold']}; since height {int(clock['start'], 16)}",
        ),
        ("model", f"{architecture['kind']} {layers}, {architecture['loss'].replace('_', ' ')}"),
        ("head", task["head"]),
        (
            "pays from",
            "minting; earns power" if task["native"] else f"escrow of {coins_text(int(task['escrow'], 16))}",
        ),
        ("least bond", coins_text(int(task["bondMinimum"], 16))),
        ("evaluation fee", coins_text(int(task["evaluationFee"], 16))),
    ]
    if last["height"] is not None:
        measured = (
            f"loss {nats(last['lossBefore'])} -> {nats(last['lossAfter'])} nat a sample, "
            f"{last['correctAfter']} of {last['samples']} right"
        )
        fields.append((f"round {last['lastRound']}", measured))
    return fields


def _phase(task: dict[str, Any], height: int) -> str:
    clock = task["clock"]
    start = int(clock["start"], 16)
    if task["phase"] == "pending":
        return f"pending: it begins at height {start}, in {start - height} blocks"
    if task["phase"] == "over":
        return "over"
    position = (height + 1 - start) % clock["cycle"]
    return f"{task['phase']} of round {task['round']}, block {position + 1} of {clock['cycle']} of its cycle"


def _custodian_row(custodian: dict[str, Any]) -> list[str]:
    bond = coins_text(int(custodian["bond"], 16))
    return [named_address(custodian["custodian"]), str(custodian["shards"]), str(custodian["opened"]), bond]


def round_row(found: dict[str, Any]) -> list[str]:
    record = found["record"]
    paid = in_coins(sum(int(update["reward"], 16) for update in found["updates"]), COIN_DIGITS)
    if record is None or record["void"]:
        return [str(found["round"]), found["status"], "-", "-", "-", "-", paid]
    status = "accepted" if record["accepted"] else "rejected"
    losses = [nats(record["lossBefore"]), nats(record["lossAfter"])]
    right = accuracy(record["correctAfter"], record["samples"])
    return [str(found["round"]), status, str(record["samples"]), *losses, right, paid]


def update_row(number: int, update: dict[str, Any]) -> list[str]:
    amounts = [in_coins(int(update[name], 16), COIN_DIGITS) for name in ("reward", "charge", "cut")]
    miner = named_address(update["miner"])
    return [str(number), miner, f"{update['contribution'] / NAT:+.5f}", *amounts, update["reason"]]


# ----------------------------------------------------------------------------------------------------------- lineage


async def show_lineage(arguments: argparse.Namespace) -> None:
    from chain.roles.client import NodeClient
    from chain.roles.task_view import find_task

    async with NodeClient(arguments.rpc) as node:
        task = (await find_task(node, arguments.task)).answer
        heads: list[dict[str, Any]] = []
        for first in range(0, task["round"] + 1, ROUNDS_A_CALL):
            heads += await node.call("learn_lineage", task["task"], first, first + ROUNDS_A_CALL - 1)
    if arguments.json:
        print_json(heads)
        return
    headers = ["round", "height", "samples", "loss before", "after", "accuracy", "head"]
    print_table(headers, [_head_row(head) for head in heads])


def _head_row(head: dict[str, Any]) -> list[str]:
    root = named_root(head["root"])
    if head["round"] is None:
        return ["genesis", "0", "-", "-", "-", "-", root]
    record = head["record"]
    losses = [nats(record["lossBefore"]), nats(record["lossAfter"])]
    right = accuracy(record["correctAfter"], record["samples"])
    return [str(head["round"]), str(int(head["height"], 16)), str(record["samples"]), *losses, right, root]


# ------------------------------------------------------------------------------------------------------------- cells


def nats(loss: int) -> str:
    """A loss in 2^-20 nat, in nat."""
    return f"{loss / NAT:.4f}"


def accuracy(correct: int, samples: int) -> str:
    return f"{100 * correct / samples:.1f} %" if samples else "-"


def named_root(root: str) -> str:
    """A root or an id: whole for scripts, its beginning on a terminal, whose lines are short."""
    return short(root, 12) if sys.stdout.isatty() else root


def named_address(address: str) -> str:
    """An address with its checksum, as short as a root."""
    return named_root(checksum_address(bytes.fromhex(address.removeprefix("0x"))))


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))
