"""Home of transaction gossip: what enters a pool is told to peers by hash, and each pulls what it lacks, once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chain.crypto import keccak256
from chain.network.messages import (
    TRANSACTIONS_BYTES_MAX,
    TRANSACTIONS_MAX,
    GetTransactions,
    Message,
    NotHeld,
    TransactionHashes,
    Transactions,
)
from chain.network.peer import PeerGone, RequestTimedOut
from chain.network.ports import (
    BLAME_LIED,
    BLAME_PARTLY_WITHHELD,
    BLAME_SLOW,
    BLAME_WITHHELD,
    Network,
    Peer,
    pause_s,
)
from chain.network.recent_hashes import RecentHashes
from chain.network.relays import relays
from chain.pool.intake import Intake, Outcome
from chain.transactions import TRANSACTION_BYTES_MAX, InvalidTransaction, Transaction

BATCH_S: Final = 0.025  # what enters within it is told in one frame
BATCH_HASHES: Final = 1024  # or so many at once
PULL_S: Final = 4.0  # a peer gives what it told of in that time, or another one is asked
KNOWN_MAX: Final = 1 << 13  # hashes remembered of each peer, at least: as many as a pool holds, in some 2 MiB
SEEN_MAX: Final = 1 << 16  # hashes remembered at least: in the pool, refused, or committed lately
WAITING_MAX: Final = 1 << 13  # hashes that a peer told of and that were not pulled yet; as many as a pool holds
REFUSED_PER_SECOND: Final = 1000  # of one peer's transactions: whoever sends more that the pool refuses waits
BACKLOG_HASHES: Final = 512  # of the pool's content, told to a new peer each BACKLOG_S
BACKLOG_S: Final = 0.1
AGE_S: Final = 30.0  # what waits in the pool is told again, and what was refused may be asked for again
AGAIN_MAX: Final = 512
ENTERED_MAX: Final = (
    4096  # that are still given though the pool has dropped them: their senders may replace them at once
)
ENTERED_BYTES_MAX: Final = 1 << 22
BLOCKS_KEPT: Final = 4  # whose transactions are still given: who asks may be some blocks behind


@dataclass(slots=True, kw_only=True, eq=False)
class _Link:
    """A peer, what it is known to have, and what it told of that is still wanted."""

    peer: Peer
    known: RecentHashes = field(default_factory=lambda: RecentHashes(KNOWN_MAX))
    waiting: dict[bytes, None] = field(default_factory=dict)  # in the order in which they were told
    backlog: deque[bytes] = field(default_factory=deque)  # of the pool's content when it connected
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0  # questions running to which it gave nothing
    task: asyncio.Task[None] | None = None


class TransactionGossip:
    """Tells peers of what enters the pool, and pulls what they tell of. Lives on the event loop.

    Where a transaction comes in, all peers are told of it; who has it from a peer tells a few others (relays.py).
    It is asked from one peer at a time and goes through `Intake.submit`, so that it crosses the wire and is
    verified once. Each peer is asked one question at a time, and the next one after the pool has taken the answer: so
    a slow pool slows the asking, and all that a peer can leave here is bounded.
    """

    def __init__(self, network: Network, intake: Intake) -> None:
        self._intake = intake
        self._links: dict[bytes, _Link] = {}
        self._seen = RecentHashes(SEEN_MAX)
        self._asked: set[bytes] = set()  # questions under way
        self._fresh: list[bytes] = []  # entered the pool, not told yet
        self._timer: asyncio.TimerHandle | None = None
        self._turn = 0
        self._entered_lately: dict[bytes, Transaction] = {}
        self._entered_bytes = 0
        self._departed: deque[dict[bytes, Transaction]] = deque(maxlen=BLOCKS_KEPT)
        self._tasks: asyncio.TaskGroup | None = None
        network.handle(TransactionHashes, self._told)
        network.answer(GetTransactions, self._give)
        network.connected.append(self._connected)
        network.gone.append(self._gone)
        intake.followers.append(self._entered)

    async def run(self) -> None:
        """Pull, and tell what waits for long again, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for link in self._links.values():
                    self._start(link)
                while True:
                    for _ in range(round(AGE_S / BACKLOG_S)):
                        await asyncio.sleep(BACKLOG_S)
                        self._tell_backlogs()
                    self._seen.age()
                    self._tell_again()
        finally:
            self._tasks = None
            if self._timer:
                self._timer.cancel()

    def committed(self, transactions: Sequence[Transaction]) -> None:
        """A block included these: they are not asked for any more."""
        self._departed.append({transaction.hash: transaction for transaction in transactions})
        self._seen.add(self._departed[-1])

    # -------------------------------------------------------------------------------------------------- connections

    def _connected(self, peer: Peer) -> None:
        link = self._links[peer.id] = _Link(peer=peer, backlog=deque(self._intake.pool.hashes()))
        self._start(link)

    def _start(self, link: _Link) -> None:
        if self._tasks is not None and link.task is None:
            link.task = self._tasks.create_task(self._pull_from(link))

    def _gone(self, peer: Peer) -> None:
        link = self._links.get(peer.id)
        if link is not None and link.peer is peer:
            del self._links[peer.id]
            if link.task:
                link.task.cancel()

    # ----------------------------------------------------------------------------------------------------- telling

    def _entered(self, transactions: Sequence[Transaction]) -> None:
        """The pool took these, from wherever they came."""
        hashes = [transaction.hash for transaction in transactions]
        self._seen.add(hashes)
        if not self._links:
            return
        self._keep(transactions)
        self._fresh += hashes
        if len(self._fresh) >= BATCH_HASHES:
            self._tell_fresh()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_S, self._tell_fresh)

    def _keep(self, transactions: Sequence[Transaction]) -> None:
        """Be able to give what is told of: else whoever replaces a transaction at once makes a liar of this node."""
        kept = self._entered_lately
        for transaction in transactions:
            if transaction.hash in kept:
                continue
            kept[transaction.hash] = transaction
            self._entered_bytes += len(transaction.raw)
            while len(kept) > ENTERED_MAX or self._entered_bytes > ENTERED_BYTES_MAX:
                self._entered_bytes -= len(kept.pop(next(iter(kept))).raw)

    def _tell_fresh(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        fresh, self._fresh = self._fresh, []
        unknown = {link: link.known.unknown(fresh) for link in self._links.values()}
        told = {
            hash_ for lacks in unknown.values() if len(lacks) < len(fresh) for hash_ in set(fresh).difference(lacks)
        }
        own = [hash_ for hash_ in fresh if hash_ not in told]
        self._turn += 1
        called = [link for link in unknown if not link.peer.inbound]
        chosen = relays(called, [link for link in unknown if link.peer.inbound], self._turn)
        message = TransactionHashes(hashes=tuple(fresh))  # one for many peers is encoded once
        for link, lacks in unknown.items():
            hashes = tuple(lacks if link in chosen else own)
            if hashes != message.hashes:
                message = TransactionHashes(hashes=hashes)
            _tell(link, message)

    def _tell_backlogs(self) -> None:
        """The next part of the pool's content, to peers that have come since."""
        pool = self._intake.pool
        for link in self._links.values():
            if link.backlog:
                part = [link.backlog.popleft() for _ in range(min(BACKLOG_HASHES, len(link.backlog)))]
                waiting = [hash_ for hash_ in link.known.unknown(part) if pool.get(hash_) is not None]
                _tell(link, TransactionHashes(hashes=tuple(waiting)))

    def _tell_again(self) -> None:
        """What waits longest, whether a peer was told or not: it may have had no room for it, or lost it since."""
        oldest = TransactionHashes(hashes=tuple(self._intake.pool.hashes()[:AGAIN_MAX]))
        for link in self._links.values():
            _tell(link, oldest)

    async def _give(self, _: Peer, asked: GetTransactions) -> Message:
        raws: list[bytes] = []
        room = TRANSACTIONS_BYTES_MAX
        for hash_ in asked.hashes:
            transaction = self._intake.pool.get(hash_) or self._departed_one(hash_)
            if transaction is not None:
                room -= len(transaction.raw)
                if room < 0:
                    break
                raws.append(transaction.raw)
        return Transactions(id=asked.id, raws=tuple(raws)) if raws else NotHeld(id=asked.id)

    def _departed_one(self, hash_: bytes) -> Transaction | None:
        if entered := self._entered_lately.get(hash_):
            return entered
        return next((block[hash_] for block in self._departed if hash_ in block), None)

    # ----------------------------------------------------------------------------------------------------- pulling

    def _told(self, peer: Peer, message: TransactionHashes) -> None:
        link = self._links.get(peer.id)
        if link is None:
            return
        link.known.add(message.hashes)
        pool = self._intake.pool
        unknown = [hash_ for hash_ in self._seen.unknown(message.hashes) if pool.get(hash_) is None]
        if unknown:
            link.waiting.update(dict.fromkeys(unknown[: max(0, WAITING_MAX - len(link.waiting))]))
            link.wake.set()

    async def _pull_from(self, link: _Link) -> None:
        """A peer's questions, one after another, as long as it told of something that is wanted."""
        try:
            while True:
                await link.wake.wait()
                link.wake.clear()
                while hashes := self._take(link):
                    try:
                        refused = await self._pull(link, hashes)
                    finally:
                        self._asked.difference_update(hashes)
                        self._let_others_ask(hashes)
                    await asyncio.sleep(refused / REFUSED_PER_SECOND + pause_s(link.failures))
        except PeerGone:
            return

    def _take(self, link: _Link) -> list[bytes]:
        """What to ask this peer for next; what others are being asked for stays, in case they fail."""
        wanted = self._seen.unknown(link.waiting)
        asked = self._asked
        taken = [hash_ for hash_ in wanted if hash_ not in asked][:TRANSACTIONS_MAX]
        asked.update(taken)
        link.waiting = dict.fromkeys(wanted)
        for hash_ in taken:
            del link.waiting[hash_]
        return taken

    def _let_others_ask(self, hashes: Sequence[bytes]) -> None:
        """What one peer did not give, another may."""
        failed = self._seen.unknown(hashes)
        for link in self._links.values() if failed else ():
            if any(hash_ in link.waiting for hash_ in failed):
                link.wake.set()

    async def _pull(self, link: _Link, hashes: list[bytes]) -> int:
        """Ask a peer for what it told of; how many of its transactions the pool refused. Raises PeerGone."""
        try:
            answer = await link.peer.request(GetTransactions(id=0, hashes=tuple(hashes)), PULL_S)
        except RequestTimedOut:
            link.failures += 1
            link.peer.blame(BLAME_SLOW, f"gave none of {len(hashes)} transactions that it told of in {PULL_S} s")
            return 0
        raws = answer.raws if isinstance(answer, Transactions) else ()
        link.failures = 0 if raws else link.failures + 1
        if len(raws) > len(hashes):
            link.peer.blame(BLAME_LIED, f"gave {len(raws)} transactions where {len(hashes)} were asked for")
            return 0
        outcomes = await self._intake.submit(raws, patiently=True) if raws else []
        came = _hashes_of(raws, outcomes)
        self._seen.add(came)
        if came != set(hashes):
            self._missed(link, hashes, came, sum(map(len, raws)))
        if malformed := next((each for each in outcomes if isinstance(each, InvalidTransaction)), None):
            link.peer.blame(BLAME_LIED, f"gave a transaction that is none: {malformed}")
        return sum(isinstance(outcome, Exception) for outcome in outcomes)

    def _missed(self, link: _Link, hashes: list[bytes], came: set[bytes], bytes_given: int) -> None:
        """Not exactly what was asked for has come."""
        if came.difference(hashes):
            link.peer.blame(BLAME_LIED, "gave a transaction that it was not asked for")
            return
        missing = self._seen.unknown(hashes)
        if came and bytes_given > TRANSACTIONS_BYTES_MAX - TRANSACTION_BYTES_MAX:  # the next one may not have fitted
            link.waiting = dict.fromkeys(missing) | link.waiting
        elif missing:
            points = BLAME_PARTLY_WITHHELD if came else BLAME_WITHHELD
            link.peer.blame(points, f"does not give {len(missing)} of {len(hashes)} transactions that it told of")


def _tell(link: _Link, message: TransactionHashes) -> None:
    if message.hashes:
        link.known.add(message.hashes)
        link.peer.send(message)


def _hashes_of(raws: Sequence[bytes], outcomes: Sequence[Outcome]) -> set[bytes]:
    """Of transactions that were offered: of those that were let in, it is known already."""
    return {
        outcome if isinstance(outcome, bytes) else keccak256(raw) for raw, outcome in zip(raws, outcomes, strict=True)
    }
