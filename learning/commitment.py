"""Home of what learning commits to: Merkle roots of blobs and weights with chunk proofs, ids and digests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from learning.architecture import PARAMETER_MAX, Architecture
from learning.encoding import ACCOUNT_BYTES, HASH_BYTES, sha256, tag, u32, u64

CHUNK_BYTES = 65_536

Int32Array: TypeAlias = npt.NDArray[np.int32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Proof: TypeAlias = tuple[bytes, ...]  # siblings from the leaf upwards

_LEAF, _INNER, _BLOB, _WEIGHTS = b"\x00", b"\x01", b"\x02", b"\x03"


class InvalidWeights(ValueError):
    """Bytes from outside that are not the parameters of the architecture."""


def blob_root(data: bytes) -> bytes:
    """The root that commits to a byte string and its length; trees are shaped as in RFC 6962."""
    return sha256(_BLOB, u64(len(data)), _levels(_leaves(data))[-1][0])


def chunk_count(length: int) -> int:
    """How many chunks a blob of `length` bytes has: at least one, as the empty blob is one empty chunk."""
    return max(1, -(-length // CHUNK_BYTES))


def chunk_at(data: bytes, index: int) -> bytes:
    """The chunk of `data` that leaf `index` commits to."""
    assert 0 <= index < chunk_count(len(data)), index
    return data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def chunk_proof(data: bytes, index: int) -> Proof:
    """What proves `chunk_at(data, index)` against `blob_root(data)`."""
    assert 0 <= index < chunk_count(len(data)), index
    return _path(_levels(_leaves(data)), index)


def chunk_proofs(data: bytes) -> tuple[Proof, ...]:
    """What `chunk_proof` gives, for every chunk in order and with every chunk hashed once."""
    levels = _levels(_leaves(data))
    return tuple(_path(levels, index) for index in range(len(levels[0])))


def verify_chunk(root: bytes, length: int, index: int, chunk: bytes, proof: Proof) -> bool:
    """Whether `chunk` is chunk `index` of the blob of `length` bytes that `root` commits to."""
    if not _is_chunk_size(length, index, len(chunk)):
        return False
    top = _climb(sha256(_LEAF, chunk), index, chunk_count(length), proof)
    return top is not None and sha256(_BLOB, u64(length), top) == root


def weights_root(architecture: Architecture, weights: Int32Array) -> bytes:
    """The root of a head: first leaf the architecture's hash, then the chunks of the little-endian weights."""
    data = weights_bytes(weights)
    assert len(data) == 4 * architecture.parameters, (len(data), architecture.parameters)
    leaves = [_architecture_leaf(architecture), *_leaves(data)]
    return sha256(_WEIGHTS, u64(len(data)), _levels(leaves)[-1][0])


def weights_chunk_proof(architecture: Architecture, data: bytes, index: int) -> Proof:
    """What proves `chunk_at(data, index)` of weights given as bytes against their weights root."""
    assert 0 <= index < chunk_count(len(data)), index
    return _path(_levels([_architecture_leaf(architecture), *_leaves(data)]), index + 1)


def weights_chunk_proofs(architecture: Architecture, data: bytes) -> tuple[Proof, ...]:
    """What `weights_chunk_proof` gives, for every chunk in order and with every chunk hashed once."""
    levels = _levels([_architecture_leaf(architecture), *_leaves(data)])
    return tuple(_path(levels, index) for index in range(1, len(levels[0])))


def verify_weights_chunk(root: bytes, architecture: Architecture, index: int, chunk: bytes, proof: Proof) -> bool:
    """Whether `chunk` is chunk `index` of the weights that `root` commits to under this architecture."""
    length = 4 * architecture.parameters
    if not _is_chunk_size(length, index, len(chunk)):
        return False
    top = _climb(sha256(_LEAF, chunk), index + 1, chunk_count(length) + 1, proof)
    return top is not None and sha256(_WEIGHTS, u64(length), top) == root


def weights_bytes(weights: Int32Array) -> bytes:
    """The `4P` bytes, little-endian int32, as which a head is stored, sent and committed to."""
    assert weights.dtype == np.int32, weights.dtype
    assert weights.ndim == 1, weights.shape
    return weights.astype("<i4", copy=False).tobytes()


