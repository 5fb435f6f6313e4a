"""Tests of the canonical encodings: what is written is read back, and nothing else is read."""

from __future__ import annotations

import sys
import threading
from dataclasses import fields, replace

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.codec import (
    InvalidEncoding,
    amount_from_bytes,
    amount_to_bytes,
    block_hash,
    decode_block,
    decode_header,
    decode_receipt,
    decode_receipts,
    encode_block,
    encode_header,
    encode_receipt,
    encode_receipts,
    pack,
    unpack,
)
from chain.crypto import sha256
from chain.state import decode_account, encode_account
from chain.types import Block, Header, Log, Receipt

uint64 = st.integers(0, 2**64 - 1)
amounts = st.one_of(st.integers(0, 2**256 - 1), st.integers(0, 300))
headers = st.builds(
    Header,
    **{
        field.name: (
            amounts
            if field.name == "base_fee"
            else uint64
            if field.type == "int"
            else st.binary(min_size=(size := {"proposer": 20, "logs_bloom": 256}.get(field.name, 32)), max_size=size)
        )
        for field in fields(Header)
    },
)
logs = st.builds(
    Log,
    address=st.binary(min_size=20, max_size=20),
    topics=st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple),
    data=st.binary(max_size=300),
)
receipts = st.builds(
    Receipt,
    status=st.integers(0, 1),
    gas_used=uint64,
    effective_gas_price=amounts,
    logs=st.lists(logs, max_size=3).map(tuple),
)
blocks = st.builds(
    Block,
    header=headers,
    transactions=st.lists(st.binary(max_size=300), max_size=5).map(tuple),
    last_commit=st.binary(max_size=300),
)
HEADER = Header(
    chain_id=1,
    height=2,
    time_ms=3,
    parent=bytes(32),
    proposer=bytes(20),
    transactions_root=bytes(32),
    receipts_root=bytes(32),
    state_root=bytes(32),
    weights_root=bytes(32),
    last_commit_root=bytes(32),
    validators_hash=bytes(32),
    next_validators_hash=bytes(32),
    gas_used=4,
    gas_limit=5,
    base_fee=6,
    logs_bloom=bytes(256),
)


@given(headers)
def test_header_is_read_back(header: Header) -> None:
    encoded = encode_header(header)
    assert decode_header(encoded) == header
    assert block_hash(header) == sha256(encoded)


@settings(max_examples=50)
@given(blocks)
def test_block_is_read_back(block: Block) -> None:
    assert decode_block(encode_block(block)) == block


@given(receipts)
def test_receipt_is_read_back(receipt: Receipt) -> None:
    encoded = encode_receipt(receipt)
    assert decode_receipt(encoded) == receipt
    assert decode_receipts(encode_receipts([encoded, encoded])) == (encoded, encoded)


@given(uint64, amounts)
def test_account_is_read_back(nonce: int, balance: int) -> None:
    assert decode_account(encode_account(nonce, balance)) == (nonce, balance)


@given(amounts)
def test_amounts_are_minimal_big_endian_bytes(amount: int) -> None:
    encoded = amount_to_bytes(amount)
    assert encoded == amount.to_bytes(32, "big").lstrip(b"\0")
    assert amount_from_bytes(encoded) == amount


@pytest.mark.parametrize("value", [b"\0", b"\0\1", b"\1" * 33, 5, "1", (b"\1",), None])
def test_other_amounts_are_refused(value: object) -> None:
    with pytest.raises(InvalidEncoding, match="minimal big-endian"):
        amount_from_bytes(value)


@settings(max_examples=300)
@given(st.one_of(headers.map(encode_header), receipts.map(encode_receipt), blocks.map(encode_block)), st.data())
def test_no_changed_byte_is_overlooked(encoded: bytes, data: st.DataObject) -> None:
    """What decodes after a change is another value, whose encoding is just these bytes."""
    place = data.draw(st.integers(0, len(encoded) - 1))
    changed = bytearray(encoded)
    changed[place] ^= data.draw(st.integers(1, 255))
    for decode, encode in (
        (decode_header, encode_header),
        (decode_receipt, encode_receipt),
        (decode_block, encode_block),
    ):
        try:
            value = decode(bytes(changed))
        except InvalidEncoding:
            continue
        assert encode(value) == bytes(changed)  # type: ignore[operator]


