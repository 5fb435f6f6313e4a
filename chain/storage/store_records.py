"""Home of the records that the ledger's database holds: their keys, and what stands under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgpack

from chain.storage.datadir import DataDirectoryDamaged
from chain.storage.leveldb import Kind, describe

STATE = bytes(Kind.STATE)
HEADER, BLOCK, RECEIPTS = bytes(Kind.HEADER), bytes(Kind.BLOCK), bytes(Kind.RECEIPTS)
TRANSACTION, HEIGHT_OF_HASH, META = bytes(Kind.TRANSACTION), bytes(Kind.HEIGHT_OF_HASH), bytes(Kind.META)
TIP_KEY = bytes(Kind.OWN) + b"tip"  # height and hash of the block committed last
FIRST_KEY = bytes(Kind.OWN) + b"first block"  # the height from which on blocks are kept, where it is not genesis
PARTIAL_KEY = bytes(Kind.OWN) + b"partial snapshot"  # there while a snapshot is being taken in
_ABSENT, _PRESENT = b"\0", b"\1"


def number(height: int) -> bytes:
    return height.to_bytes(8, "big")


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
        own = number(self.height)
        found: dict[bytes, bytes | None] = {
            TRANSACTION + hash_: own + place.to_bytes(4, "big") for place, hash_ in enumerate(self.transaction_hashes)
        }
        found |= {HEADER + own: self.header, BLOCK + own: self.block, RECEIPTS + own: self.receipts}
        found[HEIGHT_OF_HASH + self.block_hash] = own
        return found

    def records_as_tip(self, meta: Mapping[str, bytes]) -> dict[bytes, bytes | None]:
        """The same where it is the last block, with the records that it names."""
        found = self.records() | {META + name.encode(): record for name, record in meta.items()}
        found[TIP_KEY] = number(self.height) + self.block_hash
        found[PARTIAL_KEY] = None
        return found


def names_of(height: int, block_hash: bytes, transaction_hashes: Sequence[bytes]) -> list[bytes]:
    """The database keys of all records of a block."""
    block = StoredBlock(
        height=height,
        block_hash=block_hash,
        header=b"",
        block=b"",
        receipts=b"",
        transaction_hashes=transaction_hashes,
    )
    return list(block.records())


# ----------------------------------------------------------------------------------------------------- earlier values


def undo_key(height: int) -> bytes:
    """Under which stand the values before a block, of all keys that it changed."""
    return bytes(Kind.UNDO) + number(height)


def pack_undo(previous: Mapping[bytes, bytes | None]) -> bytes:
    packed: bytes = msgpack.packb(previous)
    return packed


def unpack_undo(where: object, key: bytes, record: bytes) -> dict[bytes, bytes | None]:
    """Raises DataDirectoryDamaged."""
    try:
        previous = msgpack.unpackb(record, strict_map_key=True)
        if not isinstance(previous, dict) or not all(isinstance(each, bytes) for each in previous):
            raise TypeError(f"it is no map of keys but {type(previous).__name__}")
    except Exception as error:
        raise DataDirectoryDamaged(f"{where}: {describe(key)}: {error}") from error
    return previous


def change_prefix(key: bytes) -> bytes:
    """What the records of one flat key's changes begin with."""
    return bytes(Kind.CHANGE) + bytes([len(key)]) + key


def change_key(key: bytes, height: int) -> bytes:
    """Under which stands the value of one flat key before a block that changed it."""
    return change_prefix(key) + number(height)


def pack_change(value: bytes | None) -> bytes:
    return _ABSENT if value is None else _PRESENT + value


def unpack_change(record: bytes) -> bytes | None:
    return record[1:] if record[:1] == _PRESENT else None
