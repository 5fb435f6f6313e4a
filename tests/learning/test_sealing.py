"""A sealed blob opens under its key, for its task, round or shard, and account; and in no other way."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from learning.sealing import (
    SEAL_OVERHEAD_BYTES,
    InvalidSeal,
    open_shard,
    open_update,
    seal_shard,
    seal_update,
)

KEY, TASK, MINER = bytes(range(32)), bytes(range(1, 33)), bytes(range(20))
UPDATE = {"key": KEY, "task": TASK, "round_number": 7, "miner": MINER}
SHARD = {"key": KEY, "task": TASK, "custodian": MINER, "index": 7}


@pytest.mark.parametrize("length", [0, 1, 1000, 70_000])
def test_sealed_bytes_open_to_what_was_sealed(length):
    plaintext = bytes(range(256)) * (length // 256) + bytes(length % 256)
    for seal, unseal, fields in [(seal_update, open_update, UPDATE), (seal_shard, open_shard, SHARD)]:
        sealed = seal(plaintext, **fields)
        assert len(sealed) == length + SEAL_OVERHEAD_BYTES
        assert unseal(sealed, **fields) == plaintext


@pytest.mark.parametrize(
    ("name", "other"), [("key", bytes(32)), ("task", bytes(32)), ("round_number", 8), ("miner", bytes(20))]
)
def test_an_update_opens_for_nothing_else(name, other):
    with pytest.raises(InvalidSeal):
        open_update(seal_update(b"delta", **UPDATE), **{**UPDATE, name: other})


@pytest.mark.parametrize(
    ("name", "other"), [("key", bytes(32)), ("task", bytes(32)), ("index", 8), ("custodian", bytes(20))]
)
def test_a_shard_opens_for_nothing_else(name, other):
    with pytest.raises(InvalidSeal):
        open_shard(seal_shard(b"shard", **SHARD), **{**SHARD, name: other})


def test_an_update_does_not_open_as_a_shard():
    with pytest.raises(InvalidSeal):
        open_shard(seal_update(b"delta", **UPDATE), **SHARD)


def test_every_flipped_bit_is_noticed():
    sealed = seal_update(b"delta", **UPDATE)
    for place in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(InvalidSeal):
            open_update(bytes(flipped), **UPDATE)


@pytest.mark.parametrize("sealed", [b"", bytes(15), bytes(16), bytes(17)])
def test_bytes_that_nobody_sealed_do_not_open(sealed):
    with pytest.raises(InvalidSeal):
        open_update(sealed, **UPDATE)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_keys_of_another_length_are_refused(length):
    with pytest.raises(InvalidSeal, match=f"key of {length} bytes"):
        open_update(seal_update(b"delta", **UPDATE), **{**UPDATE, "key": bytes(length)})


def test_sealing_is_the_cipher_that_the_page_says():
    domain = b"lyceum/sealed-update/1\x00" + TASK + bytes([0, 0, 0, 7]) + MINER
    assert seal_update(b"delta", **UPDATE) == ChaCha20Poly1305(KEY).encrypt(bytes(12), b"delta", domain)
    domain = b"lyceum/sealed-shard/1\x00" + TASK + MINER + bytes([0, 0, 0, 7])
    assert seal_shard(b"shard", **SHARD) == ChaCha20Poly1305(KEY).encrypt(bytes(12), b"shard", domain)
