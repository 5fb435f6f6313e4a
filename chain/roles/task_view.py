"""Home of a task as a role sees it through the public RPC: its numbers, its clock, its head and its opened shards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.errors import LyceumError
from chain.operations.clock import Clock
from chain.operations.tasks import canonical_json
from chain.roles.client import NodeClient
from learning.architecture import Architecture
from learning.commitment import blob_root, weights_from_bytes, weights_root
from learning.datasets import Dataset, Schema
from learning.sealing import InvalidSeal, open_shard
from learning.shards import InvalidShard, Shard, decode_manifest, decode_shard


class NodeMisleads(LyceumError):
    """A node's answer that does not fit what it is committed to: another node should be asked."""


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@dataclass(frozen=True)
class TaskView:
    """What `learn_task` said of a task at the tip. `answer` is the JSON as it came."""

    answer: dict[str, Any]

    @property
    def id(self) -> bytes:
        return unhex(self.answer["task"])

    @property
    def name(self) -> str:
        return str(self.answer["name"])

    @property
    def phase(self) -> str:
        """The phase of the next block: pending, reveal, open, commit, hold or over."""
        return str(self.answer["phase"])

    @property
    def round(self) -> int:
        """The cycle that the next block lies in."""
        return int(self.answer["round"])

    @property
    def head(self) -> bytes:
        return unhex(self.answer["head"])

    @cached_property
    def architecture(self) -> Architecture:
        return Architecture.from_json(canonical_json(self.answer["specification"]["architecture"]))

    @cached_property
    def schema(self) -> Schema:
        return Schema.from_json(self.answer["specification"]["schema"])

    @property
    def shard_samples(self) -> int:
        return int(self.answer["specification"]["shard_samples"])

    @cached_property
    def clock(self) -> Clock:
        told = self.answer["clock"]
        rest = {name: int(told[name]) for name in ("cycle", "reveal", "open", "hold", "rounds")}
        return Clock(start=int(told["start"], 16), **rest)

    def amount(self, name: str) -> int:
        return int(self.answer[name], 16)


async def find_task(node: NodeClient, name_or_id: str) -> TaskView:
    """The task of this id, or the newest of this name that is not over. Raises LyceumError if there is none."""
    if name_or_id.startswith("0x"):
        return await read_task(node, name_or_id)
    named = [summary for summary in await node.call("learn_tasks") if summary["name"] == name_or_id]
    if not named:
        known = ", ".join(summary["name"] for summary in await node.call("learn_tasks")) or "none"
        raise LyceumError(f"the node at {node.url} has no task {name_or_id!r}; it has: {known}")
    alive = [summary for summary in named if summary["status"] == "active"]
    return await read_task(node, (alive or named)[-1]["task"])


async def read_task(node: NodeClient, task: str) -> TaskView:
    return TaskView(answer=await node.call("learn_task", task))


async def pull_weights(node: NodeClient, task: TaskView, root: bytes) -> NDArray[np.int32]:
    """A head's weights, int32[P], checked against their root. Raises NodeMisleads."""
    weights = weights_from_bytes(await node.get_blob("0x" + root.hex()), task.architecture.parameters)
    if weights_root(task.architecture, weights) != root:
        raise NodeMisleads(f"{node.url} sent other weights than those of head 0x{root.hex()}")
    return weights


class OpenedShards:
    """The held-out samples of a task that have been opened, and so are everyone's to train on."""

    def __init__(self, node: NodeClient) -> None:
        self._node = node
        self._shards: list[Shard] = []
        self._next_round = 0

    async def update(self, task: TaskView) -> None:
        """Fetch what was opened since the last call."""
        while self._next_round + 1 < task.round or (self._next_round + 1 == task.round and task.phase != "reveal"):
            answer = await self._node.call("learn_round", task.answer["task"], self._next_round)
            if answer is not None and answer["status"] in ("committing", "held", "opening"):
                return
            for opening in answer["openings"] if answer else ():
                shard = await self._fetch(task, opening)
                if shard is not None:
                    self._shards.append(shard)
            self._next_round += 1

    async def _fetch(self, task: TaskView, opening: dict[str, Any]) -> Shard | None:
        """One shard, None where its custodian sealed rubbish."""
        custodian = next(c for c in task.answer["custodians"] if c["custodian"] == opening["custodian"])
        width = task.architecture.input_width
        manifest = await self._blob(opening["shardsRoot"])
        try:
            entries = decode_manifest(
                manifest, shards=int(custodian["shards"]), samples=task.shard_samples, width=width
            )
            sealed = await self._blob("0x" + entries[opening["index"]].root.hex())
            plaintext = open_shard(
                sealed,
                key=unhex(opening["key"]),
                task=task.id,
                custodian=unhex(opening["custodian"]),
                index=opening["index"],
            )
            return decode_shard(plaintext, samples=task.shard_samples, width=width, classes=task.architecture.classes)
        except (InvalidSeal, InvalidShard):
            return None

    async def _blob(self, root: str) -> bytes:
        blob = await self._node.get_blob(root)
        if blob_root(blob) != unhex(root):
            raise NodeMisleads(f"{self._node.url} sent another blob than {root}")
        return blob

    def joined_with(self, data: Dataset) -> Dataset:
        """The owner's private samples and all opened ones."""
        return Dataset(
            inputs=np.concatenate([data.inputs, *(shard.inputs for shard in self._shards)]),
            labels=np.concatenate([data.labels, *(shard.labels for shard in self._shards)]),
            classes=data.classes,
        )

    def __len__(self) -> int:
        return sum(len(shard.labels) for shard in self._shards)
