"""Tests of what block sync waits for: no settlement is committed before this node has judged it, unless no peer has the
round's blobs; and the chain must have the block that the owner named."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.sync_chain import make_chain
from chain.block_worker import read_blocks
from chain.codec import block_hash, decode_block
from chain.evaluations import Evaluations
from chain.executor import Chain
from chain.genesis import Genesis, parse_genesis
from chain.network.messages import Blocks
from chain.node import Committed
from chain.node_directory import open_blobs
from chain.operations.learning_store import read_round, read_tasks
from chain.pool.intake import decode_committed
from chain.storage.blobs import BlobStore
from chain.storage.store import Store
from chain.sync.settlement_gate import UNHELD_BLOCKS, Distrusted, SettlementGate, settlements_in
from chain.types import Block
from learning.commitment import blob_root

BLOCKS = 70
FAR = BLOCKS + UNHELD_BLOCKS + 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a chain with settled rounds."""
    path = tmp_path_factory.mktemp("sync") / "made"
    assert make_chain(path, BLOCKS, 2) >= 2
    return path


def genesis_of(made: Path) -> Genesis:
    return parse_genesis((made / "genesis.json").read_bytes())


def blocks_of(made: Path) -> list[tuple[Block, bytes]]:
    with Store.open(made, create=False) as store:
        chain = Chain(store, genesis_of(made))
        sent = read_blocks(chain, 0, 1, 128)
        assert isinstance(sent, Blocks)
        return [(decode_block(block), commit) for block, commit in sent.blocks]


class Syncing:
    """A new node that is given a chain's blocks one by one, and its blobs all at once, or but for some."""

    def __init__(self, made: Path, folder: Path, *, without: Callable[[bytes], bool] = lambda root: False) -> None:
        self.made = made
        self.blocks = blocks_of(made)
        genesis = genesis_of(made)
        self.store = Store.open(folder / "new", create=True, genesis=genesis.hash)
        self.chain = Chain(self.store, genesis)
        self.blobs: BlobStore = open_blobs(folder / "new")
        self.missing: list[tuple[bytes, bytes]] = []
        theirs = open_blobs(made)
        for root in theirs.roots():
            data = theirs.get(root)
            assert data is not None
            is_head = blob_root(data) != root  # which a node makes itself
            if without(root) or is_head:
                self.missing.append((root, data))
            else:
                self.blobs.put(root, data)
        self.evaluations = Evaluations(self.chain, self.blobs, backend="reference")
        self.judged_first: list[tuple[bytes, int, bool]] = []
        self.judging = (b"", 0)

    async def sync(self, gate: SettlementGate, between: Callable[[], Awaitable[None]] | None = None) -> None:
        judging = asyncio.create_task(self.evaluations.run())
        try:
            for block, commit in self.blocks:
                settled = settlements_in(block.transactions, block.header.chain_id)
                if between and settled:
                    self.judging = settled[0]
                    asyncio.get_running_loop().create_task(between())  # type: ignore[arg-type]
                await gate.before(block)
                for task, number in settled:
                    self.judged_first.append((task, number, self.evaluations.is_judged(task, number)))
                prepared = self.chain.check(block, decode_committed(block.transactions, self.chain.genesis.chain_id))
                self.chain.commit(prepared, commit)
                self.evaluations.committed(Committed(prepared=prepared, finality_ms=0.0, live=False))
                await asyncio.sleep(0)
                assert not judging.done(), judging.result()
        finally:
            judging.cancel()

    def close(self) -> None:
        self.evaluations.close()
        self.store.close()


def test_no_settlement_is_committed_before_it_is_judged(made: Path, tmp_path: Path) -> None:
    async def work() -> None:
        node = Syncing(made, tmp_path)
        await node.sync(SettlementGate(node.chain, node.evaluations, lambda: FAR))
        assert len(node.judged_first) >= 2
        assert all(judged for _, _, judged in node.judged_first)
        assert node.chain.tip.height == BLOCKS
        node.close()

    asyncio.run(work())


def test_near_the_tip_nothing_waits(made: Path, tmp_path: Path) -> None:
    async def work() -> None:
        node = Syncing(made, tmp_path, without=lambda root: True)
        await node.sync(SettlementGate(node.chain, node.evaluations, lambda: 0))
        assert len(node.judged_first) >= 2
        assert not any(judged for _, _, judged in node.judged_first)
        node.close()

    asyncio.run(work())


