"""Home of a running node: one inbox feeds the replica, and its actions are performed in order, slow ones on workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, assert_never

from chain.block_worker import BlockWorker, Outvoted, priorities_before
from chain.crypto import address_of, keccak256
from chain.executor import Chain, Prepared
from chain.inbox import Inbox
from chain.ledger import next_base_fee
from chain.network.messages import Blocks, Message, NotHeld
from chain.pool.intake import Intake
from chain.replication.events import (
    Action,
    Blame,
    Build,
    Built,
    Check,
    CommitBlock,
    Decode,
    Given,
    Opened,
    PeerConnected,
    PeerGone,
    Received,
    Send,
    SendBlocks,
    StartTimer,
    Stop,
    Stored,
    Tick,
)
from chain.replication.replica import Replica, ReplicaSettings
from chain.storage.datadir import storage_error
from chain.storage.votelog_file import VoteLog
from chain.threads import workers
from chain.transport import Gate, NoTransport, Transport
from chain.types import Header
from chain.vote_signatures import sign_vote
from consensus import votelog
from consensus.actions import Persist, ReplaceLog
from consensus.events import ReportEquivocation
from consensus.types import BlockId, Equivocation

__all__ = ["Committed", "Node", "Outvoted", "Transport", "priorities_before"]

log = logging.getLogger("lyceum.node")

PAUSE_MS_MAX: Final = 1000
TICK_S: Final = 1.0
BATCH_MAX: Final = 128  # inputs taken together

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What followers of the chain hear when a block is final."""

    prepared: Prepared
    finality_ms: float  # from the start of its height to its commit
    live: bool = True  # decided here; false for one that was fetched from others

    @property
    def header(self) -> Header:
        return self.prepared.block.header


