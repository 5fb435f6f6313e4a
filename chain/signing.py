"""Home of making transactions: what our own clients, and nobody else's, need to sign and send."""

from __future__ import annotations

from dataclasses import dataclass

from chain import rlp
from chain.crypto import Signature, address_of, keccak256, sign
from chain.errors import InvalidInput
from chain.transactions import (
    ACCESS_LIST,
    DYNAMIC_FEE,
    LEGACY,
    UINT256_MAX,
    AccessList,
    Transaction,
    decode,
    fill_in_sender,
)


class InvalidFields(InvalidInput):
    """Numbers that no transaction can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What a sender signs. Fees are 10^-18 coin per gas; kinds 0 and 1 have one price: both must be equal."""

    kind: int = DYNAMIC_FEE  # 0, 1 or 2
    chain_id: int
    nonce: int
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    gas_limit: int
    to: bytes  # 20 bytes
    value: int = 0
    data: bytes = b""
    access_list: AccessList = ()


def sign_transaction(fields: Fields, private_key: bytes) -> Transaction:
    """The signed transaction, its sender filled in.

    Raises InvalidKey, InvalidFields, or InvalidTransaction where the chain would not take these fields.
    """
    raw = encode_signed(fields, sign(signing_hash_of(fields), private_key))
    transaction = decode(raw, fields.chain_id)
    fill_in_sender(transaction, address_of(private_key))
    return transaction


def signing_hash_of(fields: Fields) -> bytes:
    """The 32 bytes to be signed."""
    items = _items(fields)
    if fields.kind == LEGACY:
        return keccak256(rlp.encode([*items, _minimal(fields.chain_id), b"", b""]))
    return keccak256(bytes((fields.kind,)) + rlp.encode(items))


def encode_signed(fields: Fields, signature: Signature) -> bytes:
    """The raw transaction. Raises InvalidFields."""
    v = signature.parity + (2 * fields.chain_id + 35 if fields.kind == LEGACY else 0)
    encoded = rlp.encode([*_items(fields), _minimal(v), _minimal(signature.r), _minimal(signature.s)])
    return encoded if fields.kind == LEGACY else bytes((fields.kind,)) + encoded


def _items(fields: Fields) -> list[rlp.Encodable]:
    """The items that a signature covers, in the order of their kind (for kind 0 without the chain id)."""
    tip, fee = _minimal(fields.max_priority_fee_per_gas), _minimal(fields.max_fee_per_gas)
    if fields.kind not in (LEGACY, ACCESS_LIST, DYNAMIC_FEE):
        raise InvalidFields(f"transaction kind must be 0, 1 or 2, not {fields.kind}")
    if fields.kind != DYNAMIC_FEE and tip != fee:
        raise InvalidFields(f"kind {fields.kind} has one gas price: set both fees alike, or use kind 2")
    chain_id, nonce = _minimal(fields.chain_id), _minimal(fields.nonce)
    call: list[rlp.Encodable] = [_minimal(fields.gas_limit), fields.to, _minimal(fields.value), fields.data]
    access_list: list[rlp.Encodable] = [[address, keys] for address, keys in fields.access_list]
    if fields.kind == LEGACY:
        if access_list:
            raise InvalidFields("kind 0 has no access list: use kind 1 or 2")
        return [nonce, fee, *call]
    if fields.kind == ACCESS_LIST:
        return [chain_id, nonce, fee, *call, access_list]
    return [chain_id, nonce, tip, fee, *call, access_list]


def _minimal(value: int) -> bytes:
    """Minimal big-endian bytes, none for 0."""
    if not 0 <= value <= UINT256_MAX:
        raise InvalidFields(f"{value} is not from 0 to 2^256 - 1")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
