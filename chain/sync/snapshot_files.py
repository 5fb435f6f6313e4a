"""Home of the snapshots that a node gives to others: chunks of the state at the newest checkpoints, in files.

`snapshots/HEIGHT/` holds `chunks`, the encoded leaves of all places one after the other, and `index`. It is made aside
and moved into place, so that what is there is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np

from chain.codec import BLOCK_BYTES_MAX, pack, unpack
from chain.errors import LyceumError
from chain.executor import Chain
from chain.light_blocks import encode_light_block
from chain.merkle import tree_key
from chain.storage.datadir import HistoryPruned, storage_error
from chain.sync.frozen_state import FrozenState
from chain.sync.snapshot import (
    CHUNK_BYTES_MAX,
    Place,
    decode_siblings,
    divide,
    encode_items,
    encode_siblings,
    key_start,
    leaf_bytes,
    siblings_of,
    subtree_hash,
)

log = logging.getLogger("lyceum.snapshots")

SNAPSHOTS_NAME = "snapshots"
KEPT = 2  # snapshots; whoever pulls the older one has until the next is made
PASS_BYTES = 1 << 26  # of leaves in memory while a snapshot is made, beside some 40 for each leaf of the state
LEAVES_BETWEEN_PAUSES = 1000
PAUSE_SECONDS = 0.0005  # so that making a large snapshot does not slow down what else the process does
INDEX_BYTES_MAX = 1 << 28
Items = Callable[[], Iterator[tuple[bytes, bytes]]]  # of a state, each time from the start
_MAKING, _CHUNKS, _INDEX = "making", "chunks", "index"


class NoSnapshot(LyceumError):
    """Of this height none can be made: its state is not kept any more, or holds a value too large for a chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """Where a chunk stands in the file of chunks, and its proof."""

    place: Place
    offset: int
    length: int
    digest: bytes
    siblings: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An opened snapshot: what a node must know of the block of its height, and the places of its chunks in order."""

    height: int
    light_block: bytes
    block: bytes
    receipts: bytes
    chunks: tuple[StoredChunk, ...]
    path: Path

    def chunk_at(self, start: int) -> tuple[StoredChunk, bytes] | None:
        """The chunk whose place holds `start`, with its encoded leaves; None where the file is not what it was."""
        found = self.chunks[bisect_right(self.chunks, start, key=lambda chunk: chunk.place.start) - 1]
        try:
            with (self.path / _CHUNKS).open("rb") as file:
                file.seek(found.offset)
                data = file.read(found.length)
        except OSError:
            return None
        return (found, data) if hashlib.sha256(data).digest() == found.digest else None


class SnapshotFiles:
    """The snapshots of a data directory. `make` is for one thread at a time, reading for any."""

    def __init__(self, directory: Path, chain: Chain) -> None:
        """Finds what is there, and drops what was never finished or is of no use any more."""
        self._directory = directory / SNAPSHOTS_NAME
        self._chain = chain
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._snapshots: dict[int, Snapshot] = {}
        shutil.rmtree(self._directory / _MAKING, ignore_errors=True)
        for entry in sorted(self._directory.iterdir()) if self._directory.is_dir() else ():
            if entry.name.isdigit():
                self._find(int(entry.name), entry)
        self._drop_old()

    def _find(self, height: int, path: Path) -> None:
        try:
            self._snapshots[height] = _read_index(path, height)
        except Exception as error:
            log.warning("the snapshot %s can't be used and is removed: %s", path, error)
            shutil.rmtree(path, ignore_errors=True)

    def stop(self) -> None:
        """Let a `make` under way give up soon."""
        self._stopping.set()

    def heights(self) -> tuple[int, ...]:
        """Of the snapshots that can be given, ascending."""
        with self._lock:
            return tuple(sorted(self._snapshots))

    def get(self, height: int) -> Snapshot | None:
        with self._lock:
            return self._snapshots.get(height)

    def wanted(self) -> int | None:
        """The newest checkpoint, if its snapshot is not there and can still be made."""
        every = self._chain.parameters.checkpoint_blocks
        height = self._chain.tip.height // every * every
        kept = height >= max(1, self._chain.store.oldest_height)
        return height if kept and self.get(height) is None else None

    def make(self, height: int) -> Snapshot:
        """Write the snapshot of a height. Blocking. Raises NoSnapshot, StorageFailed, DataDirectoryDamaged."""
        started = time.monotonic()
        making = self._directory / _MAKING
        try:
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            with self._frozen(height) as state:
                chunks = _write_chunks(making / _CHUNKS, lambda: _paced(state.items(), self._stopping))
            _write_synced(making / _INDEX, self._index(height, chunks))
            final = self._directory / str(height)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(making, final)
        except OSError as error:
            with contextlib.suppress(OSError):
                shutil.rmtree(making)
            raise storage_error(f"can't write a snapshot in {self._directory}", error) from error
        made = _read_index(final, height)
        with self._lock:
            self._snapshots[height] = made
        self._drop_old()
        log.info("snapshot of height %d: %d chunks in %.1f s", height, len(chunks), time.monotonic() - started)
        return made

    def _frozen(self, height: int) -> FrozenState:
        try:
            return self._chain.store.freeze(height)
        except HistoryPruned as error:
            raise NoSnapshot(str(error)) from error

    def _index(self, height: int, chunks: Sequence[StoredChunk]) -> bytes:
        light_block = self._chain.light_block(height)
        block, receipts = self._chain.store.block(height), self._chain.store.receipts(height)
        if light_block is None or block is None or receipts is None:
            raise NoSnapshot(f"block {height} is not kept")
        rows = tuple(
            (chunk.place.start, chunk.place.bits, chunk.offset, chunk.length, chunk.digest, chunk.siblings)
            for chunk in chunks
        )
        return pack((encode_light_block(light_block), block, receipts, rows))

    def _drop_old(self) -> None:
        with self._lock:
            old = sorted(self._snapshots)[:-KEPT]
            for height in old:
                del self._snapshots[height]
        for height in old:
            shutil.rmtree(self._directory / str(height), ignore_errors=True)


def _read_index(path: Path, height: int) -> Snapshot:
    light_block, block, receipts, rows = unpack((path / _INDEX).read_bytes(), bytes_max=INDEX_BYTES_MAX)
    chunks = tuple(
        StoredChunk(place=Place(start=start, bits=bits), offset=offset, length=length, digest=digest, siblings=siblings)
        for start, bits, offset, length, digest, siblings in rows
    )
    assert all(type(part) is bytes and len(part) <= 4 * BLOCK_BYTES_MAX for part in (light_block, block, receipts))
    for chunk in chunks:
        decode_siblings(chunk.siblings)
    return Snapshot(height=height, light_block=light_block, block=block, receipts=receipts, chunks=chunks, path=path)


# --------------------------------------------------------------------------------------------------------- making


def _write_chunks(path: Path, items: Items) -> list[StoredChunk]:
    """All chunks of a state to a file, in as many passes over its `items` as memory allows."""
    places, sizes = _division(items())
    written: list[tuple[Place, int, int, bytes]] = []
    hashes: list[bytes] = []
    with path.open("xb") as file:
        for first, last in _passes(sizes):
            for place, leaves in _leaves_of(items(), places[first:last]):
                data = encode_items(tuple((key, value) for _, key, value in leaves))
                if len(data) > CHUNK_BYTES_MAX:
                    raise NoSnapshot(f"a value of {len(data)} bytes is too large for a chunk")
                written.append((place, file.tell(), len(data), hashlib.sha256(data).digest()))
                hashes.append(subtree_hash(place, ((key, value) for _, key, value in leaves)))
                file.write(data)
        _sync(file)
    beside = siblings_of(places, hashes)
    return [
        StoredChunk(place=place, offset=offset, length=length, digest=digest, siblings=encode_siblings(siblings))
        for (place, offset, length, digest), siblings in zip(written, beside, strict=True)
    ]


def _division(items: Iterator[tuple[bytes, bytes]]) -> tuple[tuple[Place, ...], list[int]]:
    """The places of a state's chunks, and the bytes of leaves in each."""
    starts, sizes = array("Q"), array("q")  # of the whole state: lists of integers take several times as much
    for key, value in items:
        starts.append(key_start(key))
        sizes.append(leaf_bytes(key, value))
    start, size = np.frombuffer(starts, np.uint64), np.frombuffer(sizes, np.int64)
    order = np.argsort(start, kind="stable")
    start, size = start[order], size[order]
    places = divide(start, size)
    summed = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
    bounds = [*(int(np.searchsorted(start, np.uint64(place.start))) for place in places), len(start)]
    return places, [int(summed[bounds[i + 1]] - summed[bounds[i]]) for i in range(len(places))]


