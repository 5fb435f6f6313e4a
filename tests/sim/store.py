"""Home of the simulated ledger on disk: what chain/storage/store.py promises, in memory, with a crash that undoes what it may.

A block is one atomic batch: after a crash it is there whole or not at all, and a synced one is always there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chain.storage.datadir import HistoryPruned

_NO_META: Mapping[str, bytes] = {}


@dataclass(slots=True, kw_only=True)
class _Batch:
    """What one block changed, and what it takes to undo it."""

    height: int
    block_hash: bytes
    transaction_hashes: tuple[bytes, ...]
    previous: dict[bytes, bytes | None]
    previous_meta: dict[str, bytes | None]


@dataclass(slots=True, kw_only=True)
class MemoryStore:
    """One node's ledger. It outlives the node; `synced` is the number of batches that no crash can take."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    batches: list[_Batch] = field(default_factory=list)
    synced: int = 0
    _headers: dict[int, bytes] = field(default_factory=dict)
    _blocks: dict[int, bytes] = field(default_factory=dict)
    _receipts: dict[int, bytes] = field(default_factory=dict)
    _meta: dict[str, bytes] = field(default_factory=dict)
    _heights: dict[bytes, int] = field(default_factory=dict)
    _locations: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def clone(self) -> MemoryStore:
        """A copy that shares nothing that changes."""
        return MemoryStore(
            values=dict(self.values),
            batches=list(self.batches),
            synced=self.synced,
            _headers=dict(self._headers),
            _blocks=dict(self._blocks),
            _receipts=dict(self._receipts),
            _meta=dict(self._meta),
            _heights=dict(self._heights),
            _locations=dict(self._locations),
        )

    # ----------------------------------------------------------------------------------------------- the disk's side

    def sync(self) -> None:
        """All that was written is there for good."""
        self.synced = len(self.batches)

    def crash(self, rng: random.Random) -> None:
        """Lose power: of the batches that were not synced, the first few are there, the others are not."""
        kept = rng.randint(self.synced, len(self.batches))
        while len(self.batches) > kept:
            self._undo(self.batches.pop())
        self.synced = len(self.batches)

    def _undo(self, batch: _Batch) -> None:
        _restore(self.values, batch.previous)
        _restore(self._meta, batch.previous_meta)
        for of_block in (self._headers, self._blocks, self._receipts):
            del of_block[batch.height]
        del self._heights[batch.block_hash]
        for transaction_hash in batch.transaction_hashes:
            self._locations.pop(transaction_hash, None)

    # ---------------------------------------------------------------------------------------------- the store's side

    def commit_block(
        self,
        *,
        height: int,
        block_hash: bytes,
        header: bytes,
        block: bytes,
        receipts: bytes,
        transaction_hashes: Sequence[bytes],
        changes: Mapping[bytes, bytes | None],
        meta: Mapping[str, bytes] = _NO_META,
    ) -> None:
        """Write a block's batch. Whoever wants it synced calls `sync`: in between, the power may fail."""
        tip = self.tip()
        assert tip is None or height == tip + 1, f"height {height} can't follow {tip}"
        batch = _Batch(
            height=height,
            block_hash=block_hash,
            transaction_hashes=tuple(transaction_hashes),
            previous={key: self.values.get(key) for key in changes},
            previous_meta={name: self._meta.get(name) for name in meta},
        )
        self.batches.append(batch)
        _restore(self.values, changes)
        _restore(self._meta, meta)
        self._headers[height], self._blocks[height], self._receipts[height] = header, block, receipts
        self._heights[block_hash] = height
        self._locations.update({each: (height, place) for place, each in enumerate(transaction_hashes)})

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def value_at(self, key: bytes, height: int) -> bytes | None:
        """The value of a flat key after block `height`."""
        tip = self.tip()
        if tip is None or not self.oldest_height <= height <= tip:
            raise HistoryPruned(f"no state is kept for height {height}")
        for batch in self.batches[height + 1 - self.batches[0].height :]:
            if key in batch.previous:
                return batch.previous[key]
        return self.values.get(key)

    def previous_values(self, height: int) -> Mapping[bytes, bytes | None] | None:
        first = self.batches[0].height
        return self.batches[height - first].previous if first < height <= first + len(self.batches) - 1 else None

    @property
    def oldest_height(self) -> int:
        return self.batches[0].height if self.batches else 0

    def items(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return ((key, self.values[key]) for key in sorted(self.values) if key.startswith(prefix))

    def tip(self) -> int | None:
        return self.batches[-1].height if self.batches else None

    def tip_hash(self) -> bytes | None:
        return self.batches[-1].block_hash if self.batches else None

    def header(self, height: int) -> bytes | None:
        return self._headers.get(height)

    def block(self, height: int) -> bytes | None:
        return self._blocks.get(height)

    def receipts(self, height: int) -> bytes | None:
        return self._receipts.get(height)

    def height_of_hash(self, block_hash: bytes) -> int | None:
        return self._heights.get(block_hash)

    def transaction_location(self, transaction_hash: bytes) -> tuple[int, int] | None:
        return self._locations.get(transaction_hash)

    def meta(self, name: str) -> bytes | None:
        return self._meta.get(name)


def _restore(values: dict[Any, bytes], changes: Mapping[Any, bytes | None]) -> None:
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
