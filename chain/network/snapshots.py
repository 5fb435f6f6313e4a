"""Home of giving snapshots to other nodes: their questions answered, and a new snapshot made at every checkpoint."""

from __future__ import annotations

import asyncio
import logging

from chain.executor import Chain
from chain.light_blocks import encode_light_block
from chain.network.messages import (
    SNAPSHOTS_MAX,
    GetLightBlock,
    GetSnapshotBlock,
    GetSnapshotChunk,
    GetSnapshots,
    LightBlockOf,
    Message,
    NotHeld,
    SnapshotBlock,
    SnapshotChunk,
    Snapshots,
)
from chain.network.network import Network
from chain.network.peer import Peer
from chain.node import Committed
from chain.storage.datadir import StorageFailed
from chain.sync.snapshot import BITS_MAX
from chain.sync.snapshot_files import NoSnapshot, SnapshotFiles
from chain.threads import workers

log = logging.getLogger("lyceum.snapshots")


class SnapshotServer:
    """Answers on the event loop, reads and makes on workers. Set `committed` among the node's followers."""

    def __init__(self, network: Network, chain: Chain, files: SnapshotFiles) -> None:
        self._chain, self._files = chain, files
        self._reader, self._maker = workers(1, "snapshot-reader"), workers(1, "snapshot-maker")
        self._making: asyncio.Future[None] | None = None
        network.answer(GetSnapshots, self._snapshots)
        network.answer(GetLightBlock, self._light_block)
        network.answer(GetSnapshotBlock, self._block)
        network.answer(GetSnapshotChunk, self._chunk)

    def close(self) -> None:
        """Stop what is being read or made; nothing half-made is given to anyone."""
        self._files.stop()
        self._reader.shutdown(cancel_futures=True)
        self._maker.shutdown(cancel_futures=True)

    def committed(self, committed: Committed | None = None) -> None:
        """A block was committed, or the node has started: make the newest checkpoint's snapshot if it is missing."""
        wanted = self._files.wanted()
        if wanted is not None and self._making is None:
            self._making = asyncio.get_running_loop().run_in_executor(self._maker, self._make, wanted)
            self._making.add_done_callback(self._made)

    def _make(self, height: int) -> None:
        """A node goes on without: others have snapshots too, and the disk may get room again."""
        try:
            self._files.make(height)
        except (NoSnapshot, StorageFailed) as error:
            log.warning("no snapshot of height %d is made: %s", height, error)

    def _made(self, done: asyncio.Future[None]) -> None:
        self._making = None
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("making a snapshot failed", exc_info=error)

    # --------------------------------------------------------------------------------------------------- answers

    async def _snapshots(self, peer: Peer, asked: GetSnapshots) -> Message:
        return Snapshots(id=asked.id, heights=self._files.heights()[-SNAPSHOTS_MAX:])

    async def _light_block(self, peer: Peer, asked: GetLightBlock) -> Message:
        if asked.height > self._chain.tip.height:
            return NotHeld(id=asked.id)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._reader, self._chain.light_block, asked.height)
        return NotHeld(id=asked.id) if found is None else LightBlockOf(id=asked.id, block=encode_light_block(found))

    async def _block(self, peer: Peer, asked: GetSnapshotBlock) -> Message:
        found = self._files.get(asked.height)
        if found is None:
            return NotHeld(id=asked.id)
        return SnapshotBlock(id=asked.id, block=found.block, receipts=found.receipts)

    async def _chunk(self, peer: Peer, asked: GetSnapshotChunk) -> Message:
        snapshot = self._files.get(asked.height)
        if snapshot is None or asked.start >= 1 << BITS_MAX:
            return NotHeld(id=asked.id)
        found = await asyncio.get_running_loop().run_in_executor(self._reader, snapshot.chunk_at, asked.start)
        if found is None:
            return NotHeld(id=asked.id)
        chunk, items = found
        place = chunk.place
        return SnapshotChunk(id=asked.id, start=place.start, bits=place.bits, items=items, siblings=chunk.siblings)