def _passes(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of chunks that fit into memory together: the first, and the one after the last."""
    first, together = 0, 0
    for number, size in enumerate(sizes):
        if number > first and together + size > PASS_BYTES:
            yield first, number
            first, together = number, 0
        together += size
    yield first, len(sizes)


def _leaves_of(
    items: Iterator[tuple[bytes, bytes]], places: Sequence[Place]
) -> Iterator[tuple[Place, list[tuple[bytes, bytes, bytes]]]]:
    """(tree key, key, value) of each leaf of each place, by ascending tree key.

    What waits is packed, which takes no more than `leaf_bytes`: as objects it would take six times as much.
    """
    starts = [place.start for place in places]
    low, high = places[0].start, places[-1].end
    found = [bytearray() for _ in places]
    for key, value in items:
        start = key_start(key)
        if low <= start < high:
            found[bisect_right(starts, start) - 1] += pack((key, value))
    for number, place in enumerate(places):
        leaves, found[number] = _unpacked(found[number]), bytearray()
        yield place, sorted(leaves, key=lambda leaf: leaf[0])


def _unpacked(packed: bytearray) -> list[tuple[bytes, bytes, bytes]]:
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=0)
    unpacker.feed(packed)
    return [(tree_key(key), key, value) for key, value in unpacker]


def _paced(items: Iterator[tuple[bytes, bytes]], stopping: threading.Event) -> Iterator[tuple[bytes, bytes]]:
    for number, item in enumerate(items):
        if number % LEAVES_BETWEEN_PAUSES == LEAVES_BETWEEN_PAUSES - 1 and stopping.wait(PAUSE_SECONDS):
            raise NoSnapshot("the node stops")
        yield item


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        _sync(file)


def _sync(file: BinaryIO | Any) -> None:
    file.flush()
    os.fsync(file.fileno())