@given(st.binary(max_size=600))
def test_any_bytes_decode_or_are_refused(encoded: bytes) -> None:
    for decode in (decode_header, decode_receipt, decode_block, decode_account, decode_receipts):
        try:
            decode(encoded)
        except InvalidEncoding:
            continue
        assert unpack(encoded, bytes_max=600) is not None


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x01\x01",  # something behind the value
        b"\xcc\x01",  # 1 in two bytes
        b"\xcd\x00\x01",
        b"\xd0\x01",  # 1 as a signed byte
        b"\xdc\x00\x01\x01",  # a long array of one
        b"\xc5\x00\x01a",  # a long byte string of one
        b"\xd9\x01a",  # a long text of one
        b"\x80",  # a map
        b"\x81\x01\x01",
        b"\xd4\x01\x01",  # an extension
        b"\xa1\xff",  # no UTF-8
        b"\xc1",
        b"\x92\x01",
    ],
)
def test_other_encodings_are_refused(encoded: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        unpack(encoded, bytes_max=100)


def test_long_encodings_are_refused_unread() -> None:
    with pytest.raises(InvalidEncoding, match="6 bytes, at most 5 are allowed"):
        unpack(pack(b"1234"), bytes_max=5)
    with pytest.raises(InvalidEncoding, match="at most 2048"):
        decode_header(bytes(2049))
    with pytest.raises(InvalidEncoding, match="at most 100 are allowed"):
        decode_block(encode_block(Block(header=HEADER, transactions=(bytes(200),), last_commit=b"")), bytes_max=100)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("height", -1, "height must be an integer from 0 to 18446744073709551615"),
        ("gas_limit", b"\1", "gas_limit must be an integer"),
        ("parent", bytes(31), "parent must be 32 bytes"),
        ("logs_bloom", bytes(255), "logs_bloom must be 256 bytes"),
        ("proposer", 0, "proposer must be 20 bytes"),
    ],
)
def test_wrong_header_field_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(InvalidEncoding, match=message):
        decode_header(encode_header(replace(HEADER, **{name: value})))


def test_header_of_another_length_is_refused() -> None:
    values = unpack(encode_header(HEADER), bytes_max=2048)
    with pytest.raises(InvalidEncoding, match="a header must be an array of 16"):
        decode_header(pack(values[:-1]))
    with pytest.raises(InvalidEncoding, match="minimal big-endian"):
        decode_header(pack((*values[:14], 6, values[15])))


@pytest.mark.parametrize(
    "value",
    [
        (2, 1, b"", ()),
        (1, 1, 1, ()),
        (1, 1, b"", b""),
        (1, 1, b"", (1,)),
        (1, 1, b"", ((bytes(20), (), 1),)),
        (1, 1, b"", ((bytes(19), (), b""),)),
        (1, 1, b"", ((bytes(20), (bytes(31),), b""),)),
        (1, 1, b"", ((bytes(20), 1, b""),)),
        (1, 1, b""),
    ],
)
def test_wrong_receipt_is_refused(value: object) -> None:
    with pytest.raises(InvalidEncoding):
        decode_receipt(pack(value))


@pytest.mark.parametrize("value", [(b"", ()), (b"", (), 1), (1, (), b""), (b"", 1, b""), (b"", ("a",), b"")])
def test_wrong_block_is_refused(value: object) -> None:
    with pytest.raises(InvalidEncoding):
        decode_block(pack(value))


def test_packing_in_many_threads_gives_what_one_gives() -> None:
    values = [(number, bytes(number), (1, 2, b"abc") * (number % 50)) for number in range(200)]
    expected = [msgpack.packb(value, use_bin_type=True) for value in values]
    differing = []

    def run() -> None:
        for _ in range(30):
            differing.extend(v for v, e in zip(values, expected, strict=True) if pack(v) != e)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert differing == []


def test_a_failed_packing_leaves_nothing_behind() -> None:
    with pytest.raises(TypeError):
        pack((1, b"left over", object()))
    assert pack((2,)) == b"\x91\x02"
