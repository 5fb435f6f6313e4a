"""Home of the ledger on disk: blocks, receipts, state by key and by height, and indexes, one synced batch a block."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

import msgpack

from chain.datadir import (
    LOCK_NAME,
    DataDirectoryDamaged,
    DataDirectoryForeign,
    DataDirectoryLocked,
    DirectoryLock,
    DiskFull,
    HistoryPruned,
    StorageFailed,
    prepare_directory,
)
from chain.errors import LyceumError
from chain.frozen_state import FrozenState, earlier_values
from chain.leveldb import Database, Kind, describe
from chain.recent_values import UNKNOWN, RecentValues

__all__ = [
    "HISTORY_DEFAULT",
    "DataDirectoryDamaged",
    "DataDirectoryForeign",
    "DataDirectoryLocked",
    "DiskFull",
    "HistoryPruned",
    "StorageFailed",
    "Store",
]

HISTORY_DEFAULT = 128  # heights before the tip at which values can be read

_STATE, _UNDO, _TRANSACTION, _META = bytes(Kind.STATE), bytes(Kind.UNDO), bytes(Kind.TRANSACTION), bytes(Kind.META)
_HEADER, _BLOCK, _RECEIPTS = bytes(Kind.HEADER), bytes(Kind.BLOCK), bytes(Kind.RECEIPTS)
_HEIGHT_OF_HASH, _TIP_KEY = bytes(Kind.HEIGHT_OF_HASH), bytes(Kind.OWN) + b"tip"
_FIRST_KEY, _PARTIAL_KEY = bytes(Kind.OWN) + b"first block", bytes(Kind.OWN) + b"partial snapshot"
_HEIGHTS_IN_MEMORY_MAX = 128
_NO_META: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock:
    """A block as the store keeps it, opaque but for its names."""

    height: int
    block_hash: bytes
    header: bytes
    block: bytes
    receipts: bytes
    transaction_hashes: Sequence[bytes]

    def records(self) -> dict[bytes, bytes | None]:
        number = self.height.to_bytes(8, "big")
        found: dict[bytes, bytes | None] = {
            _TRANSACTION + hash_: number + index.to_bytes(4, "big")
            for index, hash_ in enumerate(self.transaction_hashes)
        }
        found[_HEADER + number] = self.header
        found[_BLOCK + number] = self.block
        found[_RECEIPTS + number] = self.receipts
        found[_HEIGHT_OF_HASH + self.block_hash] = number
        return found


class Store:
    """An open ledger. One thread writes, any thread reads; keys and values of state are opaque here.

    Every read verifies checksums and raises DataDirectoryDamaged where they fail, naming the record.
    """

    def __init__(self, path: Path, database: Database, lock: DirectoryLock, *, archive: bool, history: int) -> None:
        """For `open` alone."""
        self.path = path
        self._database = database
        self._directory_lock = lock
        self._archive = archive
        self._history = history
        self._in_memory = min(history, _HEIGHTS_IN_MEMORY_MAX)
        self._closed = False
        self._failure: LyceumError | None = None
        self._publishing = threading.Lock()
        self._generation = 0  # moves before and after every write, so that a reader sees that one came between
        self._values = RecentValues()
        self._undo: dict[int, Mapping[bytes, bytes | None]] = {}  # height -> values before that block
        self._tip: tuple[int, bytes] | None = None
        self._oldest = 0
        self._first_block = 0

    @classmethod
    def open(
        cls,
        path: Path,
        create: bool,
        *,
        genesis: bytes | None = None,
        checked: bool = False,
        archive: bool = False,
        history: int = HISTORY_DEFAULT,
        beside: Collection[str] = (),
    ) -> Store:
        """The ledger in data directory `path`, locked for this process; `create` makes one in an empty directory.

        `genesis` (its hash) must be the one that the ledger was made with. `checked` first reads every record with
        its checksum. `archive` keeps state at all heights from now on, otherwise at the last `history`. `beside`
        names what else may lie in a directory without a ledger. Raises DataDirectoryForeign, DataDirectoryLocked,
        DataDirectoryDamaged, StorageFailed.
        """
        assert history >= 1, "the tip's parent must stay readable"
        fresh = prepare_directory(path, create, beside)
        lock = DirectoryLock(path)
        try:
            database = Database(path)
        except BaseException:
            lock.release()
            raise
        store = cls(path, database, lock, archive=archive, history=history)
        try:
            if checked:
                database.check()
            database.identify(fresh, genesis)
            store._load()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the database, then let others have the directory. May be called twice."""
        if not self._closed:
            self._closed = True
            self._database.close()
            self._directory_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

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
        """Everything of one block in one synced, atomic batch; when it returns, the block survives any crash.

        Heights follow one another from any first one. `changes` maps flat keys to new values (None: gone), `meta`
        replaces the records that it names. Raises DiskFull or StorageFailed: the tip stays, only a store opened
        anew commits again, and it finds this block whole or not at all.
        """
        assert self._tip is None or height == self._tip[0] + 1, f"height {height} can't follow {self._tip}"
        if self._failure is not None:
            raise self._failure
        previous = {key: self.get(key) for key in changes}
        stored = StoredBlock(
            height=height,
            block_hash=block_hash,
            header=header,
            block=block,
            receipts=receipts,
            transaction_hashes=transaction_hashes,
        )
        records: dict[bytes, bytes | None] = {_STATE + key: value for key, value in changes.items()}
        records |= self._tip_records(stored, meta)
        if self._tip is not None:
            records[_UNDO + height.to_bytes(8, "big")] = msgpack.packb(previous)
            if not self._archive and height > self._history:
                records[_UNDO + (height - self._history).to_bytes(8, "big")] = None
        self._write(height, previous, records)
        self._publish(height, block_hash, changes)
        self._directory_lock.note_height(height)

    @staticmethod
    def _tip_records(stored: StoredBlock, meta: Mapping[str, bytes]) -> dict[bytes, bytes | None]:
        records = stored.records()
        records |= {_META + name.encode(): record for name, record in meta.items()}
        records[_TIP_KEY] = stored.height.to_bytes(8, "big") + stored.block_hash
        records[_PARTIAL_KEY] = None
        return records

    def _write(
        self, height: int, previous: Mapping[bytes, bytes | None], records: Mapping[bytes, bytes | None]
    ) -> None:
        """The batch to disk; a reader of earlier heights finds the earlier values throughout."""
        with self._publishing:
            self._generation += 1
            self._undo[height] = previous
        try:
            self._database.write(records)
        except LyceumError as error:
            self._failure = error
            with self._publishing:
                self._generation += 1
                del self._undo[height]
            raise

    def _publish(self, height: int, block_hash: bytes, changes: Mapping[bytes, bytes | None]) -> None:
        """Let readers see a block that is on disk."""
        with self._publishing:
            self._generation += 1
            for key, value in changes.items():
                self._values.put(key, value)
            if self._tip is None:
                self._oldest = height
                del self._undo[height]  # nothing lies before the first block
            elif not self._archive:
                self._oldest = max(self._oldest, height - self._history)
            self._undo.pop(height - self._in_memory, None)
            self._tip = (height, block_hash)
            self._generation += 1  # who looked while this was under way may have found values of before

    def get(self, key: bytes) -> bytes | None:
        """The latest value of a flat key, None if it has none."""
        value = self._values.young(key)
        if value is UNKNOWN:
            generation = self._generation
            value = self._values.young(key)  # once more: a block may have been published since
            if value is UNKNOWN:
                value = self._values.old(key)
            if value is UNKNOWN:
                value = self._database.get(_STATE + key)
            with self._publishing:
                # What was read while a block was being written may be the value before it.
                if generation == self._generation:
                    self._values.put(key, value)
        return value

    def value_at(self, key: bytes, height: int) -> bytes | None:
        """The value of a flat key after block `height`. Raises HistoryPruned below `oldest_height` or above the tip.

        The last 128 heights are in memory; each height before them costs a read from disk.
        """
        while True:
            generation = self._generation
            tip = -1 if self._tip is None else self._tip[0]
            if not self._oldest <= height <= tip:
                raise HistoryPruned(f"no state is kept for height {height}: it is for {self._oldest} to {tip}")
            value = self._value_after(key, height, tip)
            if generation == self._generation:
                return value

    def _value_after(self, key: bytes, height: int, tip: int) -> bytes | None:
        for later in range(height + 1, tip + 1):
            previous = self.previous_values(later)
            if previous is not None and key in previous:
                return previous[key]
        under_way = self._undo.get(tip + 1, {})
        return under_way[key] if key in under_way else self.get(key)

    def previous_values(self, height: int) -> Mapping[bytes, bytes | None] | None:
        """The values before block `height` of the keys that it changed; None if they are not kept."""
        kept = self._undo.get(height)
        if kept is not None:
            return kept
        key = _UNDO + height.to_bytes(8, "big")
        record = self._database.get(key)
        return None if record is None else self._unpack_undo(key, record)

    @property
    def oldest_height(self) -> int:
        """The least height at which `value_at` answers."""
        return self._oldest

    @property
    def oldest_block(self) -> int:
        """The height from which on every block is kept. Genesis is kept always."""
        return self._first_block

    def forget_blocks(self, blocks: Sequence[tuple[int, bytes, Sequence[bytes]]]) -> None:
        """Drop the oldest blocks, in one batch: (height, block hash, transaction hashes) of each, in order."""
        records: dict[bytes, bytes | None] = {}
        for height, block_hash, transaction_hashes in blocks:
            empty = StoredBlock(
                height=height,
                block_hash=block_hash,
                header=b"",
                block=b"",
                receipts=b"",
                transaction_hashes=transaction_hashes,
            )
            records |= dict.fromkeys(empty.records())
        first = blocks[-1][0] + 1
        assert blocks[0][0] == max(1, self._first_block), "the oldest blocks go first"
        records[_FIRST_KEY] = first.to_bytes(8, "big")
        self._first_block = first
        self._database.write(records)

    # ------------------------------------------------------------------------------------------------ snapshots

    def freeze(self, height: int) -> FrozenState:
        """The whole state after block `height`, unmoved by later blocks; close it. Any thread. Raises HistoryPruned."""
        frozen = self._database.freeze()
        try:
            record = frozen.get(_TIP_KEY)
            tip = -1 if record is None else int.from_bytes(record[:8], "big")
            if height > tip:
                raise HistoryPruned(f"height {height} is not committed yet")
            undo: dict[int, Mapping[bytes, bytes | None] | None] = {}
            for later in range(height + 1, tip + 1):
                key = _UNDO + later.to_bytes(8, "big")
                packed = frozen.get(key)
                undo[later] = None if packed is None else self._unpack_undo(key, packed)
            return FrozenState(height, frozen, _STATE, earlier_values(height, tip, undo))
        except BaseException:
            frozen.close()
            raise

    def begin_snapshot(self) -> None:
        """Make an empty ledger, or one of genesis alone, ready for another height's state.

        Until `finish_snapshot` nothing else may be asked of the store; a store opened anew is then an empty one.
        """
        assert self.tip() in (None, 0), "a ledger with blocks goes on from them"
        self._database.write({_PARTIAL_KEY: b"1"})
        self._clear()

    def _clear(self) -> None:
        self._tip, self._oldest, self._first_block = None, 0, 0
        self._values = RecentValues()
        self._undo.clear()
        self._database.write({_TIP_KEY: None, _FIRST_KEY: None})
        self._database.clear(kind for kind in Kind if kind is not Kind.OWN)

    def put_snapshot(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Some of the state of the height to come, synced."""
        assert self._tip is None
        self._database.write({_STATE + key: value for key, value in items})

    def finish_snapshot(self, stored: StoredBlock, genesis: StoredBlock, meta: Mapping[str, bytes]) -> None:
        """The state put is that after this block: it is the tip, and the first block beside genesis."""
        records = genesis.records() | self._tip_records(stored, meta)
        records[_FIRST_KEY] = stored.height.to_bytes(8, "big")
        self._database.write(records)
        self._tip, self._oldest, self._first_block = (stored.height, stored.block_hash), stored.height, stored.height
        self._directory_lock.note_height(stored.height)

    @property
    def genesis(self) -> bytes:
        """The genesis hash that the ledger was made with, empty if it was made without."""
        return self._database.genesis

    def items(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The latest value of every flat key that begins with `prefix`, by key, as of the first step."""
        return ((key[1:], value) for key, value in self._database.scan(_STATE + prefix))

    def tip(self) -> int | None:
        """The height committed last, None in an empty ledger."""
        return None if self._tip is None else self._tip[0]

    def tip_hash(self) -> bytes | None:
        """The hash of the block committed last."""
        return None if self._tip is None else self._tip[1]

    def header(self, height: int) -> bytes | None:
        return self._database.get(_HEADER + height.to_bytes(8, "big"))

    def block(self, height: int) -> bytes | None:
        return self._database.get(_BLOCK + height.to_bytes(8, "big"))

    def receipts(self, height: int) -> bytes | None:
        return self._database.get(_RECEIPTS + height.to_bytes(8, "big"))

    def height_of_hash(self, block_hash: bytes) -> int | None:
        """The height of the block with this hash, None if there is none."""
        record = self._database.get(_HEIGHT_OF_HASH + block_hash)
        return None if record is None else int.from_bytes(record, "big")

    def transaction_location(self, transaction_hash: bytes) -> tuple[int, int] | None:
        """(height, index in the block) of a committed transaction, None if there is none."""
        record = self._database.get(_TRANSACTION + transaction_hash)
        return None if record is None else (int.from_bytes(record[:8], "big"), int.from_bytes(record[8:], "big"))

    def meta(self, name: str) -> bytes | None:
        """The record of this name as the last block to name it wrote it."""
        return self._database.get(_META + name.encode())

    def _load(self) -> None:
        """The tip and the earlier values of the last heights into memory, and older ones off the disk."""
        if self._database.get(_PARTIAL_KEY) is not None:
            self._clear()  # a snapshot was being taken in: it starts anew, or the chain does from genesis
            return
        record = self._database.get(_TIP_KEY)
        tip = None if record is None else int.from_bytes(record[:8], "big")
        noted = self._directory_lock.noted_height()
        if noted is not None and (tip is None or tip < noted):
            raise DataDirectoryDamaged(
                f"{self.path}: block {noted} was committed, but the ledger ends at {tip}: restore it from a copy, "
                f"or remove {LOCK_NAME} there to go on without"
            )
        if record is None or tip is None:
            return
        self._tip, self._oldest = (tip, record[8:]), tip
        self._first_block = int.from_bytes(self._database.get(_FIRST_KEY) or b"", "big")
        stale: dict[bytes, bytes | None] = {}
        for key, undo in self._database.scan(_UNDO):
            height = int.from_bytes(key[1:], "big")
            if height <= tip - self._history and not self._archive:
                stale[key] = None
                continue
            self._oldest = min(self._oldest, height - 1)
            if height > tip - self._in_memory:
                self._undo[height] = self._unpack_undo(key, undo)
        self._database.write(stale)

    def _unpack_undo(self, key: bytes, record: bytes) -> dict[bytes, bytes | None]:
        try:
            previous = msgpack.unpackb(record, strict_map_key=True)
            if not isinstance(previous, dict) or not all(isinstance(each, bytes) for each in previous):
                raise TypeError(f"it is no map of keys but {type(previous).__name__}")
        except Exception as error:
            raise DataDirectoryDamaged(f"{self.path}: {describe(key)}: {error}") from error
        return previous
