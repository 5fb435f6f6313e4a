"""Home of the two Merkle commitments as plain rules, with proofs: the state map, and lists such as transactions.

The state tree is a binary trie over SHA-256(flat key), bits from the most significant, in which a subtree with one
leaf is that leaf and an empty one is 32 zero bytes. Inner nodes hash 64 bytes, leaves 65, so neither passes for the
other. `chain/storage/statetree.py` computes the same roots and proofs incrementally, and is held equal to this file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chain.codec import InvalidEncoding, expect_array, expect_bytes, expect_int, pack, unpack

HASH_BYTES = 32
EMPTY_ROOT = bytes(HASH_BYTES)
TREE_DEPTH_MAX = 256  # bits of a tree key
FLAT_KEY_BYTES_MAX = 64
LIST_DEPTH_MAX = 32  # a list holds fewer than 2^32 items
PROOF_BYTES_MAX = 3 * 64 + TREE_DEPTH_MAX * (HASH_BYTES + 2)

_LEAF = b"\x00"
_LIST_LEAF = b"\x00"
_LIST_INNER = b"\x01"
_LIST_ROOT = b"\x02"


class InvalidProof(InvalidEncoding):
    """Bytes that do not encode a Merkle proof."""


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# ------------------------------------------------------------------------------------------------------- the state map


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLeaf:
    """The leaf that stands where an absent key would: its tree key and the hash of its value."""

    tree_key: bytes
    value_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That a key has a value, or has none: the siblings beside its path, from the root downward.

    For an absent key the path ends at an empty subtree (`other` is None) or at another key's leaf (`other`).
    """

    siblings: tuple[bytes, ...]
    other: OtherLeaf | None = None


def tree_key(key: bytes) -> bytes:
    """SHA-256 of a flat key (kind byte, id: 1 to 64 bytes): where in the tree the key lives."""
    assert 0 < len(key) <= FLAT_KEY_BYTES_MAX, f"a flat key has 1 to {FLAT_KEY_BYTES_MAX} bytes, not {len(key)}"
    return _sha256(key)


def leaf_hash(tree_key: bytes, value_hash: bytes) -> bytes:
    """SHA-256(0x00 || tree key || SHA-256(value)): 65 bytes under the hash."""
    return _sha256(_LEAF + tree_key + value_hash)


