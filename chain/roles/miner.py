"""Home of the miner: a client of any node that trains on private data, commits sealed updates and reveals them.

A miner acts on what the chain says and on its journal, nothing else, so it may stop and start at any moment. What is
due at a tip is decided anew with every block; a transaction that got lost is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.abi import encode_call
from chain.errors import LyceumError
from chain.roles.client import Account, NodeClient, NodeError
from chain.roles.journal import Entry, Journal
from chain.roles.task_view import OpenedShards, TaskView, find_task, pull_weights, read_task, unhex
from chain.types import COIN
from learning.commitment import blob_root, key_commitment
from learning.datasets import Dataset, load
from learning.sealing import seal_update
from learning.updates import encode_update

log = logging.getLogger("lyceum.miner")

Train = Callable[[TaskView, NDArray[np.int32], Dataset], NDArray[np.int64]]
RESEND_BLOCKS = 4  # a transaction without effect after so many blocks is sent again
COMMIT_BLOCKS = 3  # blocks that an upload and a commit may take, before the commit phase ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One task that a miner works on, and the data that it has for it."""

    task: str  # name or id
    data: str  # a SPEC, see learning.datasets.load


class TaskMiner:
    """Works on one task: `follow`, then `work`, are called with every block."""

    def __init__(
        self, node: NodeClient, account: Account, course: Course, journal: Journal, train: Train, bond: int
    ) -> None:
        self._node, self._account, self._course = node, account, course
        self._journal, self._train, self._bond = journal, train, bond
        self._task_id = ""
        self._private: asyncio.Task[Dataset] | None = None
        self._opened = OpenedShards(node)
        self._sent: dict[tuple[str, int], tuple[int, str]] = {}  # (what, round) -> height at which it was sent, hash

    async def follow(self, height: int) -> TaskView:
        """Send the reveals that are due in the block after `height`; the task as it stands."""
        task = await (
            read_task(self._node, self._task_id) if self._task_id else find_task(self._node, self._course.task)
        )
        self._task_id = task.answer["task"]
        for entry in self._journal.open_entries(self._task_id):
            await self._follow(task, entry, height)
        return task

    async def work(self, task: TaskView, height: int) -> None:
        """Train and commit if it is time for it. May take long. Raises InvalidData, LyceumError for unfit data."""
        if self._private is None and task.phase != "over":
            # Beside all else, as no reveal must wait for data; and at once, as who gave wrong data should hear of it.
            self._private = asyncio.create_task(asyncio.to_thread(self._load, task))
        elif self._private is not None and self._private.done():
            self._private.result()
        if task.clock.accepts_commits(height + 1):
            await self._commit(task, height)

    def _load(self, task: TaskView) -> Dataset:
        data = load(self._course.data, task.schema)
        wanted = (task.architecture.input_width, task.architecture.classes)
        if data.inputs.shape[1] != wanted[0] or data.classes > wanted[1]:
            raise LyceumError(
                f"{self._course.data} has {data.inputs.shape[1]} inputs and {data.classes} classes; {task.name} has "
                f"{wanted[0]} and {wanted[1]}"
            )
        return data

    # ------------------------------------------------------------------------------------- updates on their way

    async def _follow(self, task: TaskView, entry: Entry, height: int) -> None:
        """Reveal an update when its time has come, and tell what became of it when its round has ended."""
        found = await self._find(entry)
        if found is None:
            if task.round > entry.round:
                log.info("%s round %d: the commit was not included; nothing is lost", task.name, entry.round)
                await asyncio.to_thread(self._journal.finish, entry)
            return
        if found["ended"]:  # only then is it known what was paid and cut
            tell_outcome(task.name, entry.round, found)
            await asyncio.to_thread(self._journal.finish, entry)
        elif found["key"] is None and task.clock.accepts_reveals(entry.round, height + 1):
            arguments = (unhex(entry.task), entry.round, unhex(entry.sealed_root), unhex(entry.key))
            await self._send(("reveal", entry.round), height, encode_call("revealUpdate", *arguments))

    async def _find(self, entry: Entry) -> dict[str, Any] | None:
        """The chain's view of an own update, with whether its round has ended; None if it is not committed."""
        round_ = await self._node.call("learn_round", entry.task, entry.round)
        own = [u for u in round_["updates"] if u["sealedRoot"] == entry.sealed_root] if round_ else []
        found = next((u for u in own if u["miner"] == self._account.name), None)
        return found and {**found, "ended": round_["endedAt"] is not None}

    # ----------------------------------------------------------------------------------------------- new updates

    async def _commit(self, task: TaskView, height: int) -> None:
        """Train on the newest head once it is settled, or on the one there is when time gets short; then commit."""
        entry = self._journal.get(self._task_id, task.round)
        if entry is None:
            last = task.clock.start_of(task.round) + task.clock.cycle - task.clock.hold - 1
            settling = task.phase != "commit" or task.answer["unsettled"]
            if (settling and height + 1 < last - 2 * COMMIT_BLOCKS) or height + COMMIT_BLOCKS > last:
                return
            entry = await self._make(task)
        elif entry.done or await self._find(entry) is not None:
            return
        await self._send_commit(task, entry, height)

    async def _make(self, task: TaskView) -> Entry:
        """Train, seal, and write the key to the journal: from here on, a restart goes on with this update."""
        assert self._private is not None
        await self._opened.update(task)
        weights = await pull_weights(self._node, task, task.head)
        data = self._opened.joined_with(await self._private)
        delta = await asyncio.to_thread(self._train, task, weights, data)
        key = secrets.token_bytes(32)
        sealed = seal_update(
            encode_update(delta), key=key, task=task.id, round_number=task.round, miner=self._account.address
        )
        entry = Entry(
            task=self._task_id,
            round=task.round,
            base="0x" + task.head.hex(),
            sealed_root="0x" + blob_root(sealed).hex(),
            key="0x" + key.hex(),
        )
        await asyncio.to_thread(self._journal.add, entry, sealed)
        log.info("%s round %d: trained on %d samples", task.name, task.round, len(data))
        return entry

    async def _send_commit(self, task: TaskView, entry: Entry, height: int) -> None:
        sealed = await asyncio.to_thread(self._journal.sealed, entry)
        root = await self._node.put_blob(entry.task, sealed)
        if root != entry.sealed_root:
            raise LyceumError(f"{self._node.url} names the uploaded update {root}, it is {entry.sealed_root}")
        key_hash = key_commitment(
            key=unhex(entry.key), miner=self._account.address, task=task.id, round_number=entry.round
        )
        arguments = (task.id, entry.round, unhex(entry.base), unhex(entry.sealed_root), len(sealed), key_hash)
        value = task.amount("evaluationFee") + max(self._bond, task.amount("bondMinimum"))
        await self._send(("commit", entry.round), height, encode_call("commitUpdate", *arguments), value)

    async def _send(self, what: tuple[str, int], height: int, calldata: bytes, value: int = 0) -> None:
        """Send a call, once in RESEND_BLOCKS, or anew where the node has lost it, as one that restarted has.

        What the node refuses is told and tried again at the next block.
        """
        sent_at, sent = self._sent.get(what, (-RESEND_BLOCKS, ""))
        if sent_at + RESEND_BLOCKS > height and await self._node.call("eth_getTransactionByHash", sent) is not None:
            return
        try:
            self._sent[what] = height, await self._account.call_contract(calldata, value)
        except NodeError as error:
            log.warning("%s of round %d refused: %s", what[0], what[1], error)


