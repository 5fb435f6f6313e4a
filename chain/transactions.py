"""Home of Ethereum transactions of types 0 (EIP-155), 1 (EIP-2930) and 2 (EIP-1559): decoding, hashes, senders.

A transaction travels and is stored as the bytes in which it came; everything else is read from them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chain import rlp
from chain.crypto import (
    ADDRESS_BYTES,
    HASH_BYTES,
    InvalidSignature,
    is_in_range,
    keccak256,
    recover_many,
    recover_sender,
)
from chain.errors import InvalidInput

AccessList: TypeAlias = tuple[tuple[bytes, tuple[bytes, ...]], ...]  # of (address, storage keys)

LEGACY, ACCESS_LIST, DYNAMIC_FEE = 0, 1, 2
TRANSACTION_BYTES_MAX = 128 << 10
NONCE_MAX = 2**64 - 2  # EIP-2681
GAS_LIMIT_MAX = 2**63 - 1
UINT256_MAX = 2**256 - 1

# Intrinsic gas as in Shanghai (EIP-2028, EIP-2930)
GAS_TRANSACTION = 21_000
GAS_ZERO_BYTE = 4
GAS_BYTE = 16
GAS_ACCESS_LIST_ADDRESS = 2_400
GAS_ACCESS_LIST_KEY = 1_900

_UNSUPPORTED_KINDS = {
    3: "blob transactions (type 3) are not supported: no block of this chain carries blobs; send type 2",
    4: "set-code transactions (type 4) are not supported: no account of this chain runs code; send type 2",
}


class InvalidTransaction(InvalidInput):
    """Bytes that are no transaction for this chain, whatever its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A decoded, signed transaction. Its fields follow from `raw`; make one by `decode` or `chain.signing`.

    `sender` follows from them too, but takes longer than all others: it is empty until `recover_senders` or
    `decode_with_sender` has filled it in.
    """

    kind: int  # 0, 1 or 2
    chain_id: int
    nonce: int
    max_priority_fee_per_gas: int  # for kinds 0 and 1 both fees are the gas price
    max_fee_per_gas: int
    gas_limit: int
    to: bytes  # 20 bytes
    value: int
    data: bytes
    access_list: AccessList
    y_parity: int
    r: int
    s: int
    raw: bytes
    hash: bytes  # keccak-256 of raw
    sender: bytes = b""  # 20 bytes

    @property
    def v(self) -> int:
        """What RPC shows as `v`: with the chain id folded in for kind 0 (EIP-155), else the parity."""
        return self.y_parity if self.kind else 2 * self.chain_id + 35 + self.y_parity

    @property
    def cost(self) -> int:
        """The most that the sender can lose by it: gas limit * max fee + value."""
        return self.gas_limit * self.max_fee_per_gas + self.value


# ------------------------------------------------------------------------------------------------------ decoding


def decode(raw: bytes, chain_id: int, *, bytes_max: int = TRANSACTION_BYTES_MAX) -> Transaction:
    """The transaction of these bytes, without its sender. Raises InvalidTransaction."""
    if len(raw) > bytes_max:
        raise InvalidTransaction(f"oversized data: transaction size {len(raw)}, limit {bytes_max}")
    if not raw:
        raise InvalidTransaction("typed transaction too short: 0 bytes")
    kind = raw[0]
    try:
        if kind == DYNAMIC_FEE:
            return _decode_typed(raw, rlp.decode(raw, 1), kind, 12, chain_id)
        if kind >= 0xC0:
            return _decode_legacy(raw, rlp.decode(raw), chain_id)
        if kind == ACCESS_LIST:
            return _decode_typed(raw, rlp.decode(raw, 1), kind, 11, chain_id)
    except rlp.InvalidRlp as error:
        raise InvalidTransaction(str(error)) from error
    raise InvalidTransaction(
        _UNSUPPORTED_KINDS.get(kind, f"transaction type not supported: {kind:#04x}; send type 0, 1 or 2")
    )


def _decode_legacy(raw: bytes, item: rlp.Item, chain_id: int) -> Transaction:
    if type(item) is not list or len(item) != 9:
        raise InvalidTransaction(f"a legacy transaction is a list of 9 items, not {_describe(item)}")
    nonce, price, gas, to, value, data, v_item, r, s = item
    v = rlp.decode_integer(v_item, 32, "v")
    if v in (27, 28):
        raise InvalidTransaction(
            "only replay-protected (EIP-155) transactions are supported: sign for chain id " + str(chain_id)
        )
    if v < 35:
        raise InvalidTransaction(f"invalid transaction v, r, s values: v {v}")
    fee = rlp.decode_integer(price, 32, "gas price")
    return _build(raw, LEGACY, chain_id, (v - 35) // 2, nonce, fee, fee, gas, to, value, data, [], (v - 35) & 1, r, s)


def _decode_typed(raw: bytes, item: rlp.Item, kind: int, length: int, chain_id: int) -> Transaction:
    if type(item) is not list or len(item) != length:
        raise InvalidTransaction(f"a type {kind} transaction is a list of {length} items, not {_describe(item)}")
    tip = rlp.decode_integer(item[2], 32, "max priority fee per gas" if kind == DYNAMIC_FEE else "gas price")
    fee = rlp.decode_integer(item.pop(3), 32, "max fee per gas") if kind == DYNAMIC_FEE else tip
    own_chain, nonce, _, gas, to, value, data, access_list, parity_item, r, s = item
    own_chain_id = rlp.decode_integer(own_chain, 32, "chain id")
    parity = rlp.decode_integer(parity_item, 1, "y parity")
    return _build(raw, kind, chain_id, own_chain_id, nonce, tip, fee, gas, to, value, data, access_list, parity, r, s)


def _build(
    raw: bytes,
    kind: int,
    chain_id: int,
    own_chain_id: int,
    nonce_item: rlp.Item,
    tip: int,
    fee: int,
    gas_item: rlp.Item,
    to: rlp.Item,
    value_item: rlp.Item,
    data: rlp.Item,
    access_item: rlp.Item,
    parity: int,
    r_item: rlp.Item,
    s_item: rlp.Item,
) -> Transaction:
    """What the three kinds share: the remaining fields, and the checks of all."""
    nonce = rlp.decode_integer(nonce_item, 8, "nonce")
    gas_limit = rlp.decode_integer(gas_item, 8, "gas limit")
    value = rlp.decode_integer(value_item, 32, "value")
    r = rlp.decode_integer(r_item, 32, "r")
    s = rlp.decode_integer(s_item, 32, "s")
    if type(to) is not bytes or len(to) != ADDRESS_BYTES:
        raise InvalidTransaction(_bad_recipient(to))
    if type(data) is not bytes:
        raise InvalidTransaction("rlp: data must be bytes, not a list")
    if own_chain_id != chain_id:
        raise InvalidTransaction(f"invalid chain id for signer: have {own_chain_id} want {chain_id}")
    if nonce > NONCE_MAX:
        raise InvalidTransaction(f"nonce has max value: nonce {nonce}, at most {NONCE_MAX} is allowed")
    if gas_limit > GAS_LIMIT_MAX:
        raise InvalidTransaction(f"exceeds block gas limit: gas limit {gas_limit} is not below 2^63")
    if tip > fee:
        raise InvalidTransaction(
            f"max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}"
        )
    if gas_limit * fee > UINT256_MAX:
        raise InvalidTransaction(f"gas limit * price overflow: {gas_limit} * {fee} is not below 2^256")
    if not is_in_range(parity, r, s):
        raise InvalidTransaction(f"invalid transaction v, r, s values: parity {parity}, r {r:#x}, s {s:#x}")
    return Transaction(
        kind=kind,
        chain_id=chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=tip,
        max_fee_per_gas=fee,
        gas_limit=gas_limit,
        to=to,
        value=value,
        data=data,
        access_list=() if access_item == [] else _decode_access_list(access_item),
        y_parity=parity,
        r=r,
        s=s,
        raw=raw,
        hash=keccak256(raw),
    )


def _decode_access_list(item: rlp.Item) -> AccessList:
    if type(item) is not list:
        raise InvalidTransaction("rlp: the access list must be a list")
    return tuple(_decode_access(entry) for entry in item)


def _decode_access(entry: rlp.Item) -> tuple[bytes, tuple[bytes, ...]]:
    if type(entry) is not list or len(entry) != 2:
        raise InvalidTransaction(f"an access list entry is an address and a list, not {_describe(entry)}")
    address, keys = entry
    if type(address) is not bytes or len(address) != ADDRESS_BYTES:
        raise InvalidTransaction(f"an access list address must be {ADDRESS_BYTES} bytes, not {_describe(address)}")
    if type(keys) is not list:
        raise InvalidTransaction("the storage keys of an access list entry must be a list")
    for key in keys:
        if type(key) is not bytes or len(key) != HASH_BYTES:
            raise InvalidTransaction(f"a storage key must be {HASH_BYTES} bytes, not {_describe(key)}")
    return address, tuple(key for key in keys if type(key) is bytes)


def _bad_recipient(to: rlp.Item) -> str:
    if to == b"":
        return "contract creation is not supported: this chain runs no code of its users; set `to` to an address"
    return f"`to` must be {ADDRESS_BYTES} bytes, not {_describe(to)}"


def _describe(item: rlp.Item) -> str:
    return f"a list of {len(item)}" if type(item) is list else f"{len(item)} bytes"


# ------------------------------------------------------------------------------------------------------- senders


def signing_hash(transaction: Transaction) -> bytes:
    """The 32-byte hash that its sender signed, cut out of `raw`, which is canonical: nothing is encoded again."""
    raw = transaction.raw
    start = 1 if transaction.kind else 0
    head = raw[start]
    payload_start = start + 1 + (head - 0xF7 if head > 0xF7 else 0)
    tail = _encoded_size(transaction.v) + _encoded_size(transaction.r) + _encoded_size(transaction.s)
    payload = raw[payload_start : len(raw) - tail]
    if transaction.kind:
        return keccak256(raw[:1] + rlp.encode_list(payload))
    return keccak256(rlp.encode_list(payload + rlp.encode_integer(transaction.chain_id) + b"\x80\x80"))


def _encoded_size(value: int) -> int:
    return 1 if value < 0x80 else 1 + (value.bit_length() + 7) // 8


def recover_senders(transactions: Sequence[Transaction]) -> list[bool]:
    """Fill in the sender of every transaction; False where the signature gives none.

    One call of the curve's batch, so meant for a worker thread; see `crypto.recover_many`.
    """
    senders = recover_many([(signing_hash(t), t.y_parity, t.r, t.s) for t in transactions])
    for transaction, sender in zip(transactions, senders, strict=True):
        if sender is not None:
            fill_in_sender(transaction, sender)
    return [sender is not None for sender in senders]


def decode_with_sender(raw: bytes, chain_id: int, *, bytes_max: int = TRANSACTION_BYTES_MAX) -> Transaction:
    """The whole transaction of these bytes. Raises InvalidTransaction."""
    transaction = decode(raw, chain_id, bytes_max=bytes_max)
    try:
        sender = recover_sender(signing_hash(transaction), transaction.y_parity, transaction.r, transaction.s)
    except InvalidSignature as error:
        raise InvalidTransaction(f"invalid sender: {error}") from error
    fill_in_sender(transaction, sender)
    return transaction


def fill_in_sender(transaction: Transaction, sender: bytes) -> None:
    """Only for who has just recovered or signed: `sender` must be what the signature gives."""
    object.__setattr__(transaction, "sender", sender)  # a value that the frozen fields determine, computed late


# ----------------------------------------------------------------------------------------------------------- gas


def intrinsic_gas(transaction: Transaction) -> int:
    """What a transaction costs before anything is executed, as in Shanghai."""
    if not transaction.data and not transaction.access_list:
        return GAS_TRANSACTION
    return intrinsic_gas_of(transaction.data, transaction.access_list)


def intrinsic_gas_of(data: bytes, access_list: AccessList = ()) -> int:
    """The same of a message that is no transaction yet."""
    zeros = data.count(0)
    gas = GAS_TRANSACTION + GAS_ZERO_BYTE * zeros + GAS_BYTE * (len(data) - zeros)
    for _, keys in access_list:
        gas += GAS_ACCESS_LIST_ADDRESS + GAS_ACCESS_LIST_KEY * len(keys)
    return gas