def inner_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(left || right): 64 bytes under the hash."""
    return _sha256(left + right)


def state_root(items: Mapping[bytes, bytes]) -> bytes:
    """The root over all `flat key -> value`."""
    return _subtree_root(_leaves(items), 0)


def prove(items: Mapping[bytes, bytes], key: bytes) -> Proof:
    """What shows to a holder of `state_root(items)` that `key` has its value, or none."""
    wanted, leaves = tree_key(key), _leaves(items)
    siblings: list[bytes] = []
    while len(leaves) > 1:
        depth = len(siblings)
        left, right = _split(leaves, depth)
        near, far = (right, left) if _bit(wanted, depth) else (left, right)
        siblings.append(_subtree_root(far, depth + 1))
        leaves = near
    if not leaves or leaves[0].tree_key == wanted:
        return Proof(siblings=tuple(siblings))
    return Proof(siblings=tuple(siblings), other=leaves[0])


def verify(root: bytes, key: bytes, value: bytes | None, proof: Proof) -> bool:
    """Whether `proof` shows that under `root` the flat `key` has `value` (None: has none)."""
    wanted, depth = tree_key(key), len(proof.siblings)
    if depth > TREE_DEPTH_MAX:
        return False
    if value is not None:
        if proof.other is not None:
            return False
        subtree = leaf_hash(wanted, _sha256(value))
    elif proof.other is None:
        subtree = EMPTY_ROOT
    else:
        # Another leaf shows absence only if it stands on the wanted key's own path.
        if proof.other.tree_key == wanted or _prefix(proof.other.tree_key, depth) != _prefix(wanted, depth):
            return False
        subtree = leaf_hash(proof.other.tree_key, proof.other.value_hash)
    for level in reversed(range(depth)):
        sibling = proof.siblings[level]
        subtree = inner_hash(sibling, subtree) if _bit(wanted, level) else inner_hash(subtree, sibling)
    return subtree == root


def encode_proof(proof: Proof) -> bytes:
    """Canonical msgpack: [[sibling, ...], nil or [tree key, value hash]]."""
    other = None if proof.other is None else (proof.other.tree_key, proof.other.value_hash)
    return pack((proof.siblings, other))


def decode_proof(data: bytes) -> Proof:
    """The proof whose encoding is `data`; raises `InvalidProof`."""
    try:
        siblings, other = expect_array(unpack(data, bytes_max=PROOF_BYTES_MAX), 2, "a proof")
        leaf = None
        if other is not None:
            key, value_hash = expect_array(other, 2, "the other leaf")
            leaf = OtherLeaf(
                tree_key=expect_bytes(key, HASH_BYTES, "a tree key"),
                value_hash=expect_bytes(value_hash, HASH_BYTES, "a value hash"),
            )
        return Proof(siblings=_hashes(siblings, TREE_DEPTH_MAX), other=leaf)
    except InvalidEncoding as error:
        raise InvalidProof(f"not a state proof: {error}") from error


def _hashes(values: object, count_max: int) -> tuple[bytes, ...]:
    if not isinstance(values, tuple) or len(values) > count_max:
        raise InvalidEncoding(f"siblings must be an array of at most {count_max}")
    return tuple(expect_bytes(value, HASH_BYTES, "a sibling") for value in values)


def _leaves(items: Mapping[bytes, bytes]) -> list[OtherLeaf]:
    return [OtherLeaf(tree_key=tree_key(key), value_hash=_sha256(value)) for key, value in items.items()]


def _subtree_root(leaves: Sequence[OtherLeaf], depth: int) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaf_hash(leaves[0].tree_key, leaves[0].value_hash)
    left, right = _split(leaves, depth)
    return inner_hash(_subtree_root(left, depth + 1), _subtree_root(right, depth + 1))


def _split(leaves: Sequence[OtherLeaf], depth: int) -> tuple[list[OtherLeaf], list[OtherLeaf]]:
    left = [leaf for leaf in leaves if not _bit(leaf.tree_key, depth)]
    right = [leaf for leaf in leaves if _bit(leaf.tree_key, depth)]
    return left, right


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _prefix(key: bytes, bits: int) -> int:
    return int.from_bytes(key, "big") >> (TREE_DEPTH_MAX - bits)


# --------------------------------------------------------------------------------------------------------------- lists


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemProof:
    """That a list of `count` items has a given item at `index`: the siblings from the item upward."""

    index: int
    count: int
    siblings: tuple[bytes, ...]


def list_root(items: Sequence[bytes]) -> bytes:
    """Commitment to a list of byte strings, in order: transactions, receipts, the last commit's votes.

    Leaves are SHA-256(0x00 || item), inner nodes SHA-256(0x01 || left || right), a last node without a partner rises
    unchanged; the root is SHA-256(0x02 || count as 8 bytes || top), so that it binds the count too.
    """
    return _seal_list(len(items), _list_levels(items)[-1][0] if items else EMPTY_ROOT)


def prove_item(items: Sequence[bytes], index: int) -> ItemProof:
    """What shows to a holder of `list_root(items)` that `items[index]` stands at `index`."""
    assert 0 <= index < len(items), f"no item {index} in a list of {len(items)}"
    siblings, place = [], index
    for level in _list_levels(items)[:-1]:
        if place ^ 1 < len(level):
            siblings.append(level[place ^ 1])
        place >>= 1
    return ItemProof(index=index, count=len(items), siblings=tuple(siblings))


def verify_item(root: bytes, item: bytes, proof: ItemProof) -> bool:
    """Whether `proof` shows that the list under `root` has `item` at `proof.index`."""
    if not 0 <= proof.index < proof.count < 1 << LIST_DEPTH_MAX:
        return False
    node, place, width, siblings = _sha256(_LIST_LEAF + item), proof.index, proof.count, list(proof.siblings)
    while width > 1:
        if place ^ 1 < width:
            if not siblings:
                return False
            sibling = siblings.pop(0)
            node = _list_inner(sibling, node) if place & 1 else _list_inner(node, sibling)
        place, width = place >> 1, (width + 1) >> 1
    return not siblings and _seal_list(proof.count, node) == root


def encode_item_proof(proof: ItemProof) -> bytes:
    """Canonical msgpack: [index, count, [sibling, ...]]."""
    return pack((proof.index, proof.count, proof.siblings))


def decode_item_proof(data: bytes) -> ItemProof:
    """The proof whose encoding is `data`; raises `InvalidProof`."""
    try:
        index, count, siblings = expect_array(unpack(data, bytes_max=PROOF_BYTES_MAX), 3, "an item's proof")
        return ItemProof(
            index=expect_int(index, "index", 2**LIST_DEPTH_MAX - 1),
            count=expect_int(count, "count", 2**LIST_DEPTH_MAX - 1),
            siblings=_hashes(siblings, LIST_DEPTH_MAX),
        )
    except InvalidEncoding as error:
        raise InvalidProof(f"not an item's proof: {error}") from error


def _list_levels(items: Sequence[bytes]) -> list[list[bytes]]:
    levels = [[_sha256(_LIST_LEAF + item) for item in items]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [_list_inner(below[place], below[place + 1]) for place in range(0, len(below) - 1, 2)]
        levels.append(above + below[-1:] if len(below) & 1 else above)
    return levels


def _list_inner(left: bytes, right: bytes) -> bytes:
    return _sha256(_LIST_INNER + left + right)


def _seal_list(count: int, top: bytes) -> bytes:
    return _sha256(_LIST_ROOT + count.to_bytes(8, "big") + top)
