"""Home of a state in chunks, each proved against the state root of a header: what makes, encodes and verifies them.

A chunk holds all leaves whose tree key begins with given bits. With the hashes beside the path to them, whoever knows
the root sees that the chunk is right and complete. A subtree is divided while it is larger than CHUNK_BYTES and has two
leaves or more; so every node above a chunk is an inner one, and equal states are divided equally everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chain.codec import InvalidEncoding, expect_array, expect_list, pack, unpack
from chain.errors import InvalidInput
from chain.merkle import FLAT_KEY_BYTES_MAX, HASH_BYTES, inner_hash, tree_key
from chain.storage.statetree import StateTree

CHUNK_BYTES = 1 << 18  # of keys and values; a larger one has a single leaf
LEAF_OVERHEAD_BYTES = 16  # counted for each leaf beside its key and value
BITS_MAX = 64  # of a chunk's prefix; no two leaves share more
CHUNK_BYTES_MAX = 3 << 20  # of an encoded one; states with larger values can't be given in chunks
ITEMS_MAX = CHUNK_BYTES // LEAF_OVERHEAD_BYTES

Items: TypeAlias = tuple[tuple[bytes, bytes], ...]  # (flat key, value) by ascending tree key


class InvalidChunk(InvalidInput):
    """A chunk that is not what the state root commits to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the tree a chunk lies: under the first `bits` of `start`, the first 64 bits of the least key there."""

    start: int
    bits: int

    @property
    def end(self) -> int:
        """Where the next chunk starts; 2^64 for the last one."""
        return self.start + (1 << (BITS_MAX - self.bits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The leaves of a place, and the hashes beside the path to it from the root downward."""

    place: Place
    items: Items
    siblings: tuple[bytes, ...]


# ----------------------------------------------------------------------------------------------------- division


def leaf_bytes(key: bytes, value: bytes) -> int:
    """What a leaf counts for in a chunk's size."""
    return len(key) + len(value) + LEAF_OVERHEAD_BYTES


def key_start(key: bytes) -> int:
    """The first 64 bits of the tree key of a flat key."""
    return int.from_bytes(tree_key(key)[:8], "big")


def divide(starts: NDArray[np.uint64], sizes: NDArray[np.int64]) -> tuple[Place, ...]:
    """The places of a state's chunks in order. `starts` uint64[N], ascending: the leaves' `key_start`, `sizes` int64[N]
    their `leaf_bytes`."""
    summed = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    places: list[Place] = []
    waiting = [(Place(start=0, bits=0), 0, len(starts))]
    while waiting:
        place, first, last = waiting.pop()
        if place.bits == BITS_MAX or last - first < 2 or summed[last] - summed[first] <= CHUNK_BYTES:
            places.append(place)
            continue
        left = Place(start=place.start, bits=place.bits + 1)
        right = Place(start=left.end, bits=place.bits + 1)
        middle = first + int(np.searchsorted(starts[first:last], np.uint64(right.start)))
        waiting += [(right, middle, last), (left, first, middle)]
    return tuple(places)


def subtree_hash(place: Place, items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The hash of the node at a place with these leaves."""
    return StateTree(items).subtree_root(place.start.to_bytes(8, "big"), place.bits)


def siblings_of(places: Sequence[Place], hashes: Sequence[bytes]) -> tuple[tuple[bytes, ...], ...]:
    """The hashes beside the path of each place, where `hashes` are those of the nodes at all places of a state."""
    known = {(place.start, place.bits): hash_ for place, hash_ in zip(places, hashes, strict=True)}
    for bits in range(max(place.bits for place in places), 0, -1):
        for start, depth in [at for at in known if at[1] == bits]:
            beside = start ^ (1 << (BITS_MAX - bits))
            if beside > start:
                known[start, bits - 1] = inner_hash(known[start, depth], known[beside, depth])
    return tuple(
        tuple(known[_prefix(place.start, bits) ^ (1 << (BITS_MAX - bits)), bits] for bits in range(1, place.bits + 1))
        for place in places
    )


def _prefix(start: int, bits: int) -> int:
    return start >> (BITS_MAX - bits) << (BITS_MAX - bits)


# --------------------------------------------------------------------------------------------------- verification


def verify_chunk(root: bytes, chunk: Chunk) -> None:
    """Raises InvalidChunk unless these are all the leaves that the state of `root` has at the chunk's place."""
    place = chunk.place
    if (
        not 0 <= place.bits <= BITS_MAX
        or not 0 <= place.start < 1 << BITS_MAX
        or _prefix(place.start, place.bits) != (place.start)
    ):
        raise InvalidChunk(f"a chunk can't start at {place.start:#x} with {place.bits} bits")
    if len(chunk.siblings) != place.bits:
        raise InvalidChunk(f"{len(chunk.siblings)} hashes beside a path of {place.bits}")
    _verify_items(chunk)
    node = subtree_hash(place, chunk.items)
    for bits in range(place.bits, 0, -1):
        beside = chunk.siblings[bits - 1]
        right = place.start >> (BITS_MAX - bits) & 1
        node = inner_hash(beside, node) if right else inner_hash(node, beside)
    if node != root:
        raise InvalidChunk(f"the chunk at {place.start:#x} gives the root {node.hex()}, it is {root.hex()}")


def _verify_items(chunk: Chunk) -> None:
    before = b""
    for key, _ in chunk.items:
        own = tree_key(key)
        if not before < own:
            raise InvalidChunk(f"the chunk at {chunk.place.start:#x}: leaves must ascend, each once")
        if not chunk.place.start <= int.from_bytes(own[:8], "big") < chunk.place.end:
            raise InvalidChunk(f"the chunk at {chunk.place.start:#x}: 0x{key.hex()} belongs elsewhere")
        before = own


# ------------------------------------------------------------------------------------------------------ encoding


def encode_items(items: Items) -> bytes:
    """[[flat key, value], ...] by ascending tree key."""
    return pack(items)


def decode_items(data: bytes) -> Items:
    """The leaves whose encoding is `data`; whether they belong together is `verify_chunk`'s to say. Raises
    InvalidEncoding."""
    items = expect_list(unpack(data, bytes_max=CHUNK_BYTES_MAX), "a chunk's leaves")
    if len(items) > ITEMS_MAX:
        raise InvalidEncoding(f"{len(items)} leaves, at most {ITEMS_MAX} are allowed")
    return tuple(_item(item) for item in items)


def _item(value: Any) -> tuple[bytes, bytes]:
    key, content = expect_array(value, 2, "a leaf")
    if type(key) is not bytes or not 0 < len(key) <= FLAT_KEY_BYTES_MAX:
        raise InvalidEncoding(f"a flat key must have 1 to {FLAT_KEY_BYTES_MAX} bytes, not {key!r:.100}")
    if type(content) is not bytes:
        raise InvalidEncoding(f"the value of 0x{key.hex()} must be bytes")
    return key, content


def encode_siblings(siblings: tuple[bytes, ...]) -> bytes:
    return b"".join(siblings)


def decode_siblings(data: bytes) -> tuple[bytes, ...]:
    """Raises InvalidEncoding."""
    if len(data) % HASH_BYTES or len(data) > BITS_MAX * HASH_BYTES:
        raise InvalidEncoding(f"{len(data)} bytes are no hashes beside a path")
    return tuple(data[place : place + HASH_BYTES] for place in range(0, len(data), HASH_BYTES))
