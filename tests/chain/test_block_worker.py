"""Tests of a node's worker: blocks are built on the tip that was meant, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from chain import block_worker
from chain.block_worker import BlockWorker, tip_of
from chain.crypto import sha256
from chain.executor import Chain
from chain.genesis import genesis_block
from chain.replication.events import CommitBlock
from chain.storage.store import Store
from chain.types import Block
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


def _block(height: int, transactions: tuple[bytes, ...]) -> tuple[bytes, Block]:
    """An id and a block; only what the worker looks at differs."""
    header, _ = genesis_block(GENESIS)
    block = Block(header=replace(header.header, height=height), transactions=transactions, last_commit=b"")
    return sha256(b"%d" % height + b"".join(transactions)), block


def test_what_is_decoded_ahead_is_bounded_in_bytes_and_the_nearest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_worker, "DECODED_AHEAD_BYTES_MAX", 1000)
    with Store.open(tmp_path / "chain", create=True, genesis=GENESIS.hash) as store:
        worker = BlockWorker(Chain(store, GENESIS))
        for height in (9, 3, 5, 3, 4, 8):
            worker.decode_ahead(*_block(height, (bytes(300),)))
        assert sorted(ahead.height for ahead in worker._decoded.values()) == [3, 4, 5]
        assert worker._decoded_bytes == 900
        worker.close()


def test_rejected_blocks_are_forgotten_when_their_height_is_committed(tmp_path: Path) -> None:
    async def work(chain: Chain) -> None:
        worker = BlockWorker(chain)
        built = await worker.build(1, [transaction(0)], PROPOSER, None)
        assert built is not None
        worker.decode_ahead(built.hash, built.block)
        for height in (1, 2):
            for number in range(5):
                worker.decode_ahead(*_block(height, (b"forged %d" % number,)))
        decided = commit_of(built.block.header, GENESIS.hash, [PROPOSER_KEY])
        commit = CommitBlock(commit=decided, block_id=BlockId(built.hash), block=built.block, live=False)
        await worker.commit(commit, tip_of(chain))
        assert [ahead.height for ahead in worker._decoded.values()] == [2] * 5
        assert worker._decoded_bytes == 5 * len(b"forged 0")
        worker.close()

    with Store.open(tmp_path / "chain", create=True, genesis=GENESIS.hash) as store:
        asyncio.run(work(Chain(store, GENESIS)))
