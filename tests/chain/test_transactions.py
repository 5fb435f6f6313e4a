"""Transactions: what Ethereum's tests and a wallet's library say of them, and what this chain refuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import rlp
from chain.crypto import CURVE_ORDER, InvalidKey, Signature, address_of, checksum_address, keccak256, recover_sender
from chain.signing import Fields, InvalidFields, encode_signed, sign_transaction, signing_hash_of
from chain.transactions import (
    InvalidTransaction,
    Transaction,
    decode,
    decode_with_sender,
    intrinsic_gas,
    intrinsic_gas_of,
    recover_senders,
    signing_hash,
)
from tests.chain.vectors import external, kept

KEY = bytes(31) + b"\x07"
CHAIN = 1337
TO = b"\x11" * 20
OURS_ALONE = ("contract creation is not supported", "only replay-protected (EIP-155) transactions are supported")


def fields(**changes: Any) -> Fields:
    simple = Fields(
        chain_id=CHAIN,
        nonce=3,
        max_priority_fee_per_gas=10**9,
        max_fee_per_gas=3 * 10**9,
        gas_limit=21_000,
        to=TO,
        value=10**18,
    )
    return replace(simple, **changes)


def integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def items_of(transaction: Transaction) -> list[Any]:
    items = rlp.decode(transaction.raw, 1 if transaction.kind else 0)
    assert isinstance(items, list)
    return items


def with_item(transaction: Transaction, index: int, value: Any) -> bytes:
    """The raw transaction with one item replaced, its signature left as it was."""
    items = items_of(transaction)
    items[index] = value
    return (bytes((transaction.kind,)) if transaction.kind else b"") + rlp.encode(items)


# ------------------------------------------------------------------------------------------- Ethereum's own tests


def check_ethereum(name: str, vector: dict[str, Any]) -> str:
    """One TransactionTest: "valid", "refused", or "stricter" where only this chain refuses."""
    expected = vector["result"].get("Shanghai") or vector["result"]["London"]
    raw = bytes.fromhex(vector["txbytes"][2:])
    try:
        transaction = decode_with_sender(raw, 1)
    except InvalidTransaction as refused:
        if "exception" in expected:
            return "refused"
        return "stricter" if str(refused).startswith(OURS_ALONE) else f"{name} is refused wrongly: {refused}"
    gas = intrinsic_gas(transaction)
    if "exception" in expected:
        assert expected["exception"] == "TransactionException.INTRINSIC_GAS_TOO_LOW", (name, expected)
        assert gas > transaction.gas_limit, name
        assert gas == int(expected["intrinsicGas"], 16), name
        return "refused"
    assert "0x" + transaction.hash.hex() == expected["hash"], name
    assert "0x" + transaction.sender.hex() == expected["sender"], name
    assert gas == int(expected["intrinsicGas"], 16), name
    assert gas <= transaction.gas_limit, name
    return "valid"


def counts(outcomes: list[str]) -> dict[str, int]:
    return dict(Counter(outcomes))


def test_kept_transaction_tests_of_ethereum_hold() -> None:
    outcomes = [check_ethereum(*entry) for entry in kept("ethereum-tests/transactions.json").items()]
    assert counts(outcomes) == {"valid": 8, "refused": 79, "stricter": 17}


def test_external_transaction_tests_of_ethereum_hold() -> None:
    files = external("ethereum-tests/TransactionTests/*/*.json")
    outcomes = [check_ethereum(*entry) for _, tests in files for entry in tests.items()]
    assert counts(outcomes) == {"valid": 8, "refused": 80, "stricter": 17}


def test_old_unprotected_transactions_have_their_senders_and_are_refused() -> None:
    for vector in kept("ethereum-tests/txtest.json"):
        signed = bytes.fromhex(vector["signed"])
        items = rlp.decode(signed)
        assert isinstance(items, list)
        v, r, s = (int.from_bytes(bytes(item), "big") for item in items[6:])
        parity, s = (v - 27, s) if s <= CURVE_ORDER // 2 else (28 - v, CURVE_ORDER - s)
        message_hash = keccak256(rlp.encode(items[:6]))
        assert recover_sender(message_hash, parity, r, s) == address_of(bytes.fromhex(vector["key"]))
        with pytest.raises(InvalidTransaction, match=r"only replay-protected \(EIP-155\) transactions are supported"):
            decode(signed, 1)


# ------------------------------------------------------------------------------------------------ what wallets do


def check_ethers(vector: dict[str, Any]) -> int:
    """Our encodings of one wallet vector; returns how many were signed and decoded."""
    given = vector["transaction"]
    key = bytes.fromhex(vector["privateKey"][2:])
    number = lambda name: int(str(given.get(name) or 0).removesuffix("0x") or "0", 0)  # noqa: E731
    common = Fields(
        chain_id=number("chainId") if "chainId" in given else 1,
        nonce=number("nonce"),
        gas_limit=number("gasLimit"),
        to=bytes.fromhex((given.get("to") or "0x")[2:]),
        value=number("value"),
        data=bytes.fromhex((given.get("data") or "0x")[2:]),
        max_fee_per_gas=number("gasPrice"),
        max_priority_fee_per_gas=number("gasPrice"),
    )
    access_list = tuple(
        (bytes.fromhex(entry["address"][2:]), tuple(bytes.fromhex(slot[2:]) for slot in entry["storageKeys"]))
        for entry in given.get("accessList") or []
    )
    kinds = {
        "Eip155": replace(common, kind=0),
        "Berlin": replace(common, kind=1, access_list=access_list),
        "London": replace(
            common,
            kind=2,
            access_list=access_list,
            max_fee_per_gas=number("maxFeePerGas"),
            max_priority_fee_per_gas=number("maxPriorityFeePerGas"),
        ),
    }
    decoded = 0
    for name, wanted in kinds.items():
        if name == "Eip155" and not number("chainId"):
            continue  # the wallet's encoding of chain 0 is not canonical
        unsigned, signed = (bytes.fromhex(vector[what + name][2:]) for what in ("unsigned", "signed"))
        assert signing_hash_of(wanted) == keccak256(unsigned), vector["name"]
        decoded += check_signed(vector["name"], wanted, signed, key)
    with pytest.raises(InvalidTransaction):
        decode(bytes.fromhex(vector["signedLegacy"][2:]), common.chain_id)
    return decoded


def check_signed(name: str, wanted: Fields, signed: bytes, key: bytes) -> int:
    tip_over_fee = wanted.max_priority_fee_per_gas > wanted.max_fee_per_gas
    if not wanted.to or tip_over_fee:
        with pytest.raises(InvalidTransaction, match=r"contract creation|max priority fee per gas higher"):
            decode(signed, wanted.chain_id)
        return 0
    transaction = decode_with_sender(signed, wanted.chain_id)
    assert transaction == sign_transaction(wanted, key), name
    assert transaction.raw == signed
    assert transaction.sender == address_of(key)
    assert {slot: getattr(transaction, slot) for slot in Fields.__slots__} == {
        slot: getattr(wanted, slot) for slot in Fields.__slots__
    }
    return 1


def test_kept_transactions_of_a_wallet_have_its_bytes() -> None:
    assert sum(check_ethers(vector) for vector in kept("ethers/transactions.json")) > 40


def test_external_transactions_of_a_wallet_have_its_bytes() -> None:
    for _, vectors in external("ethers/transaction.json.gz"):
        assert sum(check_ethers(vector) for vector in vectors) == 1327


ADDRESSES = st.binary(min_size=20, max_size=20)
ACCESS_LISTS = st.lists(
    st.tuples(ADDRESSES, st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)), max_size=3
).map(tuple)


@st.composite
def signable(draw: Any) -> Fields:
    kind = draw(st.sampled_from([0, 1, 2]))
    small_or_large = st.one_of(st.integers(0, 300), st.integers(0, 2**190))
    fee = draw(small_or_large)
    return Fields(
        kind=kind,
        chain_id=draw(st.one_of(st.integers(1, 300), st.integers(1, 2**53))),
        nonce=draw(st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 2))),
        max_priority_fee_per_gas=draw(st.integers(0, fee)) if kind == 2 else fee,
        max_fee_per_gas=fee,
        gas_limit=draw(st.one_of(st.integers(0, 10**7), st.integers(0, 2**63 - 1))),
        to=draw(ADDRESSES),
        value=draw(st.one_of(small_or_large, st.integers(0, 2**256 - 1))),
        data=draw(st.one_of(st.binary(max_size=80), st.just(b"\0\1" * 200))),
        access_list=draw(ACCESS_LISTS) if kind else (),
    )


def for_wallet(wanted: Fields) -> dict[str, Any]:
    described: dict[str, Any] = {
        "chainId": wanted.chain_id,
        "nonce": wanted.nonce,
        "gas": wanted.gas_limit,
        "to": checksum_address(wanted.to),
        "value": wanted.value,
        "data": wanted.data,
    }
    if wanted.kind == 2:
        described |= {
            "type": 2,
            "maxFeePerGas": wanted.max_fee_per_gas,
            "maxPriorityFeePerGas": wanted.max_priority_fee_per_gas,
        }
    else:
        described |= {"gasPrice": wanted.max_fee_per_gas}
    if wanted.kind:
        described |= {
            "type": wanted.kind,
            "accessList": [
                {"address": checksum_address(address), "storageKeys": ["0x" + key.hex() for key in keys]}
                for address, keys in wanted.access_list
            ],
        }
    return described


@given(wanted=signable(), key=st.integers(1, CURVE_ORDER - 1).map(lambda n: n.to_bytes(32, "big")))
@settings(deadline=None, max_examples=60)
def test_a_transaction_is_the_one_that_a_wallet_signs_and_reads(wanted: Fields, key: bytes) -> None:
    transaction = sign_transaction(wanted, key)
    signed = Account.sign_transaction(for_wallet(wanted), key)
    assert transaction.raw == bytes(signed.raw_transaction)
    assert transaction.hash == bytes(signed.hash)
    assert (transaction.v, transaction.r, transaction.s) == (signed.v, signed.r, signed.s)
    assert Account.recover_transaction(transaction.raw) == checksum_address(transaction.sender)
    assert signing_hash(transaction) == signing_hash_of(wanted)
    read = decode_with_sender(transaction.raw, wanted.chain_id)
    assert (read, read.sender) == (transaction, address_of(key))
    assert {slot: getattr(read, slot) for slot in Fields.__slots__} == {
        slot: getattr(wanted, slot) for slot in Fields.__slots__
    }


@given(wanted=signable(), data=st.data())
@settings(deadline=None, max_examples=100)
def test_damaged_bytes_are_refused_or_another_canonical_transaction(wanted: Fields, data: Any) -> None:
    damaged = bytearray(sign_transaction(wanted, KEY).raw)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        transaction = decode_with_sender(bytes(damaged), wanted.chain_id)
    except InvalidTransaction:
        return
    again = Fields(**{slot: getattr(transaction, slot) for slot in Fields.__slots__})
    assert encode_signed(again, Signature(transaction.r, transaction.s, transaction.y_parity)) == bytes(damaged)
    assert signing_hash(transaction) == signing_hash_of(again)


@given(noise=st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(InvalidTransaction):
        decode(noise, CHAIN)


# -------------------------------------------------------------------------------------------------- what we refuse


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "typed transaction too short: 0 bytes"),
        (b"\x03" + rlp.encode([b""] * 14), "blob transactions (type 3) are not supported: no block of this chain"),
        (b"\x04" + rlp.encode([b""] * 13), "set-code transactions (type 4) are not supported: no account of this"),
        (b"\x05" + rlp.encode([]), "transaction type not supported: 0x05; send type 0, 1 or 2"),
        (b"\x00" + rlp.encode([]), "transaction type not supported: 0x00; send type 0, 1 or 2"),
        (b"\x7f", "transaction type not supported: 0x7f; send type 0, 1 or 2"),
        (b"\xbf", "transaction type not supported: 0xbf; send type 0, 1 or 2"),
        (b"\x02" + rlp.encode(b""), "a type 2 transaction is a list of 12 items, not 0 bytes"),
        (b"\x02" + rlp.encode([b""] * 11), "a type 2 transaction is a list of 12 items, not a list of 11"),
        (b"\x01" + rlp.encode([b""] * 12), "a type 1 transaction is a list of 11 items, not a list of 12"),
        (rlp.encode([b""] * 6), "a legacy transaction is a list of 9 items, not a list of 6"),
        (b"\x02", "rlp: 0 items after one another, exactly 1 is expected"),
        (b"\x02\x80\x80", "rlp: 2 items after one another, exactly 1 is expected"),
        (b"\x02" + bytes(128 << 10), "oversized data: transaction size 131073, limit 131072"),
    ],
)
def test_what_is_no_transaction_is_refused_by_name(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidTransaction) as refused:
        decode(raw, CHAIN)
    assert str(refused.value).startswith(message)


DYNAMIC = sign_transaction(fields(), KEY)
# 0 chain, 1 nonce, 2 tip, 3 fee, 4 gas, 5 to, 6 value, 7 data, 8 access list, 9 parity, 10 r, 11 s


@pytest.mark.parametrize(
    ("index", "item", "message"),
    [
        (0, integer(1), "invalid chain id for signer: have 1 want 1337"),
        (0, b"", "invalid chain id for signer: have 0 want 1337"),
        (1, integer(2**64 - 1), "nonce has max value: nonce 18446744073709551615"),
        (1, integer(2**64), "rlp: nonce has 9 bytes, at most 8 are allowed"),
        (1, b"\0", "rlp: nonce has leading zeros: 00"),
        (1, [], "rlp: nonce must be an integer, not a list"),
        (
            2,
            integer(3 * 10**9 + 1),
            "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: 3000000001",
        ),
        (3, integer(2**256), "rlp: max fee per gas has 33 bytes, at most 32 are allowed"),
        (3, integer(2**255), "gas limit * price overflow: 21000 * "),
        (4, integer(2**63), "exceeds block gas limit: gas limit 9223372036854775808 is not below 2^63"),
        (5, b"", "contract creation is not supported: this chain runs no code"),
        (5, b"\x11" * 19, "`to` must be 20 bytes, not 19 bytes"),
        (5, [b"\x11" * 20], "`to` must be 20 bytes, not a list of 1"),
        (6, integer(2**256), "rlp: value has 33 bytes, at most 32 are allowed"),
        (7, [], "rlp: data must be bytes, not a list"),
        (8, b"x", "rlp: the access list must be a list"),
        (8, [b"x"], "an access list entry is an address and a list, not 1 bytes"),
        (8, [[TO]], "an access list entry is an address and a list, not a list of 1"),
        (8, [[TO[1:], []]], "an access list address must be 20 bytes, not 19 bytes"),
        (8, [[TO, b"x"]], "the storage keys of an access list entry must be a list"),
        (8, [[TO, [b"x" * 31]]], "a storage key must be 32 bytes, not 31 bytes"),
        (9, integer(2), "invalid transaction v, r, s values: parity 2"),
        (9, integer(256), "rlp: y parity has 2 bytes, at most 1 are allowed"),
        (10, b"", "invalid transaction v, r, s values: parity"),
        (10, integer(CURVE_ORDER), "invalid transaction v, r, s values: parity"),
        (11, integer(CURVE_ORDER // 2 + 1), "invalid transaction v, r, s values: parity"),
    ],
)
def test_a_wrong_item_is_refused_with_its_value(index: int, item: Any, message: str) -> None:
    with pytest.raises(InvalidTransaction) as refused:
        decode(with_item(DYNAMIC, index, item), CHAIN)
    assert str(refused.value).startswith(message)


def test_an_empty_byte_string_is_no_access_list() -> None:
    with pytest.raises(InvalidTransaction, match="the access list must be a list"):
        decode(with_item(DYNAMIC, 8, b""), CHAIN)


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (27, "only replay-protected (EIP-155) transactions are supported: sign for chain id 1337"),
        (28, "only replay-protected (EIP-155) transactions are supported: sign for chain id 1337"),
        (0, "invalid transaction v, r, s values: v 0"),
        (34, "invalid transaction v, r, s values: v 34"),
        (2 * CHAIN + 37, "invalid chain id for signer: have 1338 want 1337"),
    ],
)
def test_a_legacy_transaction_is_for_this_chain_alone(v: int, message: str) -> None:
    legacy = sign_transaction(fields(kind=0, max_priority_fee_per_gas=3 * 10**9), KEY)
    assert legacy.v in (2 * CHAIN + 35, 2 * CHAIN + 36)
    with pytest.raises(InvalidTransaction) as refused:
        decode(with_item(legacy, 6, integer(v)), CHAIN)
    assert str(refused.value).startswith(message)


def test_a_signature_without_a_public_key_is_refused() -> None:
    raw = with_item(DYNAMIC, 10, integer(5))  # no point of the curve has x = 5
    with pytest.raises(InvalidTransaction, match="invalid sender: no public key can be recovered"):
        decode_with_sender(raw, CHAIN)
    broken, whole = decode(raw, CHAIN), decode(DYNAMIC.raw, CHAIN)
    assert recover_senders([broken, whole]) == [False, True]
    assert (broken.sender, whole.sender) == (b"", address_of(KEY))


def test_a_transaction_as_large_as_allowed_passes() -> None:
    room = (128 << 10) - len(sign_transaction(fields(data=bytes(100_000)), KEY).raw)
    largest = sign_transaction(fields(data=bytes(100_000 + room)), KEY)
    assert len(largest.raw) == 128 << 10
    with pytest.raises(InvalidTransaction, match="oversized data: transaction size 131073, limit 131072"):
        decode(largest.raw + b"\0", CHAIN)
    with pytest.raises(InvalidTransaction, match="oversized data: transaction size 131072, limit 1000"):
        decode(largest.raw, CHAIN, bytes_max=1000)


# --------------------------------------------------------------------------------------------- gas, cost, signing


def test_intrinsic_gas_is_shanghais() -> None:
    assert intrinsic_gas(DYNAMIC) == 21_000
    data = bytes(3) + b"\x01\x02"
    assert intrinsic_gas_of(data) == 21_000 + 3 * 4 + 2 * 16
    access_list = ((TO, (bytes(32), bytes(32))), (TO, ()))
    assert intrinsic_gas_of(b"", access_list) == 21_000 + 2 * 2_400 + 2 * 1_900
    both = sign_transaction(fields(data=data, access_list=access_list), KEY)
    assert intrinsic_gas(both) == 21_000 + 3 * 4 + 2 * 16 + 2 * 2_400 + 2 * 1_900


def test_the_cost_is_what_the_sender_can_lose() -> None:
    assert DYNAMIC.cost == 21_000 * 3 * 10**9 + 10**18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": 3}, "transaction kind must be 0, 1 or 2, not 3"),
        ({"kind": 0}, "kind 0 has one gas price: set both fees alike, or use kind 2"),
        ({"kind": 1}, "kind 1 has one gas price: set both fees alike, or use kind 2"),
        ({"kind": 0, "max_priority_fee_per_gas": 3 * 10**9, "access_list": ((TO, ()),)}, "kind 0 has no access list"),
        ({"value": -1}, "-1 is not from 0 to 2^256 - 1"),
        ({"value": 2**256}, "is not from 0 to 2^256 - 1"),
    ],
)
def test_fields_that_no_transaction_holds_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        sign_transaction(fields(**changes), KEY)
    assert message in str(refused.value)


def test_what_the_chain_would_refuse_is_not_signed_away() -> None:
    with pytest.raises(InvalidTransaction, match="contract creation is not supported"):
        sign_transaction(fields(to=b""), KEY)
    with pytest.raises(InvalidKey):
        sign_transaction(fields(), bytes(32))
