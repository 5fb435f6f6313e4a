"""Shards have one encoding, and their keys open them in order only."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.commitment import blob_root
from learning.sealing import InvalidSeal, open_shard
from learning.shards import (
    SHARDS_MAX,
    InvalidShard,
    Shard,
    ShardKeys,
    decode_manifest,
    decode_shard,
    encode_shard,
    prepare_shards,
    shard_bytes,
    verify_shard_key,
)

SEED, TASK, CUSTODIAN = bytes(range(32)), bytes(range(32, 64)), bytes(range(20))


def shard_of(seed: int, samples: int = 3, width: int = 4, classes: int = 5) -> Shard:
    random = np.random.default_rng(seed)
    return Shard(
        inputs=random.integers(0, 256, (samples, width), dtype=np.uint8),
        labels=random.integers(0, classes, samples, dtype=np.int64),
    )


def fields(shard: Shard) -> tuple[list, list]:
    return shard.inputs.tolist(), shard.labels.tolist()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), samples=st.integers(1, 6), width=st.integers(1, 9), classes=st.integers(1, 65536))
def test_a_shard_survives_its_encoding(seed, samples, width, classes):
    shard = shard_of(seed, samples, width, classes)
    data = encode_shard(shard)
    assert len(data) == shard_bytes(samples=samples, width=width)
    decoded = decode_shard(data, samples=samples, width=width, classes=classes)
    assert fields(decoded) == fields(shard)
    assert (decoded.inputs.dtype, decoded.labels.dtype) == (np.uint8, np.int64)


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 100), data=st.data())
def test_a_changed_encoding_is_malformed_or_says_something_else(seed, data):
    encoded = bytearray(encode_shard(shard_of(seed)))
    for place in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=3)):
        encoded[place] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_shard(bytes(encoded), samples=3, width=4, classes=5)
    except InvalidShard:
        return
    assert encode_shard(decoded) == bytes(encoded)


def test_shard_bytes_are_as_the_page_says():
    shard = Shard(inputs=np.array([[1, 2], [3, 4]], dtype=np.uint8), labels=np.array([1, 258], dtype=np.int64))
    assert encode_shard(shard) == bytes([2, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 1, 0, 2, 1])


@pytest.mark.parametrize(
    "wanted",
    [
        {"samples": 2, "width": 4, "classes": 5},
        {"samples": 3, "width": 5, "classes": 5},
        {"samples": 3, "width": 4, "classes": 4},
        {"samples": 4, "width": 3, "classes": 5},
        {"samples": 2**31, "width": 2**31, "classes": 5},
    ],
)
def test_another_shape_or_too_high_a_label_is_malformed(wanted):
    shard = Shard(inputs=np.zeros((3, 4), np.uint8), labels=np.array([0, 4, 0], dtype=np.int64))
    with pytest.raises(InvalidShard):
        decode_shard(encode_shard(shard), **wanted)


def test_equal_length_with_other_counts_is_malformed():
    # 3 x 4 and 2 x 7 both take 26 bytes with their header, so only the header tells them apart.
    data = encode_shard(shard_of(1, samples=3, width=4))
    assert len(data) == shard_bytes(samples=2, width=7)
    with pytest.raises(InvalidShard, match="3 x 4"):
        decode_shard(data, samples=2, width=7, classes=5)


def test_labels_that_do_not_fit_two_bytes_cannot_be_encoded():
    with pytest.raises(InvalidShard, match="65536"):
        encode_shard(Shard(inputs=np.zeros((1, 1), np.uint8), labels=np.array([65536], dtype=np.int64)))


def test_each_key_hashes_to_the_one_before_and_the_first_to_the_anchor():
    keys = ShardKeys(seed=SEED, count=9)
    assert keys.keys() == tuple(keys.key(i) for i in range(9))
    assert keys.key(8) == SEED
    expected = SEED
    for _ in range(9):
        expected = hashlib.sha256(b"lyceum/shard-key/1\x00" + expected).digest()
    assert keys.anchor == expected
    chain = (keys.anchor, *keys.keys())
    for later in range(len(chain)):
        for earlier in range(len(chain)):
            for gap in range(-1, 11):
                assert verify_shard_key(chain[earlier], gap, chain[later]) == (gap == later - earlier > 0)


def test_wrong_keys_and_endless_gaps_are_refused():
    keys = ShardKeys(seed=SEED, count=2)
    assert not verify_shard_key(keys.anchor, 1, bytes(32))
    assert not verify_shard_key(keys.anchor, 1, keys.key(0)[:31])
    assert not verify_shard_key(keys.anchor, 1, keys.key(0) + b"\x00")
    assert not verify_shard_key(keys.anchor, SHARDS_MAX + 1, keys.key(0))
    assert not verify_shard_key(keys.anchor, 2**63, keys.key(0))


def test_prepared_shards_open_one_by_one_and_the_manifest_commits_to_them():
    shards = [shard_of(i) for i in range(5)]
    prepared = prepare_shards(shards, seed=SEED, task=TASK, custodian=CUSTODIAN)
    keys = ShardKeys(seed=SEED, count=5)
    assert prepared.anchor == keys.anchor
    assert prepared.root == blob_root(prepared.manifest)
    entries = decode_manifest(prepared.manifest, shards=5, samples=3, width=4)
    for index, (entry, sealed) in enumerate(zip(entries, prepared.sealed, strict=True)):
        assert (entry.root, entry.length) == (blob_root(sealed), len(sealed))
        assert prepared.manifest[36 * index :][:36] == entry.root + len(sealed).to_bytes(4, "little")
        place = {"task": TASK, "custodian": CUSTODIAN, "index": index}
        opened = decode_shard(open_shard(sealed, key=keys.key(index), **place), samples=3, width=4, classes=5)
        assert fields(opened) == fields(shards[index])
        if index:  # the key of the shard before does not open this one
            with pytest.raises(InvalidSeal):
                open_shard(sealed, key=keys.key(index - 1), **place)


def test_manifests_of_another_length_or_with_other_sizes_are_refused():
    manifest = prepare_shards([shard_of(1)], seed=SEED, task=TASK, custodian=CUSTODIAN).manifest
    size = {"samples": 3, "width": 4}
    for data, shards in [(manifest, 2), (manifest[:-1], 1), (manifest + b"\x00", 1), (b"", 0), (b"", 1)]:
        with pytest.raises(InvalidShard, match="not a manifest"):
            decode_manifest(data, shards=shards, **size)
    with pytest.raises(InvalidShard, match="not a manifest"):
        decode_manifest(manifest * (SHARDS_MAX + 1), shards=SHARDS_MAX + 1, **size)
    with pytest.raises(InvalidShard, match="take"):
        decode_manifest(manifest, shards=1, samples=3, width=5)
