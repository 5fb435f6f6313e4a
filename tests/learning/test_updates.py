"""One delta has one encoding; whatever else is sent is malformed before anything is allocated for it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.updates import DELTA_MAX, DENSE, InvalidUpdate, decode_update, encode_update, update_bytes_max

deltas = st.lists(st.integers(-DELTA_MAX, DELTA_MAX), min_size=1, max_size=30).map(
    lambda values: np.array(values, dtype=np.int64)
)


@settings(deadline=None, max_examples=100)
@given(delta=deltas)
def test_a_delta_survives_its_encoding(delta):
    data = encode_update(delta)
    decoded = decode_update(data, len(delta))
    assert decoded.dtype == np.int64
    assert decoded.tolist() == delta.tolist()
    assert len(data) == update_bytes_max(len(delta))


@settings(deadline=None, max_examples=300)
@given(delta=deltas, data=st.data())
def test_a_changed_encoding_is_malformed_or_says_something_else(delta, data):
    encoded = bytearray(encode_update(delta))
    for place in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=3)):
        encoded[place] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_update(bytes(encoded), len(delta))
    except InvalidUpdate:
        return
    assert encode_update(decoded) == bytes(encoded)


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=30), parameters=st.integers(1, 8))
def test_arbitrary_bytes_are_malformed_or_the_encoding_of_what_they_mean(data, parameters):
    try:
        decoded = decode_update(data, parameters)
    except InvalidUpdate:
        return
    assert encode_update(decoded) == data


def test_dense_bytes_are_as_the_page_says():
    delta = np.array([1, -1, DELTA_MAX], dtype=np.int64)
    expected = b"\x00" + b"\x03\x00\x00\x00" + b"\x01\x00\x00\x00" + b"\xff\xff\xff\xff" + b"\xfe\xff\xff\x00"
    assert encode_update(delta, DENSE) == expected


@pytest.mark.parametrize("value", [DELTA_MAX + 1, -DELTA_MAX - 1, 2**31 - 1, -(2**31)])
def test_values_out_of_range_are_malformed(value):
    header = encode_update(np.zeros(1, dtype=np.int64))[:5]
    with pytest.raises(InvalidUpdate, match=str(abs(value))):
        decode_update(header + value.to_bytes(4, "little", signed=True), 1)
    with pytest.raises(InvalidUpdate, match=str(abs(value))):
        encode_update(np.array([value], dtype=np.int64))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:4],
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: b"\x01" + data[1:],
        lambda data: b"\xff" + data[1:],
        lambda data: data[:1] + b"\x04" + data[2:],
        lambda data: data[:1] + b"\x02\x00\x00\x00" + data[5:-4],
    ],
)
def test_other_headers_and_lengths_are_malformed(change):
    with pytest.raises(InvalidUpdate):
        decode_update(change(encode_update(np.array([5, -5, 0], dtype=np.int64))), 3)


def test_a_claimed_size_allocates_nothing():
    tracemalloc.start()
    with pytest.raises(InvalidUpdate):
        decode_update(b"\x00\xff\xff\xff\x7f" + bytes(16), 2**31 - 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
