"""Home of the exchange of blobs: what the chain names and the node lacks is pulled from peers, chunk by chunk."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from chain.blob_keeping import BlobKeeper
from chain.network.blob_pull import Piece, Verdict
from chain.network.blob_pulls import BACKOFF_MAX_S, Pulls
from chain.network.blob_serving import BlobServer
from chain.network.messages import HAVE_BLOBS_MAX, BlobChunk, GetBlobChunk, HaveBlobs
from chain.network.peer import PeerGone, RequestTimedOut
from chain.network.ports import BLAME_LIED, BLAME_SLOW, Network, Peer, pause_s
from chain.network.recent_hashes import RecentHashes
from chain.storage.blobs import BlobStore

log = logging.getLogger("lyceum.blobs")

CHUNK_S: Final = 6.0  # a peer gives a chunk in that time, or another one is asked
LANES: Final = 2  # chunks asked of one peer at one time: fewer than a peer answers at once, so that it still listens
LOOK_S: Final = 0.25  # between looks at what may be asked for again
TELL_S: Final = 0.02  # new blobs within it are told of in one frame
KNOWN_MAX: Final = 2048  # roots remembered of each peer, at least


@dataclass(slots=True, eq=False)
class _Link:
    """A peer, what it is known to have, and the tasks that ask it."""

    peer: Peer
    known: RecentHashes = field(default_factory=lambda: RecentHashes(KNOWN_MAX))
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    lanes: list[asyncio.Task[None]] = field(default_factory=list)
    failures: int = 0  # questions running that it did not answer in time


class BlobExchange:
    """Pulls what the keeper lacks, gives what the store has, tells of new updates. Lives on the event loop."""

    def __init__(self, network: Network, keeper: BlobKeeper, blobs: BlobStore) -> None:
        self._keeper = keeper
        self._server = BlobServer(network, blobs, keeper.architecture)
        self._links: dict[bytes, _Link] = {}
        self._pulls = Pulls()
        self._fresh: list[bytes] = []  # updates that have come, not told yet
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        network.handle(HaveBlobs, self._told)
        network.connected.append(self._connected)
        network.gone.append(self._gone)
        keeper.seekers.append(self._seek)
        keeper.tellers.append(self._tell)

    async def run(self) -> None:
        """Pull until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for link in self._links.values():
                    self._start(link)
                self._seek()
                while True:
                    await asyncio.sleep(LOOK_S)
                    self._pulls.wake(self._now())
                    self._go_on()
        finally:
            self._tasks = None
            if self._timer:
                self._timer.cancel()

    def close(self) -> None:
        self._server.close()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # -------------------------------------------------------------------------------------------------- connections

    def _connected(self, peer: Peer) -> None:
        link = self._links[peer.id] = _Link(peer)
        self._pulls.peer_came(peer.id)
        if self._keeper.under_way:
            peer.send(HaveBlobs(roots=self._keeper.under_way[-HAVE_BLOBS_MAX:]))
        self._start(link)
        self._go_on()

    def _start(self, link: _Link) -> None:
        if self._tasks is not None and not link.lanes:
            link.lanes = [self._tasks.create_task(self._ask(link)) for _ in range(LANES)]

    def _gone(self, peer: Peer) -> None:
        link = self._links.get(peer.id)
        if link is not None and link.peer is peer:
            del self._links[peer.id]
            self._pulls.peer_went(peer.id)
            for lane in link.lanes:
                lane.cancel()

    # ------------------------------------------------------------------------------------------------------ telling

    def _tell(self, root: bytes) -> None:
        """A new update is here."""
        self._fresh.append(root)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self._tell_fresh)

    def _tell_fresh(self) -> None:
        self._timer = None
        fresh, self._fresh = self._fresh[:HAVE_BLOBS_MAX], self._fresh[HAVE_BLOBS_MAX:]
        all_ = HaveBlobs(roots=tuple(fresh))  # one message for many peers is encoded once
        for link in self._links.values():
            roots = link.known.unknown(fresh)
            if roots:
                link.known.add(roots)
                link.peer.send(all_ if len(roots) == len(fresh) else HaveBlobs(roots=tuple(roots)))
        if self._fresh:
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self._tell_fresh)

    def _told(self, peer: Peer, message: HaveBlobs) -> None:
        link = self._links.get(peer.id)
        if link is not None:
            link.known.add(message.roots)
            self._pulls.peer_has(peer.id, message.roots)
            self._go_on()

    # ------------------------------------------------------------------------------------------------------ pulling

    def _seek(self) -> None:
        self._pulls.want(self._keeper.lacking)
        self._go_on()

    def _go_on(self) -> None:
        """Open what there is room for, and wake those that may have something to ask."""
        while (blob := self._pulls.next_to_open()) is not None:
            self._pulls.open(blob, self._keeper.architecture(blob.task) if blob.head else None)
        if self._pulls.is_asking:
            for link in self._links.values():
                link.wake.set()

    async def _ask(self, link: _Link) -> None:
        """One lane of questions to a peer."""
        try:
            while True:
                await link.wake.wait()
                piece = self._pulls.next_piece(link.peer.id, self._now())
                if piece is None:
                    link.wake.clear()
                else:
                    await self._pull(link, piece)
                    await asyncio.sleep(pause_s(link.failures))
        except PeerGone:
            return

    async def _pull(self, link: _Link, piece: Piece) -> None:
        """Ask for a chunk, and take what comes. Raises PeerGone."""
        blob, peer = piece.blob, link.peer.id
        question = GetBlobChunk(id=0, root=blob.root, task=blob.task if blob.head else b"", index=piece.index)
        answer = None
        try:
            answer = await link.peer.request(question, CHUNK_S)
            link.failures = 0
        except RequestTimedOut:
            link.failures += 1
            link.peer.blame(BLAME_SLOW, f"gave no chunk of a blob in {CHUNK_S} s")
        finally:
            if not isinstance(answer, BlobChunk):
                self._pulls.not_held(peer, piece, self._now())
                self._go_on()
        if isinstance(answer, BlobChunk):
            verdict = self._pulls.came(peer, piece, answer.length, answer.data, answer.proof)
            if verdict is Verdict.WHOLE:
                link.known.add((blob.root,))
                assert self._tasks is not None
                self._tasks.create_task(self._store(piece))  # it goes on if the peer goes
            elif verdict is Verdict.FIRST:
                self._go_on()
            elif verdict is Verdict.WRONG:
                link.peer.blame(BLAME_LIED, f"gave a wrong chunk {piece.index} of blob 0x{blob.root.hex()}")
                self._go_on()
            elif verdict is Verdict.OTHER_LENGTH:
                log.info("blob 0x%s has %d bytes, where %d were committed", blob.root.hex(), answer.length, blob.length)

    async def _store(self, piece: Piece) -> None:
        if await self._keeper.take(piece.blob, self._pulls.data(piece.name)):
            self._pulls.drop(piece.name)
        else:
            self._pulls.park(piece.name, self._now() + BACKOFF_MAX_S)
        self._go_on()
