"""Home of tests of a node that follows a settled chain: it judges every round itself, and stops where it differs.

The follower runs in this process, without a network between: it takes the blocks and blobs of a chain that real nodes
and miners have made, executes them on a ledger of its own, and makes every head itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import pytest

from chain import evaluations
from chain.cli.main import main
from chain.codec import decode_block
from chain.development import BLOBS_NAME, GENESIS_NAME
from chain.evaluations import Evaluations, SettledOtherwise
from chain.executor import Chain
from chain.genesis import parse_genesis
from chain.node import Committed
from chain.node_directory import open_blobs, take_in_blobs
from chain.operations.learning_store import read_round, read_task, read_tasks
from chain.pool.intake import decode_committed
from chain.storage.datadir import DataDirectoryDamaged
from chain.storage.store import Store
from learning.backends import Int32Array, Int64Array, UInt8Array
from learning.evaluation import Evaluator
from tests.system.damage import blob_path, flip_in_file

pytestmark = pytest.mark.system


class Follower:
    """A chain and evaluations of its own, fed with another directory's blocks."""

    def __init__(self, directory: Path, source: Path, *, has_updates: bool = True) -> None:
        genesis = parse_genesis((source / GENESIS_NAME).read_bytes())
        self.store = Store.open(directory, create=True, genesis=genesis.hash)
        self.chain = Chain(self.store, genesis)
        self.blobs = open_blobs(directory)
        self.evaluations = Evaluations(self.chain, self.blobs)
        self._source = Store.open(source, create=False)
        take_in_blobs(self.blobs, source / BLOBS_NAME)
        self._source_blobs = open_blobs(source)
        if has_updates:
            self.take_updates()

    def take_updates(self) -> None:
        """What miners uploaded; heads stay behind."""
        for entry in read_tasks(self._source):
            rounds = (read_round(self._source, entry.task, number) for number in range(entry.clock.rounds))
            for update in (update for round_ in rounds if round_ for update in round_.updates):
                data = self._source_blobs.get(update.sealed_root)
                if data is not None:
                    self.blobs.put(update.sealed_root, data)

    async def follow(self, *, patiently: bool, afterwards: Callable[[], None] | None = None) -> None:
        """Take every block; patiently: not the next one before what is due has been judged. `afterwards` is called then."""
        judging = asyncio.create_task(self.evaluations.run())
        try:
            for height in range(1, (self._source.tip() or 0) + 1):
                block = decode_block(self._source.block(height) or b"")
                transactions = decode_committed(block.transactions, self.chain.genesis.chain_id)
                prepared = self.chain.check(block, transactions)
                self.chain.commit(prepared, b"")
                self.evaluations.committed(Committed(prepared=prepared, finality_ms=0.0))
                await self._let_work(judging, patiently)
            await self._let_work(judging, patiently=True)
            if afterwards:
                afterwards()
                await self._let_work(judging, patiently=True)
        finally:
            judging.cancel()
            await asyncio.gather(judging, return_exceptions=True)
            if judging.done() and not judging.cancelled() and judging.exception():
                raise judging.exception() or AssertionError

    async def _let_work(self, judging: asyncio.Task[None], patiently: bool) -> None:
        await asyncio.sleep(0)
        while patiently and not judging.done() and self.evaluations.is_judging:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        if judging.done():
            judging.result()

    def close(self) -> None:
        self.evaluations.close()
        self.store.close()
        self._source.close()


@contextmanager
def following(directory: Path, source: Path, *, has_updates: bool = True) -> Iterator[Follower]:
    follower = Follower(directory, source, has_updates=has_updates)
    try:
        yield follower
    finally:
        follower.close()


def test_a_follower_tells_which_blobs_it_lacks_and_judges_once_they_have_come(
    short_chain: Path, tmp_path: Path
) -> None:
    lacked: dict[tuple[bytes, int], tuple[bytes, ...]] = {}

    def seek(task: bytes, number: int, height: int, roots: tuple[bytes, ...]) -> None:
        lacked[task, number] = roots

    with following(tmp_path / "follower", short_chain, has_updates=False) as follower:

        def blobs_come() -> None:
            settled = [key for key in lacked if lacked[key]]
            assert settled
            assert not follower.evaluations.records
            assert follower.evaluations.status()["missingBlobs"]
            follower.take_updates()
            follower.evaluations.blobs_came()

        follower.evaluations.seekers.append(seek)
        asyncio.run(follower.follow(patiently=True, afterwards=blobs_come))
        (entry,) = read_tasks(follower.store)
        state = read_task(follower.store, entry.task)
        assert state is not None
        assert len(follower.evaluations.records) >= state.settled
        assert not any(lacked.values())
        assert not follower.evaluations.status()["missingBlobs"]
        assert follower.blobs.has(state.head)


class WrongInOneBit(Evaluator):
    """An evaluator on a machine that computes one bit of one loss wrongly; a lower bit could vanish in the mean."""

    def losses(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        losses = super().losses(weights, inputs, labels)
        return losses ^ (256 * (np.arange(len(losses)) == 0))


@pytest.mark.parametrize("patiently", [True, False])
def test_a_follower_makes_the_same_heads_as_the_validator(short_chain: Path, tmp_path: Path, patiently: bool) -> None:
    with following(tmp_path / "follower", short_chain) as follower:
        asyncio.run(follower.follow(patiently=patiently))
        tip, own = follower.chain.tip, follower._source
        (entry,) = read_tasks(follower.store)
        state = read_task(follower.store, entry.task)
        assert tip.height == own.tip()
        assert state is not None
        assert len(state.heads) > 1
        assert all(follower.blobs.has(head.root) for head in state.heads)
        assert len(follower.evaluations.records) >= state.settled


@pytest.mark.parametrize("patiently", [True, False])
def test_a_node_that_computes_another_record_stops_and_names_the_field(
    short_chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patiently: bool
) -> None:
    """Whether it has judged the round before its settlement comes, or only afterwards."""
    monkeypatch.setattr(evaluations, "Evaluator", WrongInOneBit)
    with following(tmp_path / "follower", short_chain) as follower:
        with pytest.raises(SettledOtherwise) as stopped:
            asyncio.run(follower.follow(patiently=patiently))
        told = r"task 0x[0-9a-f]{64}, round \d+: loss_[a-z]+: settled is \d+, computed here is \d+; .*self-test"
        assert re.match(told, str(stopped.value)), str(stopped.value)


def test_verify_on_a_machine_that_computes_wrongly_names_the_field_of_the_record(
    short_chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chain.verification.learning.Evaluator", WrongInOneBit)
    assert main(["verify", "--data-dir", str(short_chain)]) == 1
    told = r".*: height \d+: settlement of round \d+ of task 0x[0-9a-f]{64}: loss_[a-z]+: settled is \d+, computed"
    assert re.match(told, capsys.readouterr().err)


def test_a_node_judges_nobody_by_a_damaged_blob(short_chain: Path, tmp_path: Path) -> None:
    with following(tmp_path / "follower", short_chain) as follower:
        (entry,) = read_tasks(follower._source)
        rounds = (read_round(follower._source, entry.task, number) for number in range(entry.clock.rounds))
        update = next(update for round_ in rounds if round_ for update in round_.updates if update.reward)
        flip_in_file(blob_path(tmp_path / "follower", update.sealed_root), Random(1))
        with pytest.raises(DataDirectoryDamaged, match=f"blob 0x{update.sealed_root.hex()} is damaged"):
            asyncio.run(follower.follow(patiently=True))
