"""Canonical msgpack: one value, one encoding, and everything else refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.encoding import (
    INTEGER_MAX,
    INTEGER_MIN,
    InvalidEncoding,
    amount_bytes,
    pack,
    sha256,
    tag,
    take_amount,
    take_array,
    take_bytes,
    take_integer,
    unpack,
)

integers = st.integers(INTEGER_MIN, INTEGER_MAX)
plain = st.recursive(integers | st.binary(max_size=300), lambda inner: st.lists(inner, max_size=5), max_leaves=20)


def depth(value: object) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(deadline=None, max_examples=200)
@given(value=plain)
def test_what_is_packed_unpacks_to_itself(value):
    if depth(value) <= 4:
        assert unpack(pack(value), bytes_max=10_000) == value
    else:
        with pytest.raises(InvalidEncoding, match="deeper"):
            unpack(pack(value), bytes_max=10_000)


@settings(deadline=None, max_examples=500)
@given(data=st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_or_are_the_encoding_of_what_they_mean(data):
    try:
        value = unpack(data, bytes_max=40)
    except InvalidEncoding:
        return
    assert pack(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xcc\x05",  # 5 in two bytes
        b"\xd1\x00\x05",  # 5 as int16
        b"\xd3" + bytes(8),  # 0 as int64
        b"\xc5\x00\x01a",  # bin16 of one byte
        b"\xdc\x00\x01\x05",  # array16 of one element
        b"\xa1a",  # a string
        b"\xc0",  # nil
        b"\xc3",  # true
        b"\xca\x3f\x80\x00\x00",  # a float
        b"\x80",  # a map
        b"\xd4\x01\x00",  # an extension
        b"\xd6\xff" + bytes(4),  # a timestamp
        b"\x05\x05",  # two values
        b"\x92\x05",  # an element is missing
        b"\xdd\xff\xff\xff\xff",  # an array that claims four thousand million elements
        b"\xc6\xff\xff\xff\xff",  # a byte string that claims 4 GiB
        b"\xc1",  # a code that means nothing
        b"\x91" * 5 + b"\x05",  # too deep
        b"\x91" * 100_000,  # very deep
    ],
)
def test_other_encodings_and_other_types_are_refused(data):
    with pytest.raises(InvalidEncoding):
        unpack(data, bytes_max=1_000_000)


def test_too_many_bytes_are_refused_before_they_are_read():
    with pytest.raises(InvalidEncoding, match="11 bytes are more than the 10"):
        unpack(pack(bytes(9)), bytes_max=10)


@settings(deadline=None, max_examples=200)
@given(amount=st.integers(0, 2**256 - 1))
def test_amounts_are_minimal_and_read_back(amount):
    encoded = amount_bytes(amount)
    assert take_amount(encoded, "amount") == amount
    assert len(encoded) == (amount.bit_length() + 7) // 8
    with pytest.raises(InvalidEncoding):
        take_amount(b"\x00" + encoded, "amount")


def test_fields_name_what_is_wrong_with_them():
    for take in (
        lambda: take_integer(True, "count", 0, 5),
        lambda: take_integer(6, "count", 0, 5),
        lambda: take_integer(b"", "count", 0, 5),
        lambda: take_bytes(bytes(31), "count", 32),
        lambda: take_bytes(5, "count", 32),
        lambda: take_amount(bytes([1]) * 33, "count"),
        lambda: take_amount(0, "count"),
        lambda: take_array([], "count", 1, 2),
        lambda: take_array([1, 2, 3], "count", 1, 2),
        lambda: take_array(b"ab", "count", 1, 2),
    ):
        with pytest.raises(InvalidEncoding, match="count"):
            take()


def test_msgpack_writes_the_shortest_integers_as_its_specification_says():
    for value, length in [(0, 1), (127, 1), (128, 2), (255, 2), (256, 3), (2**16, 5), (2**32, 9), (INTEGER_MAX, 9)]:
        assert len(pack(value)) == length
    for value, length in [(-1, 1), (-32, 1), (-33, 2), (-128, 2), (-129, 3), (-(2**15) - 1, 5), (INTEGER_MIN, 9)]:
        assert len(pack(value)) == length
    assert msgpack.unpackb(pack([1, [b"a", -1]])) == [1, [b"a", -1]]


def test_tags_end_in_a_zero_byte_so_that_none_is_the_start_of_another():
    assert tag("record") == b"lyceum/record/1\x00"
    assert sha256(b"ab", b"c") == sha256(b"a", b"bc")
