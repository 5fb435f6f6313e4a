"""Home of pulling one snapshot from several peers at once: which parts are missing, who is asked, what is believed."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from chain.codec import InvalidEncoding
from chain.errors import InvalidInput, LyceumError
from chain.network.messages import GetSnapshotChunk, Message, SnapshotChunk
from chain.network.peer import PeerGone, RequestTimedOut
from chain.sync.snapshot import BITS_MAX, Chunk, InvalidChunk, Place, decode_items, decode_siblings, verify_chunk
from chain.threads import workers

log = logging.getLogger("lyceum.snapshots")

PIECES_MAX = 256  # that the keys are divided into, so that peers of any speed have something to do
AT_ONCE = 3  # questions under way with one peer
CHUNK_SECONDS = 30.0
SLOW_SECONDS = 5.0  # a peer that takes so long for a chunk gives up its piece to others
FORGERY = 100  # points: a peer that sends what is proved wrong is cut off

Store = Callable[[Sequence[tuple[bytes, bytes]]], None]


class CannotPull(LyceumError):
    """No peer gives what is still missing."""


class Source(Protocol):
    """A peer, as far as it is needed here; `chain.network.peer.Peer` is one."""

    async def request(self, message: Message, timeout_s: float) -> Message: ...

    def blame(self, points: int, reason: str) -> None: ...


class Pieces:
    """What of the keys [0, 2^64) is not there yet, in pieces that are given out and may come back."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int]] = deque([(0, 1 << BITS_MAX)])
        self._done: list[tuple[int, int]] = []  # places of chunks, ascending
        self.covered = 0

    def take(self) -> tuple[int, int] | None:
        """The next missing piece: from where, to where; None if all are there or given out."""
        while self._waiting:
            start, end = self._waiting.popleft()
            start = self.missing_from(start)
            if start < end:
                return start, end
        return None

    def give_back(self, start: int, end: int) -> None:
        """Somebody else should pull what is left of a piece."""
        if start < end:
            self._waiting.append((start, end))

    def divide(self, start: int, end: int, bits: int) -> None:
        """Give back a long piece as several, of one chunk each if chunks are of so many bits."""
        step = 1 << max(BITS_MAX - bits, BITS_MAX - (PIECES_MAX.bit_length() - 1))
        while start < end:
            following = min(end, (start // step + 1) * step)
            self.give_back(start, following)
            start = following

    def put(self, place: Place) -> bool:
        """A chunk is there; False if all of it was already. Places lie within one another, or apart."""
        if self.missing_from(place.start) >= place.end:
            return False
        first = bisect_left(self._done, (place.start, 0))
        last = bisect_left(self._done, (place.end, 0))
        self.covered += place.end - place.start - sum(end - start for start, end in self._done[first:last])
        self._done[first:last] = [(place.start, place.end)]
        return True

    def missing_from(self, start: int) -> int:
        """The first key from `start` on that no chunk covers."""
        while True:
            at = bisect_right(self._done, (start, 1 << BITS_MAX)) - 1
            if at < 0 or self._done[at][1] <= start:
                return start
            start = self._done[at][1]

    @property
    def complete(self) -> bool:
        return self.covered == 1 << BITS_MAX


class Pull:
    """One snapshot being pulled: `root` is the state root of its height's verified header."""

    def __init__(
        self, height: int, root: bytes, put: Store, told: Callable[[float, int], None] = lambda part, data: None
    ) -> None:
        """`put` keeps verified leaves, on a worker; `told` hears which part is there (0 to 1), and how many bytes."""
        self._height, self._root, self._put, self._told = height, root, put, told
        self._pieces = Pieces()
        self._bytes = 0
        self._divided = False  # whether the size of a chunk is known
        self._sources: list[Source] = []
        self._worker = workers(1, "snapshot")

    async def run(self, sources: Sequence[Source]) -> None:
        """Until everything is there. Raises CannotPull, StorageFailed."""
        self._sources = list(sources)
        try:
            while not self._divided and self._sources:
                await self._from(self._sources[0], only_first=True)
            while not self._pieces.complete and self._sources:
                async with asyncio.TaskGroup() as group:
                    for source in self._sources * AT_ONCE:
                        group.create_task(self._from(source))
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from group_error
        finally:
            await asyncio.get_running_loop().run_in_executor(None, self._worker.shutdown)
        if not self._pieces.complete:
            raise CannotPull(f"no peer gives the rest of the snapshot of height {self._height}")

    async def _from(self, source: Source, only_first: bool = False) -> None:
        """Pull piece after piece from one peer, until there is none or it fails, and is asked no more."""
        while source in self._sources and (piece := self._pieces.take()) is not None:
            start, end = piece
            try:
                while start < end:
                    asked = asyncio.get_running_loop().time()
                    place = await self._chunk(source, start)
                    start = self._pieces.missing_from(start)
                    if only_first:
                        self._divided = True
                        self._pieces.divide(start, end, place.bits)
                        return
                    if asyncio.get_running_loop().time() - asked > SLOW_SECONDS:
                        self._pieces.give_back(start, end)
                        return
            except (PeerGone, RequestTimedOut, CannotPull, InvalidInput) as error:
                log.info("a peer gives no chunk at %x of height %d: %s", start, self._height, error)
                self._pieces.give_back(start, end)
                if source in self._sources:
                    self._sources.remove(source)

    async def _chunk(self, source: Source, start: int) -> Place:
        """Ask for the chunk that holds `start`, verify and keep it."""
        asked = GetSnapshotChunk(id=0, height=self._height, start=start)
        answer = await source.request(asked, CHUNK_SECONDS)
        if not isinstance(answer, SnapshotChunk):
            raise CannotPull("it does not hold the snapshot any more")
        place = Place(start=answer.start, bits=answer.bits)
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._verify_and_put, start, answer)
        except InvalidInput as error:
            source.blame(FORGERY, str(error))
            raise
        if self._pieces.put(place):
            self._bytes += len(answer.items)
            self._told(self._pieces.covered / (1 << BITS_MAX), self._bytes)
        return place

    def _verify_and_put(self, start: int, answer: SnapshotChunk) -> None:
        """On the worker. Raises InvalidChunk, StorageFailed."""
        if answer.bits > BITS_MAX:
            raise InvalidChunk(f"a chunk of {answer.bits} bits")
        place = Place(start=answer.start, bits=answer.bits)
        if not place.start <= start < place.end:
            raise InvalidChunk(f"the chunk at {place.start:#x} of {place.bits} bits does not hold {start:#x}")
        try:
            items, siblings = decode_items(answer.items), decode_siblings(answer.siblings)
        except InvalidEncoding as error:
            raise InvalidChunk(str(error)) from error
        verify_chunk(self._root, Chunk(place=place, items=items, siblings=siblings))
        self._put(items)
