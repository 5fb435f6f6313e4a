"""Home of sealing: updates and shards under one-time ChaCha20-Poly1305 keys, bound to whom and what they are for."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from learning.encoding import ACCOUNT_BYTES, HASH_BYTES, tag, u32

KEY_BYTES = 32
SEAL_OVERHEAD_BYTES = 16
SEALED_BYTES_MAX = 2**31 - 1
_NONCE = bytes(12)  # a key seals one message only, so the nonce need not vary


class InvalidSeal(ValueError):
    """Sealed bytes that do not open under this key for this task, round or shard, and account."""


def seal_update(plaintext: bytes, *, key: bytes, task: bytes, round_number: int, miner: bytes) -> bytes:
    """The ciphertext (16 bytes longer) that only `miner` can claim, only in this round of this task."""
    return _seal(plaintext, key, _update_domain(task, round_number, miner))


def open_update(sealed: bytes, *, key: bytes, task: bytes, round_number: int, miner: bytes) -> bytes:
    """The plaintext of a sealed update; raises InvalidSeal where it does not open."""
    return _open(sealed, key, _update_domain(task, round_number, miner))


def seal_shard(plaintext: bytes, *, key: bytes, task: bytes, custodian: bytes, index: int) -> bytes:
    """The ciphertext (16 bytes longer) of shard `index` of this custodian of this task."""
    return _seal(plaintext, key, _shard_domain(task, custodian, index))


def open_shard(sealed: bytes, *, key: bytes, task: bytes, custodian: bytes, index: int) -> bytes:
    """The plaintext of a sealed shard; raises InvalidSeal where it does not open."""
    return _open(sealed, key, _shard_domain(task, custodian, index))


def _update_domain(task: bytes, round_number: int, miner: bytes) -> bytes:
    assert len(task) == HASH_BYTES, task
    assert len(miner) == ACCOUNT_BYTES, miner
    return tag("sealed-update") + task + u32(round_number) + miner


def _shard_domain(task: bytes, custodian: bytes, index: int) -> bytes:
    assert len(task) == HASH_BYTES, task
    assert len(custodian) == ACCOUNT_BYTES, custodian
    return tag("sealed-shard") + task + custodian + u32(index)


def _seal(plaintext: bytes, key: bytes, domain: bytes) -> bytes:
    assert len(key) == KEY_BYTES, len(key)
    assert len(plaintext) <= SEALED_BYTES_MAX - SEAL_OVERHEAD_BYTES, len(plaintext)
    return ChaCha20Poly1305(key).encrypt(_NONCE, plaintext, domain)


def _open(sealed: bytes, key: bytes, domain: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise InvalidSeal(f"a key of {len(key)} bytes: a key has {KEY_BYTES}")
    if not SEAL_OVERHEAD_BYTES <= len(sealed) <= SEALED_BYTES_MAX:
        raise InvalidSeal(f"{len(sealed)} sealed bytes: send {SEAL_OVERHEAD_BYTES} to {SEALED_BYTES_MAX}")
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, domain)
    except InvalidTag as error:
        raise InvalidSeal(
            f"{len(sealed)} sealed bytes do not open: reveal the key that sealed them for this task, "
            "round or shard, and account"
        ) from error
