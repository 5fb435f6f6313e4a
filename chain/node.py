"""Home of a running node: one inbox feeds consensus, and its actions are performed in order, slow ones on a worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from chain import contract
from chain.codec import decode_block
from chain.crypto import address_of, keccak256, sign
from chain.executor import Chain, Prepared
from chain.intake import Intake, decode_committed
from chain.ledger import next_base_fee
from chain.threads import workers
from chain.types import Header
from chain.votelog_file import VoteLog
from consensus import codec, proposer, votelog
from consensus.actions import (
    Action,
    BlockBuilt,
    BuildBlock,
    CommitBlock,
    Given,
    Persist,
    ReplaceLog,
    SendProposal,
    SendVote,
    StartTimer,
    Timeouts,
)
from consensus.driver import Driver
from consensus.events import HeightStarted, ReportEquivocation, TimedOut
from consensus.types import BlockId, Height, ValidatorSet, Voter

log = logging.getLogger("lyceum.node")
_T = TypeVar("_T")

PAUSE_MS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What followers of the chain hear when a block is final."""

    prepared: Prepared
    finality_ms: float  # from the start of its height to its commit

    @property
    def header(self) -> Header:
        return self.prepared.block.header


class Node:
    """Consensus over an open chain, fed by a pool. `key` is the validator's, None for a node that only follows.

    Everything happens on the event loop that calls `run`, but for what runs on the one worker: the vote log's syncs,
    and building, executing and storing blocks.
    """

    def __init__(self, chain: Chain, intake: Intake, vote_log: VoteLog, key: bytes | None, timeouts: Timeouts) -> None:
        self.chain = chain
        self.intake = intake
        self.address = address_of(key) if key else None
        self.followers: list[Callable[[Committed], None]] = []
        self._key = key
        self._vote_log = vote_log
        self._worker = workers(1, "chain")
        self._inbox: asyncio.Queue[Given] = asyncio.Queue()
        self._height_started = 0.0
        self._waiting: asyncio.TimerHandle | None = None  # for the next height
        self._driver = Driver(
            me=Voter(self.address) if self.address else None,
            genesis=chain.genesis.hash,
            sign=self._sign,
            timeouts=timeouts,
            log=votelog.recover(vote_log.records()),
        )

    def _sign(self, message: bytes) -> bytes:
        assert self._key is not None
        r, s, parity = sign(keccak256(message), self._key)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])

    async def run(self) -> None:
        """Take part in consensus until cancelled. Raises what stops a node: a full disk, a damaged store."""
        try:
            async with asyncio.TaskGroup() as self._background:
                self._start_next_height_in(self._pause())
                while True:
                    given = await self._inbox.get()
                    for action in self._driver.handle(given):
                        await self._perform(action)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            if self._waiting:
                self._waiting.cancel()
            # What the worker is writing is finished before anything is closed.
            await asyncio.get_running_loop().run_in_executor(None, self._worker.shutdown)
            self._vote_log.close()

    def _pause(self) -> float:
        """Seconds before the first height: whoever waited for this node has something to say before its next block."""
        return min(self.chain.parameters.block_interval_ms, PAUSE_MS_MAX) / 1000 if self.chain.tip.height else 0.0

    def _start_next_height_in(self, seconds: float) -> None:
        start = asyncio.get_running_loop().call_later
        self._waiting = start(seconds, lambda: self._inbox.put_nowait(self._next_height()))

    def _next_height(self) -> HeightStarted:
        self._height_started = time.monotonic()
        validators = ValidatorSet(members=tuple((Voter(a), p) for a, p in contract.voters_of(self.chain.store)))
        return HeightStarted(
            height=Height(self.chain.tip.height + 1),
            validators=validators,
            priorities=priorities_before(self.chain.tip.height + 1, validators, self.chain.parameters.epoch_blocks),
        )

    async def _perform(self, action: Action) -> None:
        match action:
            case Persist():
                await self._on_worker(lambda: self._vote_log.append(action.record))
            case ReplaceLog():
                await self._on_worker(lambda: self._vote_log.replace(action.records))
            case StartTimer():
                fired = TimedOut(kind=action.kind, height=action.height, round=action.round)
                asyncio.get_running_loop().call_later(action.duration_ms / 1000, self._inbox.put_nowait, fired)
            case BuildBlock():
                self._background.create_task(self._build(action))
            case CommitBlock():
                await self._commit(action)
            case SendProposal() | SendVote():
                pass  # the driver has looped it back; a network will carry it to others
            case ReportEquivocation():
                log.warning("equivocation by 0x%s", action.evidence.first.voter.hex())

    async def _build(self, wanted: BuildBlock) -> None:
        """Build a block on the tip with what the pool offers, and answer consensus."""
        assert self.address is not None
        proposer_address, parent = self.address, self.chain.tip
        late_commit = self._driver.last_commit()
        last_commit = codec.encode_commit(late_commit) if late_commit else self.chain.last_commit
        candidates = self.intake.candidates(next_base_fee(parent, self.chain.parameters))
        time_ms = time.time_ns() // 1_000_000
        prepared = await self._on_worker(
            lambda: self.chain.build(candidates, time_ms=time_ms, proposer=proposer_address, last_commit=last_commit)
        )
        self._inbox.put_nowait(
            BlockBuilt(
                height=wanted.height, round=wanted.round, block_id=BlockId(prepared.hash), block=prepared.encoded
            )
        )

    async def _commit(self, decided: CommitBlock) -> None:
        """Store the decided block, tell everyone, and start the next height when the block interval has passed."""
        encoded_commit = codec.encode_commit(decided.commit)

        def store() -> Prepared:
            prepared = self.chain.prepared(decided.commit.block_id) or self._execute(decided.block)
            self.chain.commit(prepared, encoded_commit)
            return prepared

        prepared = await self._on_worker(store)
        now = time.monotonic()
        self.intake.committed(prepared.transactions)
        committed = Committed(prepared=prepared, finality_ms=(now - self._height_started) * 1000)
        for follower in self.followers:
            follower(committed)
        wait = self._height_started + self.chain.parameters.block_interval_ms / 1000 - now
        self._start_next_height_in(max(0.0, wait))

    def _execute(self, encoded: bytes) -> Prepared:
        """A decided block that this process did not build: after a restart, it comes from the vote log."""
        block = decode_block(encoded)
        return self.chain.check(block, decode_committed(block.transactions, self.chain.genesis.chain_id))

    async def _on_worker(self, job: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, job)


def priorities_before(height: int, validators: ValidatorSet, epoch_blocks: int) -> proposer.Priorities:
    """The priorities that the height before left. They start anew in an epoch's first height (see chain/power.py)."""
    first = max(1, height // epoch_blocks * epoch_blocks)
    priorities = proposer.start(validators)
    for _ in range(first, height):
        _, priorities = proposer.advance(validators, priorities)
    return priorities
