"""Home of simulated accounts' transactions: real ones, signed once and decoded once in a process."""

from __future__ import annotations

from functools import lru_cache

from chain import contract
from chain.crypto import InvalidSignature, keccak256, recover_sender, sign
from chain.parameters import Parameters
from chain.signing import Fields, sign_transaction
from chain.transactions import InvalidTransaction, Transaction, decode_with_sender, intrinsic_gas_of
from chain.types import CONTRACT_ADDRESS, GWEI
from tests.sim import task

MAX_FEE_PER_GAS = 16 * GWEI


@lru_cache(maxsize=1 << 14)
def call(key: bytes, nonce: int, calldata: bytes, value: int, parameters: Parameters) -> Transaction:
    """A signed call of the learning contract."""
    gas = intrinsic_gas_of(calldata) + contract.operation_gas(calldata, parameters)
    return _signed(key, nonce, CONTRACT_ADDRESS, calldata, value, gas)


@lru_cache(maxsize=1 << 14)
def transfer(key: bytes, nonce: int, to: bytes, value: int) -> Transaction:
    return _signed(key, nonce, to, b"", value, 21_000)


def _signed(key: bytes, nonce: int, to: bytes, data: bytes, value: int, gas: int) -> Transaction:
    fields = Fields(
        chain_id=task.CHAIN_ID,
        nonce=nonce,
        max_priority_fee_per_gas=GWEI,
        max_fee_per_gas=MAX_FEE_PER_GAS,
        gas_limit=gas,
        to=to,
        value=value,
        data=data,
    )
    return sign_transaction(fields, key)


@lru_cache(maxsize=1 << 15)
def decoded(raw: bytes) -> Transaction | None:
    """The transaction of these bytes with its sender; None where it is none."""
    try:
        return decode_with_sender(raw, task.CHAIN_ID)
    except InvalidTransaction:
        return None


@lru_cache(maxsize=1 << 15)
def signature_of(key: bytes, message: bytes) -> bytes:
    """A validator's signature of what a vote or proposal says: 65 bytes."""
    r, s, parity = sign(keccak256(message), key)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])


@lru_cache(maxsize=1 << 16)
def recovered(digest: bytes, signature: bytes) -> bytes | None:
    """Whose signature of a digest this is; None where it is nobody's."""
    if len(signature) != 65:
        return None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    try:
        return recover_sender(digest, signature[64], r, s)
    except InvalidSignature:
        return None
