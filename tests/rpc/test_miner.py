"""A miner loses no bond by what happens to its node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.pool.mempool import Mempool
from chain.roles.client import Account, NodeClient
from chain.roles.journal import Journal
from chain.roles.miner import Course, TaskMiner
from learning.datasets import Dataset
from tests.rpc.live import KEYS, LiveChain


def _train(task: Any, weights: NDArray[np.int32], data: Dataset) -> NDArray[np.int64]:
    return np.ones(len(weights), dtype=np.int64)


def test_a_reveal_that_the_node_lost_in_a_restart_is_sent_again_in_time(tmp_path: Path) -> None:
    live = LiveChain(tmp_path / "node")
    try:
        update = asyncio.run(_reveal_through_a_restart(live, tmp_path / "miner"))
    finally:
        live.close()
    assert update["key"] is not None
    assert update["fate"] == "pending"


async def _reveal_through_a_restart(live: LiveChain, directory: Path) -> dict[str, Any]:
    """The miner's update at the end of the reveal phase; the node loses its pool at the start of it."""
    async with NodeClient(live.url) as node:
        journal = Journal(directory)
        miner = TaskMiner(node, Account(node, KEYS[0]), Course(task="wine", data="wine#1/2"), journal, _train, 0)
        while not live.clock.accepts_reveals(0, live.height + 1):
            await miner.work(await miner.follow(live.height), live.height)
            await asyncio.to_thread(live.block)
            await asyncio.sleep(0.02)  # for the validator's attestation
        await miner.follow(live.height)
        assert len(live.node.intake.pool) == 1
        live.node.intake.pool = Mempool()
        while live.clock.accepts_reveals(0, live.height + 1):
            await asyncio.to_thread(live.block)
            await miner.follow(live.height)
        task = (await node.call("learn_tasks"))[0]["task"]
        return dict((await node.call("learn_round", task, 0))["updates"][0])
