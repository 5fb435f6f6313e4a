"""Tests of a node's worker: blocks are built on the tip that was meant, or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chain.block_worker import BlockWorker, tip_of
from chain.executor import Chain
from chain.replica_events import CommitBlock
from chain.store import Store
from consensus.types import BlockId
from tests.chain.commits import commit_of
from tests.chain.ledger_world import PROPOSER, PROPOSER_KEY, network, transaction

GENESIS = network()


def test_no_block_is_built_for_a_height_that_is_committed_meanwhile(tmp_path: Path) -> None:
    chain = Chain(Store.open(tmp_path / "chain", create=True, genesis=GENESIS.hash), GENESIS)
    asyncio.run(_race(chain))
    chain.store.close()


async def _race(chain: Chain) -> None:
    worker, tip, last = BlockWorker(chain), tip_of(chain), None
    for height in (1, 2):
        built = await worker.build(height, [transaction(height - 1)], PROPOSER, last)
        assert built is not None
        decided = commit_of(built.block.header, GENESIS.hash, [PROPOSER_KEY])
        commit = CommitBlock(commit=decided, block_id=BlockId(built.hash), block=built.block, live=False)
        (_, tip), late = await asyncio.gather(worker.commit(commit, tip), worker.build(height, [], PROPOSER, last))
        assert tip.height == height
        assert late is None
        last = decided
    worker.close()
