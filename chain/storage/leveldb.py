"""Home of the one LevelDB that a node opens: its options, its record kinds, and its errors turned into ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Self

import plyvel

from chain.storage.datadir import (
    LEDGER_NAME,
    DataDirectoryDamaged,
    DataDirectoryForeign,
    StorageFailed,
    storage_error,
)

_OPTIONS = {
    # A flipped bit in the log or in a table under compaction must stop us; without this LevelDB drops the record.
    "paranoid_checks": True,
    "write_buffer_size": 16 << 20,
    "lru_cache_size": 32 << 20,
    "bloom_filter_bits": 10,
}


class Kind(bytes, Enum):
    """The first byte of a database key: what the record is. After the first four a height follows, 8 bytes."""

    UNDO = b"u"
    HEADER = b"h"
    BLOCK = b"b"
    RECEIPTS = b"r"
    CHANGE = b"c"
    STATE = b"s"
    HEIGHT_OF_HASH = b"#"
    TRANSACTION = b"t"
    META = b"m"
    OWN = b"."


_NAMES = {
    Kind.UNDO: "the earlier state values",
    Kind.HEADER: "the header",
    Kind.BLOCK: "the block",
    Kind.RECEIPTS: "the receipts",
    Kind.CHANGE: "an earlier state value",
    Kind.STATE: "the state value",
    Kind.HEIGHT_OF_HASH: "the height of block",
    Kind.TRANSACTION: "the place of transaction",
    Kind.META: "the record",
    Kind.OWN: "the ledger's own record",
}
FORMAT = b"lyceum ledger 1"
_FORMAT_KEY, _GENESIS_KEY = Kind.OWN + b"format", Kind.OWN + b"genesis"
_DELETED_AT_ONCE = 10_000
_BY_HEIGHT = (Kind.UNDO, Kind.HEADER, Kind.BLOCK, Kind.RECEIPTS)
_BY_NAME = (Kind.META, Kind.OWN)


def describe(key: bytes) -> str:
    """What the record under a database key is, in words."""
    try:
        kind = Kind(key[:1])
    except ValueError:
        return f"an unknown record {key.hex()}"
    if kind in _BY_HEIGHT:
        return f"{_NAMES[kind]} of height {int.from_bytes(key[1:], 'big')}"
    if kind in _BY_NAME:
        return f"{_NAMES[kind]} {key[1:].decode(errors='replace')!r}"
    return f"{_NAMES[kind]} {key[1:].hex()}"


class Database:
    """LevelDB in a data directory. Every read verifies checksums; the directory's own lock must be held."""

    def __init__(self, directory: Path) -> None:
        """Opens or makes it. Raises DataDirectoryDamaged, StorageFailed."""
        self._path = directory / LEDGER_NAME
        try:
            self._levels = plyvel.DB(str(self._path), create_if_missing=True, **_OPTIONS)
        except plyvel.Error as error:
            raise self._error("the ledger can't be opened", error) from error

    def get(self, key: bytes) -> bytes | None:
        """The record under `key`. Raises DataDirectoryDamaged, StorageFailed."""
        try:
            return self._levels.get(key, verify_checksums=True)  # type: ignore[no-any-return]
        except plyvel.Error as error:
            raise self._error(f"{describe(key)} can't be read", error) from error

    def scan(self, prefix: bytes, *, values: bool = True) -> Iterator[tuple[bytes, bytes]]:
        """Records whose keys begin with `prefix`, by key, as of the first step; values are empty unless asked for.

        Raises as `get`.
        """
        return self._scan(self._levels, prefix, values)

    def _scan(self, levels: Any, prefix: bytes, values: bool) -> Iterator[tuple[bytes, bytes]]:
        last = b""
        try:
            with levels.iterator(prefix=prefix, verify_checksums=True, fill_cache=False) as records:
                for key, value in records:
                    yield key, value if values else b""
                    last = key
        except plyvel.Error as error:
            where = f"after {describe(last)}" if last else "at the start"
            raise self._error(f"records can't be read {where}", error) from error

    def first_after(self, key: bytes, prefix: bytes) -> tuple[bytes, bytes] | None:
        """The first record after `key` whose key begins with `prefix`, with its key. Raises as `get`."""
        try:
            with self._levels.iterator(start=key, include_start=False, verify_checksums=True) as records:
                found = next(records, None)
        except plyvel.Error as error:
            raise self._error(f"{describe(key)} can't be read", error) from error
        return found if found is not None and found[0].startswith(prefix) else None

    def freeze(self) -> FrozenDatabase:
        """A view that stays as it is now; close it soon, as it keeps old records on the disk."""
        return FrozenDatabase(self)

    def clear(self, kinds: Iterable[Kind]) -> None:
        """Delete every record of these kinds, in several batches."""
        for kind in kinds:
            records = self.scan(bytes(kind), values=False)
            while batch := {key: None for key, _ in itertools.islice(records, _DELETED_AT_ONCE)}:
                self.write(batch)

    def write(self, records: Mapping[bytes, bytes | None]) -> None:
        """Puts and deletes (None) in one synced atomic batch. Raises as `get`; then nothing was written."""
        batch = self._levels.write_batch(sync=True)
        for key, value in records.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            batch.write()
        except plyvel.Error as error:
            raise self._error("can't write", error) from error

    def identify(self, fresh: bool, genesis: bytes | None) -> None:
        """Mark a ledger just made, or raise DataDirectoryForeign if this one is of another format or network."""
        found = self.get(_FORMAT_KEY)
        if found is None and (fresh or next(self.scan(b""), None) is None):
            self.write({_FORMAT_KEY: FORMAT, _GENESIS_KEY: genesis or b""})
        elif found != FORMAT:
            raise DataDirectoryForeign(
                f"{self._path} is of format {found!r}, this is {FORMAT!r}: choose another with --data-dir"
            )
        elif genesis is not None and (made := self.get(_GENESIS_KEY)) != genesis:
            raise DataDirectoryForeign(
                f"{self._path} belongs to the network of genesis {(made or b'').hex()}, not {genesis.hex()}: "
                "choose another with --data-dir"
            )

    @property
    def genesis(self) -> bytes:
        """The hash that `identify` wrote down when the ledger was made."""
        return self.get(_GENESIS_KEY) or b""

    def check(self) -> None:
        """Read every record with its checksum. Raises DataDirectoryDamaged at the first that fails."""
        for kind in Kind:
            for _ in self.scan(bytes(kind)):
                pass

    def close(self) -> None:
        self._levels.close()

    def _error(self, what: str, error: plyvel.Error) -> DataDirectoryDamaged | StorageFailed:
        if isinstance(error, plyvel.IOError) and "No such file" not in str(error):
            return storage_error(f"{self._path}: {what}", error)
        return DataDirectoryDamaged(f"{self._path}: {what} ({error}): restore the directory from a copy or sync anew")


class FrozenDatabase:
    """The records of a database as they were when this was made. Any thread; raises as Database does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._snapshot = database._levels.snapshot()

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._snapshot.get(key, verify_checksums=True)  # type: ignore[no-any-return]
        except plyvel.Error as error:
            raise self._database._error(f"{describe(key)} can't be read", error) from error

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._database._scan(self._snapshot, prefix, values=True)

    def close(self) -> None:
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
