"""Roots commit to bytes, their length and their chunks; ids and digests to all that they name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.architecture import PARAMETER_MAX
from learning.commitment import (
    CHUNK_BYTES,
    InvalidWeights,
    attestation_digest,
    beacon,
    blob_root,
    chunk_at,
    chunk_count,
    chunk_proof,
    chunk_proofs,
    key_commitment,
    update_id,
    verify_chunk,
    verify_weights_chunk,
    weights_bytes,
    weights_chunk_proof,
    weights_chunk_proofs,
    weights_from_bytes,
    weights_root,
)
from tests.learning.rounds import small_architecture

TASK, MINER, KEY = bytes(range(32)), bytes(range(100, 120)), bytes(range(50, 82))


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def top(leaves: list[bytes]) -> bytes:
    """RFC 6962 word for word: the left subtree has the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return sha(b"\x01", top(leaves[:left]), top(leaves[left:]))


def pieces(data: bytes) -> list[bytes]:
    return [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)] or [b""]


def blob(length: int) -> bytes:
    return np.random.default_rng(length).bytes(length)


LENGTHS = sorted({0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1} | {n * CHUNK_BYTES - 5 for n in range(2, 10)})


@pytest.mark.parametrize("length", LENGTHS)
def test_blob_root_is_the_tree_of_rfc_6962_bound_to_the_length(length):
    data = blob(length)
    leaves = [sha(b"\x00", piece) for piece in pieces(data)]
    assert blob_root(data) == sha(b"\x02", length.to_bytes(8, "big"), top(leaves))


@pytest.mark.parametrize("length", LENGTHS)
def test_every_chunk_proves_itself_and_nothing_else(length):
    data = blob(length)
    root, count = blob_root(data), chunk_count(length)
    proofs = [chunk_proof(data, index) for index in range(count)]
    assert list(chunk_proofs(data)) == proofs
    for index, proof in enumerate(proofs):
        chunk = chunk_at(data, index)
        assert verify_chunk(root, length, index, chunk, proof)
        assert not verify_chunk(root, length + 1, index, chunk, proof)
        assert not verify_chunk(root, length, index, chunk + b"\x00", proof)
        assert not verify_chunk(root, length, index, chunk, (*proof, bytes(32)))
        assert not verify_chunk(sha(root), length, index, chunk, proof)
        for other in (-1, *(i for i in range(count + 1) if i != index)):
            assert not verify_chunk(root, length, other, chunk, proof)
        if chunk:
            flipped = bytes([chunk[0] ^ 1]) + chunk[1:]
            assert not verify_chunk(root, length, index, flipped, proof)
        for place in range(len(proof)):
            bad = tuple(sha(node) if i == place else node for i, node in enumerate(proof))
            assert not verify_chunk(root, length, index, chunk, bad)
            assert not verify_chunk(root, length, index, chunk, proof[:place] + proof[place + 1 :])
            short = tuple(node[:31] if i == place else node for i, node in enumerate(proof))
            assert not verify_chunk(root, length, index, chunk, short)


def test_an_inner_node_does_not_pass_for_a_chunk():
    data = blob(2 * CHUNK_BYTES)
    leaves = [sha(b"\x00", piece) for piece in pieces(data)]
    assert not verify_chunk(blob_root(data), 64, 0, b"".join(leaves), ())


def test_weights_root_commits_to_architecture_and_weights():
    architecture = small_architecture()
    weights = np.arange(architecture.parameters, dtype=np.int32) - 7
    data = weights_bytes(weights)
    leaves = [sha(b"\x00", sha(architecture.to_json())), *(sha(b"\x00", piece) for piece in pieces(data))]
    root = weights_root(architecture, weights)
    assert root == sha(b"\x03", len(data).to_bytes(8, "big"), top(leaves))
    assert root != blob_root(data)
    proof = weights_chunk_proof(architecture, data, 0)
    assert verify_weights_chunk(root, architecture, 0, data, proof)
    assert not verify_weights_chunk(root, small_architecture(hidden=9), 0, data, proof)
    assert not verify_weights_chunk(root, architecture, 1, data, proof)
    assert not verify_weights_chunk(root, architecture, 0, bytes([data[0] ^ 1]) + data[1:], proof)


def test_chunks_of_large_weights_prove_themselves():
    architecture = small_architecture(inputs=64, hidden=600)
    weights = np.arange(architecture.parameters, dtype=np.int32)
    data, root = weights_bytes(weights), weights_root(architecture, weights)
    assert chunk_count(len(data)) == 3
    assert weights_chunk_proofs(architecture, data) == tuple(
        weights_chunk_proof(architecture, data, i) for i in range(3)
    )
    for index in range(3):
        proof = weights_chunk_proof(architecture, data, index)
        assert verify_weights_chunk(root, architecture, index, chunk_at(data, index), proof)
        assert not verify_weights_chunk(root, architecture, (index + 1) % 3, chunk_at(data, index), proof)


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.integers(-PARAMETER_MAX, PARAMETER_MAX), min_size=1, max_size=40))
def test_weights_survive_their_bytes(values):
    weights = np.array(values, dtype=np.int32)
    data = weights_bytes(weights)
    assert data == b"".join(value.to_bytes(4, "little", signed=True) for value in values)
    assert weights_from_bytes(data, len(values)).tolist() == values


@pytest.mark.parametrize("value", [PARAMETER_MAX + 1, -PARAMETER_MAX - 1, 2**31 - 1, -(2**31)])
def test_weights_out_of_range_are_refused(value):
    with pytest.raises(InvalidWeights, match=str(abs(value))):
        weights_from_bytes(value.to_bytes(4, "little", signed=True), 1)


@pytest.mark.parametrize("length", [0, 3, 5, 8])
def test_weights_of_another_length_are_refused(length):
    with pytest.raises(InvalidWeights):
        weights_from_bytes(bytes(length), 1)


def test_ids_and_digests_are_bound_to_each_of_their_fields():
    fields = {"chain_id": 5, "task": TASK, "round_number": 3, "miner": MINER, "sealed_root": KEY}
    ids = {update_id(**fields)}
    for name, other in [
        ("chain_id", 6),
        ("task", KEY),
        ("round_number", 4),
        ("miner", bytes(20)),
        ("sealed_root", TASK),
    ]:
        ids.add(update_id(**{**fields, name: other}))
    assert len(ids) == 6
    fields = {"key": KEY, "miner": MINER, "task": TASK, "round_number": 3}
    keys = {key_commitment(**fields)}
    for name, other in [("key", TASK), ("miner", bytes(20)), ("task", KEY), ("round_number", 4)]:
        keys.add(key_commitment(**{**fields, name: other}))
    assert len(keys) == 5
    assert attestation_digest(record=KEY, validator=MINER) != attestation_digest(record=KEY, validator=bytes(20))


def test_beacon_takes_shard_keys_first_and_each_in_order():
    keys = [bytes([i]) * 32 for i in range(3)]
    value = beacon(task=TASK, round_number=9, shard_keys=keys[:1], update_keys=keys[1:])
    assert value == sha(b"lyceum/beacon/1\x00", TASK, bytes([0, 0, 0, 9]), *keys)
    assert value != beacon(task=TASK, round_number=9, shard_keys=keys[:1], update_keys=[keys[2], keys[1]])


def test_parts_of_the_wrong_width_are_our_own_mistake():
    with pytest.raises(AssertionError):
        key_commitment(key=bytes(31), miner=MINER, task=TASK, round_number=1)
    with pytest.raises(AssertionError):
        attestation_digest(record=KEY, validator=bytes(21))
