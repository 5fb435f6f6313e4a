"""Home of the custodian: a client of any node that opens one shard a judged round, and keeps nothing but its seeds."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chain.abi import encode_call
from chain.errors import LyceumError
from chain.roles.client import Account, NodeClient, NodeError
from chain.roles.miner import follow_blocks
from chain.roles.task_view import TaskView, read_task, unhex
from learning.shards import ShardKeys

log = logging.getLogger("lyceum.custodian")


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """The secret of one task's shards."""

    task: str
    name: str
    keys: ShardKeys


def read_custodies(directory: Path) -> list[Custody]:
    """The secrets in a directory, one file a task. Raises LyceumError naming the file that is damaged."""
    custodies = []
    for path in sorted(directory.glob("*.json")):
        try:
            secret = json.loads(path.read_text())
            keys = ShardKeys(seed=bytes.fromhex(secret["seed"]), count=int(secret["shards"]))
            custodies.append(Custody(task=secret["task"], name=secret["name"], keys=keys))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LyceumError(f"{path} is damaged ({error}); restore it from a copy, or the bond is lost") from error
    if not custodies:
        raise LyceumError(
            f"{directory} holds no secrets of a custodian; `python -m chain init` makes them with the network"
        )
    return custodies


class Custodian:
    """Opens the shards of all its tasks when their time comes."""

    def __init__(self, node: NodeClient, account: Account, custodies: list[Custody]) -> None:
        self._node, self._account, self._custodies = node, account, custodies
        self._sent: dict[tuple[str, int], int] = {}

    async def act(self, height: int) -> None:
        """Send the openings that are due in the block after `height`."""
        for custody in self._custodies:
            task = await read_task(self._node, custody.task)
            if task.phase == "open" and task.round > 0:
                await self._open(task, custody, task.round - 1, height)

    async def _open(self, task: TaskView, custody: Custody, number: int, height: int) -> None:
        round_ = await self._node.call("learn_round", custody.task, number)
        own = next((c for c in task.answer["custodians"] if c["custodian"] == self._account.name), None)
        if own is None or round_ is None or round_["status"] != "opening":
            return
        index = round_["ordinal"] - own["joined"]
        opened = any(opening["custodian"] == self._account.name for opening in round_["openings"])
        if opened or not 0 <= index < custody.keys.count or self._sent.get((custody.task, number)) == height:
            return
        self._sent[custody.task, number] = height
        calldata = encode_call("openShard", unhex(custody.task), number, custody.keys.key(index))
        try:
            await self._account.call_contract(calldata)
            log.info("%s round %d: opening shard %d", custody.name, number, index)
        except NodeError as error:
            log.warning("%s round %d: opening refused: %s", custody.name, number, error)


async def keep_custody(
    url: str,
    key: bytes,
    directory: Path,
    *,
    poll_seconds: float = 0.2,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Open shards until cancelled. `ready` is called when openings that were due have been sent."""
    custodies = await asyncio.to_thread(read_custodies, directory)
    async with NodeClient(url, patient=True) as node:
        custodian = Custodian(node, Account(node, key), custodies)

        async def act(height: int) -> None:
            await custodian.act(height)
            ready()

        await follow_blocks(node, act, poll_seconds)
