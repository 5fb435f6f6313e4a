"""Home of damage to data directories: single bits flipped in records, tables and blobs; things removed or forged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import plyvel

from chain.node_directory import BLOB_STORE_NAME
from chain.storage.datadir import LEDGER_NAME
from chain.storage.leveldb import Kind


@contextmanager
def opened_records(directory: Path) -> Iterator[Any]:
    """The raw LevelDB of a stopped node's ledger."""
    database = plyvel.DB(str(directory / LEDGER_NAME))
    try:
        yield database
    finally:
        database.close()


def at_height(kind: Kind, height: int) -> bytes:
    """The key of a record that is kept by height."""
    return bytes(kind) + height.to_bytes(8, "big")


def rewrite_record(directory: Path, key: bytes, change: Callable[[bytes], bytes | None]) -> None:
    """Replace a record by what `change` makes of it, or remove it (None), as LevelDB itself would write it."""
    with opened_records(directory) as database:
        found = database.get(key)
        assert found is not None, f"there is no record {key!r}"
        changed = change(found)
        assert changed != found
        if changed is None:
            database.delete(key, sync=True)
        else:
            database.put(key, changed, sync=True)


def remove(_: bytes) -> None:
    """For `rewrite_record`: the record is gone."""


def flip(random: Random) -> Callable[[bytes], bytes]:
    """For `rewrite_record`: one bit of the record is another."""

    def change(data: bytes) -> bytes:
        bit = random.randrange(8 * len(data))
        return flipped(data, bit)

    return change


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flip_in_file(path: Path, random: Random, start: float = 0.0, end: float = 1.0) -> int:
    """Flip a bit between two places of a file, given as shares of its length; returns the byte that it lies in."""
    data = path.read_bytes()
    bit = random.randrange(int(8 * len(data) * start), int(8 * len(data) * end))
    path.write_bytes(flipped(data, bit))
    return bit // 8


def blob_path(directory: Path, root: bytes) -> Path:
    return directory / BLOB_STORE_NAME / "pinned" / root.hex()
