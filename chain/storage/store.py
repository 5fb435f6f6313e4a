"""Home of the ledger on disk: blocks, receipts, state by key and by height, and indexes, one synced batch a block."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

from chain.errors import LyceumError
from chain.storage.datadir import (
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
from chain.storage.leveldb import Database, Kind
from chain.storage.recent_values import UNKNOWN, RecentValues
from chain.storage.store_history import History
from chain.storage.store_records import (
    BLOCK,
    FIRST_KEY,
    HEADER,
    HEIGHT_OF_HASH,
    META,
    PARTIAL_KEY,
    RECEIPTS,
    STATE,
    TIP_KEY,
    TRANSACTION,
    StoredBlock,
    names_of,
    number,
    undo_key,
    unpack_undo,
)
from chain.sync.frozen_state import FrozenState, earlier_values

__all__ = [
    "HISTORY_DEFAULT",
    "DataDirectoryDamaged",
    "DataDirectoryForeign",
    "DataDirectoryLocked",
    "DiskFull",
    "HistoryPruned",
    "StorageFailed",
    "Store",
    "StoredBlock",
]

HISTORY_DEFAULT = 128  # heights before the tip at which values can be read

_NO_META: Mapping[str, bytes] = MappingProxyType({})


class Store:
    """An open ledger. One thread writes, any thread reads; keys and values of state are opaque here.

    Every read verifies checksums and raises DataDirectoryDamaged where they fail, naming the record.
    """

    def __init__(self, path: Path, database: Database, lock: DirectoryLock, *, archive: bool, history: int) -> None:
        """For `open` alone."""
        self.path = path
        self._database = database
        self._directory_lock = lock
        self._history = History(path, database, archive=archive, heights=history)
        self._closed = False
        self._failure: LyceumError | None = None
        self._publishing = threading.Lock()
        self._generation = 0  # moves before and after every write, so that a reader sees that one came between
        self._values = RecentValues()
        self._tip: tuple[int, bytes] | None = None
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
        records: dict[bytes, bytes | None] = {STATE + key: value for key, value in changes.items()}
        records |= stored.records_as_tip(meta)
        if self._tip is not None:
            records |= self._history.records(height, previous)
        self._write(height, previous, records)
        self._publish(height, block_hash, changes)
        self._directory_lock.note_height(height)

    def _write(
        self, height: int, previous: Mapping[bytes, bytes | None], records: Mapping[bytes, bytes | None]
    ) -> None:
        """The batch to disk; a reader of earlier heights finds the earlier values throughout."""
        with self._publishing:
            self._generation += 1
            self._history.begin(height, previous)
        try:
            self._database.write(records)
        except LyceumError as error:
            self._failure = error
            with self._publishing:
                self._generation += 1
                self._history.abandon(height)
            raise

    def _publish(self, height: int, block_hash: bytes, changes: Mapping[bytes, bytes | None]) -> None:
        """Let readers see a block that is on disk."""
        with self._publishing:
            self._generation += 1
            for key, value in changes.items():
                self._values.put(key, value)
            self._history.publish(height, first=self._tip is None)
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
                value = self._database.get(STATE + key)
            with self._publishing:
                # What was read while a block was being written may be the value before it.
                if generation == self._generation:
                    self._values.put(key, value)
        return value

    def value_at(self, key: bytes, height: int) -> bytes | None:
        """The value of a flat key after block `height`. Raises HistoryPruned below `oldest_height` or above the tip.

        The last heights are in memory; at an earlier one a value costs one search on disk.
        """
        while True:
            generation = self._generation
            tip = -1 if self._tip is None else self._tip[0]
            oldest = self._history.oldest
            if not oldest <= height <= tip:
                raise HistoryPruned(f"no state is kept for height {height}: it is for {oldest} to {tip}")
            value = self._history.value_at(key, height, tip)
            if value is UNKNOWN:
                value = self.get(key)
            if generation == self._generation:
                return value

    def previous_values(self, height: int) -> Mapping[bytes, bytes | None] | None:
        """The values before block `height` of the keys that it changed; None if they are not kept."""
        return self._history.before(height)

    @property
    def oldest_height(self) -> int:
        """The least height at which `value_at` answers."""
        return self._history.oldest

    @property
    def oldest_block(self) -> int:
        """The height from which on every block is kept. Genesis is kept always."""
        return self._first_block

    def forget_blocks(self, blocks: Sequence[tuple[int, bytes, Sequence[bytes]]]) -> None:
        """Drop the oldest blocks, in one batch: (height, block hash, transaction hashes) of each, in order."""
        records: dict[bytes, bytes | None] = dict.fromkeys(name for block in blocks for name in names_of(*block))
        first = blocks[-1][0] + 1
        assert blocks[0][0] == max(1, self._first_block), "the oldest blocks go first"
        records[FIRST_KEY] = number(first)
        self._first_block = first
        self._database.write(records)

    # ------------------------------------------------------------------------------------------------ snapshots

    def freeze(self, height: int) -> FrozenState:
        """The whole state after block `height`, unmoved by later blocks; close it. Any thread. Raises HistoryPruned."""
        frozen = self._database.freeze()
        try:
            record = frozen.get(TIP_KEY)
            tip = -1 if record is None else int.from_bytes(record[:8], "big")
            if height > tip:
                raise HistoryPruned(f"height {height} is not committed yet")
            undo: dict[int, Mapping[bytes, bytes | None] | None] = {}
            for later in range(height + 1, tip + 1):
                packed = frozen.get(undo_key(later))
                undo[later] = None if packed is None else unpack_undo(self.path, undo_key(later), packed)
            return FrozenState(height, frozen, STATE, earlier_values(height, tip, undo))
        except BaseException:
            frozen.close()
            raise

    def begin_snapshot(self) -> None:
        """Make an empty ledger, or one of genesis alone, ready for another height's state.

        Until `finish_snapshot` nothing else may be asked of the store; a store opened anew is then an empty one.
        """
        assert self.tip() in (None, 0), "a ledger with blocks goes on from them"
        self._database.write({PARTIAL_KEY: b"1"})
        self._clear()

    def _clear(self) -> None:
        self._tip, self._first_block = None, 0
        self._values = RecentValues()
        self._history.clear()
        self._database.write({TIP_KEY: None, FIRST_KEY: None})
        self._database.clear(kind for kind in Kind if kind is not Kind.OWN)

    def put_snapshot(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Some of the state of the height to come, synced."""
        assert self._tip is None
        self._database.write({STATE + key: value for key, value in items})

    def finish_snapshot(self, stored: StoredBlock, genesis: StoredBlock, meta: Mapping[str, bytes]) -> None:
        """The state put is that after this block: it is the tip, and the first block beside genesis."""
        records = genesis.records() | stored.records_as_tip(meta)
        records[FIRST_KEY] = number(stored.height)
        self._database.write(records)
        self._tip, self._first_block = (stored.height, stored.block_hash), stored.height
        self._history.oldest = stored.height
        self._directory_lock.note_height(stored.height)

    @property
    def genesis(self) -> bytes:
        """The genesis hash that the ledger was made with, empty if it was made without."""
        return self._database.genesis

    def items(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The latest value of every flat key that begins with `prefix`, by key, as of the first step."""
        return ((key[1:], value) for key, value in self._database.scan(STATE + prefix))

    def tip(self) -> int | None:
        """The height committed last, None in an empty ledger."""
        return None if self._tip is None else self._tip[0]

    def tip_hash(self) -> bytes | None:
        """The hash of the block committed last."""
        return None if self._tip is None else self._tip[1]

    def header(self, height: int) -> bytes | None:
        return self._database.get(HEADER + number(height))

    def block(self, height: int) -> bytes | None:
        return self._database.get(BLOCK + number(height))

    def receipts(self, height: int) -> bytes | None:
        return self._database.get(RECEIPTS + number(height))

    def height_of_hash(self, block_hash: bytes) -> int | None:
        """The height of the block with this hash, None if there is none."""
        record = self._database.get(HEIGHT_OF_HASH + block_hash)
        return None if record is None else int.from_bytes(record, "big")

    def transaction_location(self, transaction_hash: bytes) -> tuple[int, int] | None:
        """(height, index in the block) of a committed transaction, None if there is none."""
        record = self._database.get(TRANSACTION + transaction_hash)
        return None if record is None else (int.from_bytes(record[:8], "big"), int.from_bytes(record[8:], "big"))

    def meta(self, name: str) -> bytes | None:
        """The record of this name as the last block to name it wrote it."""
        return self._database.get(META + name.encode())

    def _load(self) -> None:
        """The tip and the earlier values of the last heights into memory, and older ones off the disk."""
        if self._database.get(PARTIAL_KEY) is not None:
            self._clear()  # a snapshot was being taken in: it starts anew, or the chain does from genesis
            return
        record = self._database.get(TIP_KEY)
        tip = None if record is None else int.from_bytes(record[:8], "big")
        noted = self._directory_lock.noted_height()
        if noted is not None and (tip is None or tip < noted):
            raise DataDirectoryDamaged(
                f"{self.path}: block {noted} was committed, but the ledger ends at {tip}: restore it from a copy, "
                f"or remove {LOCK_NAME} there to go on without"
            )
        if record is None or tip is None:
            return
        self._tip = (tip, record[8:])
        self._first_block = int.from_bytes(self._database.get(FIRST_KEY) or b"", "big")
        self._history.load(tip)