def tell_outcome(name: str, round_number: int, update: dict[str, Any]) -> None:
    """One line on what an update was worth."""
    amounts = {field: int(update[field], 16) / COIN for field in ("reward", "charge", "cut")}
    log.info(
        "%s round %d: %s (%s), contribution %+.5f nat, paid %.4f, charged %.4f, cut %.4f coin",
        name,
        round_number,
        update["fate"],
        update["reason"],
        update["contributionNats"],
        amounts["reward"],
        amounts["charge"],
        amounts["cut"],
    )


async def follow_blocks(
    node: NodeClient,
    act: Callable[[int], Coroutine[Any, Any, None]],
    poll_seconds: float,
) -> None:
    """Call `act` with every new height, newest only; what fails for the moment is told and tried at the next block."""
    last = -1
    while True:
        try:
            height = int(await node.call("eth_blockNumber"), 16)
            if height != last:
                last = height
                await act(height)
        except NodeError as error:
            log.warning("%s", error)
        await asyncio.sleep(poll_seconds)


async def mine(
    url: str,
    key: bytes,
    courses: list[Course],
    directory: Path,
    train: Train,
    *,
    bond: int = 0,
    poll_seconds: float = 0.2,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Work on all courses until cancelled. `ready` is called when reveals that were due have been sent."""
    journal = Journal(directory)
    async with NodeClient(url, patient=True) as node:
        account = Account(node, key)
        miners = [TaskMiner(node, account, course, journal, train, bond) for course in courses]

        async def act(height: int) -> None:
            tasks = [await miner.follow(height) for miner in miners]
            ready()
            for miner, task in zip(miners, tasks, strict=True):
                await miner.work(task, height)

        await follow_blocks(node, act, poll_seconds)
