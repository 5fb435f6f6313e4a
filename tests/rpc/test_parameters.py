"""Home of the tests of call parameters: what is read, what is refused, and in which words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpc import parameters as parse
from rpc.execution import message
from rpc.logs import log_filter
from rpc.parameters import InvalidParameter

HASH = "0x" + "ab" * 32
ADDRESS = "0x" + "Ab" * 20


@pytest.mark.parametrize(
    ("parser", "value", "expected"),
    [
        (parse.data, "0x", b""),
        (parse.data, "0X0aFF", b"\x0a\xff"),
        (parse.address, ADDRESS, b"\xab" * 20),
        (parse.hash32, HASH, b"\xab" * 32),
        (parse.quantity, "0x0", 0),
        (parse.quantity, "0xFf", 255),
        (parse.quantity, "0x" + "f" * 16, 2**64 - 1),
        (parse.quantity256, "0x" + "f" * 64, 2**256 - 1),
        (parse.count, "0x5", 5),
        (parse.count, "5", 5),
        (parse.count, 5, 5),
        (parse.integer, 7, 7),
        (parse.integer, "0x7", 7),
        (parse.block_number, "latest", "latest"),
        (parse.block_number, "0x10", 16),
        (parse.block_reference, HASH, b"\xab" * 32),
        (parse.block_reference, {"blockHash": HASH, "requireCanonical": True}, b"\xab" * 32),
        (parse.block_reference, {"blockNumber": "0x10"}, 16),
        (parse.block_reference, {"blockNumber": "safe"}, "safe"),
        (parse.storage_slot, "0x1", bytes(31) + b"\x01"),
        (parse.storage_slot, "0x", bytes(32)),
        (parse.percentiles, [0, 12.5, 12.5, 100], (0.0, 12.5, 12.5, 100.0)),
    ],
)
def test_a_value_is_read(parser: Callable[[Any], Any], value: Any, expected: Any) -> None:
    assert parser(value) == expected


@pytest.mark.parametrize(
    ("parser", "value", "words"),
    [
        (parse.data, "ab", "hex string without 0x prefix"),
        (parse.data, "", "empty hex string"),
        (parse.data, "0xa", "hex string of odd length"),
        (parse.data, "0xzz", "invalid hex string"),
        (parse.data, "0xa b ", "invalid hex string"),
        (parse.data, "0xé1", "invalid hex string"),
        (parse.data, 5, "a hex string is needed, not 5"),
        (parse.address, "0x01", "hex string has length 2, want 40 for an address"),
        (parse.hash32, ADDRESS, "hex string has length 40, want 64 for a hash"),
        (parse.quantity, "0x", 'hex string "0x"'),
        (parse.quantity, "0x01", "hex number with leading zero digits"),
        (parse.quantity, "0x1_0", "invalid hex string"),
        (parse.quantity, "0x-1", "invalid hex string"),
        (parse.quantity, "0x1" + "0" * 16, "hex number > 64 bits"),
        (parse.quantity256, "0x1" + "0" * 64, "hex number > 256 bits"),
        (parse.quantity, "0x" + "1" * 100_000, "hex number > 64 bits"),
        (parse.quantity, "12", "hex string without 0x prefix"),
        (parse.quantity, True, "a hex string is needed, not True"),
        (parse.integer, -1, "an integer from 0 to 2^64-1 is needed, not -1"),
        (parse.block_number, "newest", "hex string without 0x prefix"),
        (parse.block_reference, {}, "a block object needs blockNumber or blockHash"),
        (
            parse.block_reference,
            {"blockNumber": "0x1", "blockHash": HASH},
            "cannot specify both BlockHash and BlockNumber, choose one or the other",
        ),
        (parse.boolean, "true", "true or false is needed, not 'true'"),
        (parse.storage_slot, "0x" + "0" * 65, "storage key too long (want at most 32 bytes)"),
        (parse.percentiles, [5, 4], "invalid reward percentile: #0:5 >= #1:4"),
        (parse.percentiles, [101], "invalid reward percentile: 101"),
        (parse.percentiles, ["1"], "invalid reward percentile: '1'"),
        (parse.percentiles, [1] * 101, "over the query limit 100"),
        (message, {"from": "0x1"}, "from: hex string has length 1"),
        (message, {"data": "0x01", "input": "0x02"}, 'both "data" and "input" are set and not equal'),
        (message, {"gasPrice": "0x1", "maxFeePerGas": "0x1"}, "both gasPrice and (maxFeePerGas"),
        (
            message,
            {"maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2"},
            "maxFeePerGas (1) < maxPriorityFeePerGas (2)",
        ),
        (message, [], "a transaction object is needed, not []"),
        (log_filter, {"blockHash": HASH, "fromBlock": "0x1"}, "cannot specify both BlockHash and FromBlock/ToBlock"),
        (log_filter, {"topics": [None] * 5}, "exceed max topics"),
        (log_filter, {"topics": ["0x01"]}, "expected 32 for topic"),
        (log_filter, {"address": ["0x01"]}, "want 40 for an address"),
    ],
)
def test_a_wrong_value_is_refused_in_words_that_tools_know(
    parser: Callable[[Any], Any], value: Any, words: str
) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        parser(value)
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 250


PARSERS = (
    parse.data, parse.address, parse.hash32, parse.quantity, parse.quantity256, parse.count, parse.integer,
    parse.block_number, parse.block_reference, parse.boolean, parse.text, parse.storage_slot, parse.percentiles,
    message, log_filter,
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.from_regex(r"0x[0-9a-f]{0,70}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["from", "to", "data", "topics", "address", "accessList", "blockHash"]), inner),
    max_leaves=6,
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(PARSERS), VALUES)
def test_no_value_breaks_a_parser(parser: Callable[[Any], Any], value: Any) -> None:
    with contextlib.suppress(InvalidParameter):
        parser(value)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**256 - 1))
def test_a_number_has_one_text(number: int) -> None:
    assert parse.quantity256(hex(number)) == number
    with pytest.raises(InvalidParameter):
        parse.quantity256("0x0" + hex(number)[2:])


@pytest.mark.parametrize("encoded", ["[" * 1020 + "]" * 1020, '{"a":' * 1010 + "1" + "}" * 1010])
def test_a_value_nested_deeper_than_python_can_show_is_refused_like_any_other(encoded: str) -> None:
    with pytest.raises(InvalidParameter):
        parse.data(orjson.loads(encoded))
