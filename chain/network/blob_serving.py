"""Home of giving chunks of blobs to peers: read and proved on a worker, the proofs of recent blobs kept."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from chain.errors import LyceumError
from chain.network.messages import BlobChunk, GetBlobChunk, Message, NotHeld
from chain.network.ports import Network, Peer
from chain.storage.blobs import BlobStore
from chain.threads import workers
from learning.architecture import Architecture
from learning.commitment import (
    CHUNK_BYTES,
    Proof,
    chunk_proofs,
    verify_chunk,
    verify_weights_chunk,
    weights_chunk_proofs,
)

log = logging.getLogger("lyceum.blobs")

PROOFS_MAX: Final = 1 << 14  # chunks whose proofs are kept: those of blobs of a gibibyte together


class BlobServer:
    """Answers `GetBlobChunk` from a blob store. What it gives is proved first: a damaged disk makes no liar of it."""

    def __init__(
        self, network: Network, blobs: BlobStore, architecture_of: Callable[[bytes], Architecture | None]
    ) -> None:
        """`architecture_of` tells that of a task's models, None where there is no such task."""
        self._blobs = blobs
        self._architecture_of = architecture_of
        self._worker = workers(1, "blobs-out")
        self._proofs: OrderedDict[tuple[bytes, bytes], tuple[Proof, ...]] = OrderedDict()  # used last comes last
        self._kept = 0
        network.answer(GetBlobChunk, self._answer)

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)

    async def _answer(self, _: Peer, asked: GetBlobChunk) -> Message:
        if not self._blobs.has(asked.root):
            return NotHeld(id=asked.id)
        architecture = self._architecture_of(asked.task) if asked.task else None
        if asked.task and architecture is None:
            return NotHeld(id=asked.id)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, self._give, asked, architecture)
        except LyceumError as error:  # the disk; who keeps and judges blobs stops the node where it must
            log.warning("blob 0x%s can't be given: %s", asked.root.hex(), error)
            return NotHeld(id=asked.id)

    def _give(self, asked: GetBlobChunk, architecture: Architecture | None) -> Message:
        """On the worker. The blob may be deleted meanwhile."""
        root, index, length = asked.root, asked.index, self._blobs.size(asked.root)
        if length is None or index > length // CHUNK_BYTES:
            return NotHeld(id=asked.id)
        data = self._blobs.read(root, index * CHUNK_BYTES, CHUNK_BYTES)
        proofs = self._proofs_of(root, asked.task, architecture)
        if data is None or index >= len(proofs):
            return NotHeld(id=asked.id)
        if architecture is not None:
            good = verify_weights_chunk(root, architecture, index, data, proofs[index])
        else:
            good = verify_chunk(root, length, index, data, proofs[index])
        return BlobChunk(id=asked.id, length=length, data=data, proof=proofs[index]) if good else NotHeld(id=asked.id)

    def _proofs_of(self, root: bytes, task: bytes, architecture: Architecture | None) -> tuple[Proof, ...]:
        known = self._proofs.get((root, task))
        if known is not None:
            self._proofs.move_to_end((root, task))
            return known
        data = self._blobs.get(root)
        if data is None:
            return ()
        proofs = weights_chunk_proofs(architecture, data) if architecture is not None else chunk_proofs(data)
        self._proofs[root, task] = proofs
        self._kept += len(proofs)
        while self._kept > PROOFS_MAX and len(self._proofs) > 1:
            _, oldest = self._proofs.popitem(last=False)
            self._kept -= len(oldest)
        return proofs
