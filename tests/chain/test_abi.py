"""The learning contract's ABI, held against web3.py and against bytes that are not its one encoding."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hexbytes import HexBytes
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3
from web3.types import LogReceipt

from chain import abi
from chain.types import CONTRACT_ADDRESS, Log

CONTRACT = Web3().eth.contract(abi=json.loads(json.dumps(abi.contract_abi())))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bytes32": st.binary(min_size=32, max_size=32),
    "address": st.binary(min_size=20, max_size=20),
    "bytes": st.binary(max_size=100),
    "string": st.text(max_size=40),
    "uint8": st.integers(0, 2**8 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "uint256": st.integers(0, 2**256 - 1),
    "int256": st.integers(-(2**255), 2**255 - 1),
    "address[]": st.lists(st.binary(min_size=20, max_size=20), max_size=3).map(tuple),
    "uint256[]": st.lists(st.integers(0, 2**256 - 1), max_size=3).map(tuple),
}


def values_of(fields: tuple[abi.Field, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*(VALUES[field.type] for field in fields))


def for_web3(fields: tuple[abi.Field, ...], values: tuple[Any, ...]) -> list[Any]:
    return [
        Web3.to_checksum_address(value) if field.type == "address" else value
        for field, value in zip(fields, values, strict=True)
    ]


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_calls_are_encoded_as_web3_encodes_them_and_decode_to_what_was_encoded(data: st.DataObject):
    function = data.draw(st.sampled_from(list(abi.FUNCTIONS.values())))
    arguments = data.draw(values_of(function.inputs))
    calldata = abi.encode_call(function.name, *arguments)
    assert calldata == bytes.fromhex(CONTRACT.encode_abi(function.name, args=for_web3(function.inputs, arguments))[2:])
    assert abi.function_of(calldata) is function
    assert abi.decode_arguments(function, calldata) == arguments


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_results_decode_to_what_was_encoded(data: st.DataObject):
    function = data.draw(st.sampled_from([each for each in abi.FUNCTIONS.values() if each.outputs]))
    values = data.draw(values_of(function.outputs))
    assert abi.decode_result(function.name, abi.encode_result(function.name, *values)) == values


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_events_are_read_by_web3_and_decode_to_what_was_encoded(data: st.DataObject):
    event = data.draw(st.sampled_from(list(abi.EVENTS.values())))
    values = data.draw(values_of(event.inputs))
    log = abi.encode_event(event.name, *values)
    named = dict(zip((field.name for field in event.inputs), values, strict=True))
    assert abi.decode_event(log) == (event.name, named)
    receipt: LogReceipt = {
        "address": Web3.to_checksum_address(log.address),
        "topics": [HexBytes(topic) for topic in log.topics],
        "data": HexBytes(log.data),
        "blockHash": HexBytes(bytes(32)),
        "blockNumber": 1,
        "logIndex": 0,
        "transactionHash": HexBytes(bytes(32)),
        "transactionIndex": 0,
        "removed": False,
    }
    read = CONTRACT.events[event.name]().process_log(receipt)["args"]
    expected = dict(zip(named, for_web3(event.inputs, values), strict=True))
    assert {name: bytes(value) if isinstance(value, HexBytes) else value for name, value in read.items()} == expected


@given(data=st.data(), position=st.integers(0, 10**6), change=st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_no_call_has_two_encodings(data: st.DataObject, position: int, change: int):
    function = data.draw(st.sampled_from([each for each in abi.FUNCTIONS.values() if each.inputs]))
    calldata = bytearray(abi.encode_call(function.name, *data.draw(values_of(function.inputs))))
    calldata[4 + position % (len(calldata) - 4)] ^= change
    try:
        arguments = abi.decode_arguments(function, bytes(calldata))
    except abi.InvalidCalldata:
        return
    assert abi.encode_call(function.name, *arguments) == calldata


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\0",
        lambda data: data + bytes(32),
        lambda data: data[:-1],
        lambda data: data[:4],
        lambda data: data[:36] + b"\1" + data[37:],  # dirt above a uint32
        lambda data: data[:68] + (2**256 - 1).to_bytes(32, "big") + data[100:],  # an offset out of this world
        lambda data: data[:68] + (128).to_bytes(32, "big") + data[100:] + bytes(32),  # a gap before the bytes
        lambda data: data[:-1] + b"\1",  # dirt behind the bytes
        lambda data: data[:100] + (2**64).to_bytes(32, "big") + data[132:],  # more bytes than there are
    ],
)
def test_calldata_that_is_not_the_one_encoding_is_refused(change: Any):
    calldata = abi.encode_call("settle", bytes(32), 7, b"a record")
    assert abi.decode_arguments(abi.FUNCTIONS["settle"], calldata) == (bytes(32), 7, b"a record")
    with pytest.raises(abi.InvalidCalldata):
        abi.decode_arguments(abi.FUNCTIONS["settle"], change(calldata))


def test_an_address_with_dirt_above_is_refused():
    calldata = abi.encode_call("powerOf", b"\7" * 20)
    with pytest.raises(abi.InvalidCalldata):
        abi.decode_arguments(abi.FUNCTIONS["powerOf"], calldata[:4] + b"\1" + calldata[5:])


def test_what_no_function_has_as_selector_is_none():
    assert abi.ERROR_SELECTOR.hex() == "08c379a0"  # that of Error(string), which every wallet knows
    assert abi.function_of(b"\x08\xc3\x79\xa0") is None
    assert abi.function_of(b"") is None


def test_revert_data_is_error_of_string_and_bounded():
    assert abi.revert_data("no").hex() == ("08c379a0" + f"{32:064x}" + f"{2:064x}" + b"no".hex() + "00" * 30)
    assert abi.revert_reason(abi.revert_data("grün")) == "grün"
    assert len(abi.revert_reason(abi.revert_data("x" * 10_000))) == abi.REASON_CHARACTERS_MAX
    with pytest.raises(abi.InvalidCalldata):
        abi.revert_reason(b"\1\2\3\4")


def test_logs_of_others_are_no_events():
    log = abi.encode_event("ValidatorRegistered", bytes(20))
    assert log.address == CONTRACT_ADDRESS
    for other in (
        Log(address=bytes(20), topics=log.topics, data=log.data),
        Log(address=log.address, topics=(), data=b""),
        Log(address=log.address, topics=(bytes(32), log.topics[1]), data=b""),
        Log(address=log.address, topics=log.topics[:1], data=b""),
        Log(address=log.address, topics=log.topics, data=b"\0"),
    ):
        with pytest.raises(abi.InvalidCalldata):
            abi.decode_event(other)