def test_a_far_tip_that_is_claimed_no_more_holds_nothing_up(made: Path, tmp_path: Path) -> None:
    async def work() -> None:
        node = Syncing(made, tmp_path, without=lambda root: True)
        claimed = [FAR]

        async def lie_comes_to_nothing() -> None:
            await asyncio.sleep(0.1)
            claimed[0] = 0

        gate = SettlementGate(node.chain, node.evaluations, lambda: claimed[0])
        async with asyncio.timeout(30):  # far less than it waits for blobs that no peer has
            await node.sync(gate, between=lie_comes_to_nothing)
        assert node.chain.tip.height == BLOCKS
        assert not any(judged for _, _, judged in node.judged_first)
        node.close()

    asyncio.run(work())


def first_update(made: Path) -> bytes:
    """The sealed root of an update that the first settled round judged."""
    with Store.open(made, create=False) as store:
        (entry,) = read_tasks(store)
        round_ = read_round(store, entry.task, 0)
        assert round_ is not None
        assert round_.record
        return round_.updates[0].sealed_root


def test_where_no_peer_has_a_blob_it_goes_on_with_a_warning(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = first_update(made)

    async def work() -> None:
        node = Syncing(made, tmp_path, without=lambda root: root == lost)
        with caplog.at_level(logging.WARNING, "lyceum.sync"):
            await node.sync(SettlementGate(node.chain, node.evaluations, lambda: FAR, missing_s=0.2))
        assert node.chain.tip.height == BLOCKS
        assert not node.judged_first[0][2]
        assert "its settlement is not checked here" in caplog.text
        assert lost.hex() in caplog.text
        node.close()

    asyncio.run(work())


def test_a_blob_that_comes_while_it_waits_lets_it_judge(made: Path, tmp_path: Path) -> None:
    lost = first_update(made)

    async def work() -> None:
        node = Syncing(made, tmp_path, without=lambda root: root == lost)
        came: list[bool] = []

        async def fetch() -> None:
            await asyncio.sleep(0.3)
            if not came:
                came.append(node.evaluations.is_judged(*node.judging))
                for root, data in node.missing:
                    if root == lost:
                        node.blobs.put(root, data)
                node.evaluations.blobs_came()

        await node.sync(SettlementGate(node.chain, node.evaluations, lambda: FAR), between=fetch)
        assert came == [False]
        assert all(judged for _, _, judged in node.judged_first)
        node.close()

    asyncio.run(work())


def test_the_chain_must_have_the_block_that_was_named(made: Path, tmp_path: Path) -> None:
    async def work() -> None:
        node = Syncing(made, tmp_path)
        right = block_hash(node.blocks[9][0].header)
        await node.sync(SettlementGate(node.chain, node.evaluations, lambda: FAR, trust=(10, right)))
        SettlementGate(node.chain, node.evaluations, lambda: FAR, trust=(10, right))
        prepared = node.chain.build([], time_ms=0, proposer=bytes(20), last_commit=node.chain.last_commit)
        live = Committed(prepared=prepared, finality_ms=0.0)
        for hash_ in (prepared.hash, bytes(32)):
            gate = SettlementGate(node.chain, node.evaluations, lambda: FAR, trust=(live.header.height, hash_))
            if hash_ == prepared.hash:
                gate.committed(live)
                continue
            with pytest.raises(Distrusted, match=f"block {live.header.height}"):
                gate.committed(live)
        with pytest.raises(Distrusted, match="block 10"):
            SettlementGate(node.chain, node.evaluations, lambda: FAR, trust=(10, bytes(32)))
        node.close()
        shutil.rmtree(tmp_path / "new")
        again = Syncing(made, tmp_path)
        with pytest.raises(Distrusted, match="block 10"):
            await again.sync(SettlementGate(again.chain, again.evaluations, lambda: FAR, trust=(10, bytes(32))))
        assert again.chain.tip.height == 9
        again.close()

    asyncio.run(work())


def test_settlements_are_found_among_other_transactions(made: Path) -> None:
    found = [each for block, _ in blocks_of(made) for each in settlements_in(block.transactions, block.header.chain_id)]
    assert [number for _, number in found] == list(range(len(found)))
    assert len(found) >= 2
    selector = bytes.fromhex("00")
    assert settlements_in([selector * 100, b"", b"\x02garbage"], 1) == []