def weights_from_bytes(data: bytes, parameters: int) -> Int32Array:
    """Weights int32[P] from their bytes; raises InvalidWeights on a wrong length or a value out of range."""
    if len(data) != 4 * parameters:
        raise InvalidWeights(f"{len(data)} bytes are not {parameters} parameters of 4 bytes: fetch them again")
    weights = np.frombuffer(data, dtype="<i4").astype(np.int32)
    largest = int(np.abs(weights.astype(np.int64)).max(initial=0))
    if largest > PARAMETER_MAX:
        raise InvalidWeights(f"a weight of magnitude {largest} is above {PARAMETER_MAX}: fetch them again")
    return weights


def key_commitment(*, key: bytes, miner: bytes, task: bytes, round_number: int) -> bytes:
    """`keyHash`: binds an update's key before it is revealed, as ChaCha20-Poly1305 does not commit to its key."""
    _check(hashes=(key, task), accounts=(miner,))
    return sha256(tag("update-key"), key, miner, task, u32(round_number))


def update_id(*, chain_id: int, task: bytes, round_number: int, miner: bytes, sealed_root: bytes) -> bytes:
    """An update's id; it holds the miner, so that copying a sealed root blocks nobody."""
    _check(hashes=(task, sealed_root), accounts=(miner,))
    return sha256(tag("update"), u64(chain_id), task, u32(round_number), miner, sealed_root)


def record_hash(encoded_record: bytes) -> bytes:
    """The hash by which a settlement record is known."""
    return sha256(tag("record"), encoded_record)


def attestation_digest(*, record: bytes, validator: bytes) -> bytes:
    """What `validator` attests for the record of hash `record`; bound to its sender, so it cannot be copied."""
    _check(hashes=(record,), accounts=(validator,))
    return sha256(tag("attestation"), record, validator)


def beacon(*, task: bytes, round_number: int, shard_keys: Iterable[bytes], update_keys: Iterable[bytes]) -> bytes:
    """A round's randomness: opened shard keys by custodian address, then revealed keys by commit order."""
    keys = (*shard_keys, *update_keys)
    _check(hashes=(task, *keys), accounts=())
    return sha256(tag("beacon"), task, u32(round_number), *keys)


def _check(*, hashes: tuple[bytes, ...], accounts: tuple[bytes, ...]) -> None:
    """Hashes of concatenations are only unambiguous while every part has its fixed width."""
    assert all(len(value) == HASH_BYTES for value in hashes), hashes
    assert all(len(value) == ACCOUNT_BYTES for value in accounts), accounts


def _leaves(data: bytes) -> list[bytes]:
    view = memoryview(data)
    return [
        sha256(_LEAF, view[start : start + CHUNK_BYTES])
        for start in range(0, chunk_count(len(data)) * CHUNK_BYTES, CHUNK_BYTES)
    ]


def _architecture_leaf(architecture: Architecture) -> bytes:
    return sha256(_LEAF, sha256(architecture.to_json()))


def _levels(leaves: list[bytes]) -> list[list[bytes]]:
    """All levels of the tree, leaves first. Promoting an odd last node gives the shape of RFC 6962."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        level = [sha256(_INNER, below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(level + below[len(level) * 2 :])
    return levels


def _path(levels: list[list[bytes]], index: int) -> Proof:
    siblings = []
    for level in levels[:-1]:
        if index ^ 1 < len(level):
            siblings.append(level[index ^ 1])
        index >>= 1
    return tuple(siblings)


def _climb(node: bytes, index: int, count: int, proof: Proof) -> bytes | None:
    """The top that `proof` leads to from leaf `index` of `count`, None where the proof has the wrong length."""
    siblings = list(proof)
    while count > 1:
        if index ^ 1 < count:
            if not siblings or len(siblings[0]) != HASH_BYTES:
                return None
            sibling = siblings.pop(0)
            node = sha256(_INNER, sibling, node) if index & 1 else sha256(_INNER, node, sibling)
        index, count = index >> 1, (count + 1) >> 1
    return None if siblings else node


def _is_chunk_size(length: int, index: int, size: int) -> bool:
    """Whether chunk `index` of a blob of `length` bytes exists and has `size` bytes."""
    if not 0 <= length < 2**64 or not 0 <= index < chunk_count(length):
        return False
    return size == min(CHUNK_BYTES, length - index * CHUNK_BYTES)