class Node:
    """Consensus over an open chain, fed by a pool. `key` is the validator's, None for a node that only follows.

    Everything happens on the event loop that calls `run`, but for what runs on workers: the vote log's syncs (one),
    and building, executing and storing blocks (another). A network calls `connected`, `gone` and `received`.
    """

    def __init__(
        self,
        chain: Chain,
        intake: Intake,
        vote_log: VoteLog,
        key: bytes | None,
        *,
        remembers: bool = True,
        transport: Transport | None = None,
        settings: ReplicaSettings | None = None,
    ) -> None:
        """`remembers` is false for a key whose log may lack votes: it abstains at first (abstention.py)."""
        self.chain = chain
        self.intake = intake
        self.address = address_of(key) if key else None
        self.followers: list[Callable[[Committed], None]] = []
        self.accusers: list[Callable[[Equivocation], None]] = []
        self.transport: Transport = transport or NoTransport()
        self.gate: Gate | None = None
        self._vote_log = vote_log
        self._blocks = BlockWorker(chain)
        self._syncs = workers(1, "votes")
        self._inbox = Inbox()
        self._something = asyncio.Event()
        self._timers: dict[asyncio.TimerHandle, None] = {}
        self.replica = Replica(
            me=self.address,
            genesis=chain.genesis.hash,
            sign=lambda message: sign_vote(message, key or b""),
            log=votelog.recover(vote_log.records()),
            remembers=remembers,
            recover=self._recover,
            pool_get=intake.pool.get,
            clock_ms=_clock_ms,
            time_ms=lambda: time.time_ns() // 1_000_000,
            settings=settings or ReplicaSettings(block_interval_ms=chain.parameters.block_interval_ms),
        )

    def _recover(self, signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
        """Who signed what; it is remembered, as the same votes come again in the next block's last commit."""
        return self.chain.signatures.signers([(keccak256(message), signature) for message, signature in signed])

    # --------------------------------------------------------------------------------------- what a network tells

    def connected(self, peer: bytes, *, called: bool) -> None:
        self._put(PeerConnected(peer=peer, called=called))

    def gone(self, peer: bytes) -> None:
        self._put(PeerGone(peer=peer))

    def received(self, peer: bytes, message: Message) -> None:
        """A message of a connected peer, of one of the kinds in `replica.MESSAGES`."""
        if self._inbox.offer(Received(peer=peer, message=message)):
            self._something.set()

    async def blocks(self, id_: int, first: int, count: int) -> Blocks | NotHeld:
        """Decided blocks for a peer, from `first` on."""
        return await self._blocks.blocks(id_, first, count)

    # ------------------------------------------------------------------------------------------------------ its life

    async def run(self) -> None:
        """Take part in consensus until cancelled. Raises what stops a node: a full disk, a damaged store, Outvoted."""
        try:
            async with asyncio.TaskGroup() as self._background:
                self._tip = await self._blocks.tip()
                self._put_first(Opened(tip=self._tip, pause_ms=self._pause_ms()))
                self._background.create_task(self._tick())
                await self._live()
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            for timer in self._timers:
                timer.cancel()
            # What the workers are writing is finished before anything is closed.
            await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self._blocks.close()
        self._syncs.shutdown()
        self._vote_log.close()

    async def _live(self) -> None:
        while True:
            await self._something.wait()
            batch = self._inbox.take(BATCH_MAX)
            if not self._inbox:
                self._something.clear()
            silent = self.replica.abstains
            actions = self.replica.handle_all(batch)
            if self.replica.abstains and not silent:
                log.warning("a fetched block has a vote of this key that its vote log lacks: it abstains from now on")
            await self._perform_all(actions)
            await asyncio.sleep(0)  # others have their turn, also when this never waits

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._put(Tick())

    def _pause_ms(self) -> int:
        """Before the first height: whoever waited for this node has something to say before its next block."""
        return min(self.chain.parameters.block_interval_ms, PAUSE_MS_MAX) if self.chain.tip.height else 0

    def _put(self, given: Given) -> None:
        self._inbox.put(given)
        self._something.set()

    def _put_first(self, given: Given) -> None:
        self._inbox.put_first(given)
        self._something.set()

    # --------------------------------------------------------------------------------------------------- its actions

    async def _perform_all(self, actions: Sequence[Action]) -> None:
        """In order; records are synced together, before the next action that anyone else could see."""
        records: list[bytes] = []
        for action in actions:
            if isinstance(action, Persist):
                records.append(action.record)
                continue
            if records and isinstance(action, (Send, CommitBlock, ReplaceLog, Stop)):
                await self._sync(records)
                records = []
            await self._perform(action)
        if records:
            await self._sync(records)

    async def _sync(self, records: Sequence[bytes]) -> None:
        await self._on_disk(lambda: self._vote_log.append(*records))

    async def _perform(self, action: Action) -> None:
        match action:
            case Send():
                self.transport.send(action.peers, action.message)
            case StartTimer():
                self._start_timer(action)
            case ReplaceLog():
                await self._on_disk(lambda: self._vote_log.replace(action.records))
            case Build():
                self._start(self._build(action))
            case Check():
                self._start(self._check(action))
            case Decode():
                self._blocks.decode_ahead(action.block_id, action.block)
            case CommitBlock():
                self._start(self._commit(action))
            case SendBlocks():
                self._start(self._send_blocks(action))
            case Blame():
                self.transport.blame(action.peer, action.points, action.reason)
            case ReportEquivocation():
                self._report(action.evidence)
            case Stop():
                raise Outvoted(action.reason)
            case Persist():
                raise AssertionError("records are written together")
            case _:
                assert_never(action)

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        self._background.create_task(job)

    def _start_timer(self, action: StartTimer) -> None:
        def fire() -> None:
            del self._timers[timer]
            self._put(action.given)

        timer = asyncio.get_running_loop().call_later(action.duration_ms / 1000, fire)
        self._timers[timer] = None

    def _report(self, evidence: Equivocation) -> None:
        log.warning("equivocation by 0x%s", evidence.first.voter.hex())
        for accuser in self.accusers:
            accuser(evidence)

    async def _build(self, wanted: Build) -> None:
        """Build a block on the tip with what the pool offers, and answer consensus."""
        assert self.address is not None
        candidates = self.intake.candidates(next_base_fee(self.chain.tip, self.chain.parameters))
        prepared = await self._blocks.build(wanted.height, candidates, self.address, wanted.last_commit)
        if prepared is None:
            return
        self._put(
            Built(
                height=wanted.height,
                round=wanted.round,
                block_id=BlockId(prepared.hash),
                block=prepared.block,
                encoded=prepared.encoded,
                transactions=prepared.transactions,
            )
        )

    async def _check(self, asked: Check) -> None:
        checked = await self._blocks.check(asked)
        if checked is not None:
            if not checked.valid:
                log.warning("block 0x%s is invalid: %s", asked.block_id.hex(), checked.reason)
            self._put(checked)

    async def _commit(self, decided: CommitBlock) -> None:
        """Store the decided block, and tell everyone."""
        started_ms = self.replica.height_started_ms
        if self.gate and not decided.live:
            await self.gate.before(decided.block)
        prepared, self._tip = await self._blocks.commit(decided, self._tip)
        self.intake.committed(prepared.transactions)
        finality_ms = float(_clock_ms() - started_ms) if decided.live else 0.0
        committed = Committed(prepared=prepared, finality_ms=finality_ms, live=decided.live)
        for follower in self.followers:
            follower(committed)
        self._put(Stored(tip=self._tip))

    async def _send_blocks(self, wanted: SendBlocks) -> None:
        found = await self._blocks.blocks(wanted.id, wanted.first, wanted.count)
        self.transport.send((wanted.peer,), found)

    async def _on_disk(self, job: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._syncs, job)
        except OSError as error:
            raise storage_error(f"can't write {self._vote_log.path}", error) from error


def _clock_ms() -> int:
    return time.monotonic_ns() // 1_000_000
