"""Home of the learning contract's ABI: its functions, views and events, and the coding of calls, results and logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import eth_abi
from eth_abi.exceptions import DecodingError, EncodingError

from chain.crypto import keccak256
from chain.errors import InvalidInput
from chain.types import CONTRACT_ADDRESS, Log

SELECTOR_BYTES = 4
WORD_BYTES = 32
REASON_CHARACTERS_MAX = 512

_FUNCTIONS = """
createTask(bytes spec) payable returns (bytes32 task)
closeTask(bytes32 task)
joinCustody(bytes32 task, bytes32 shardsRoot, bytes32 keyAnchor, uint32 shards) payable
openShard(bytes32 task, uint32 round, bytes32 key)
commitUpdate(bytes32 task, uint32 round, bytes32 base, bytes32 sealedRoot, uint32 size, bytes32 keyHash) payable
revealUpdate(bytes32 task, uint32 round, bytes32 sealedRoot, bytes32 key)
attestHeld(bytes32 task, uint32 round, bytes bitmap)
attest(bytes32 task, uint32 round, bytes32 digest)
settle(bytes32 task, uint32 round, bytes record)
registerValidator(address voteKey) payable
unbond()
withdraw()
submitEvidence(bytes evidence)
voteTask(bytes32 task)
voteCustodian(bytes32 task, address custodian)
task(bytes32 task) view returns (string spec, uint8 status, uint32 round, uint8 phase, bytes32 head, uint64 loss, uint256 escrow)
head(bytes32 task) view returns (bytes32 root, uint32 round, uint64 lossBefore, uint64 lossAfter, uint32 samples, uint64 height)
update(bytes32 sealedRoot) view returns (bytes32 task, uint32 round, address miner, uint8 fate, int256 contribution, uint256 reward, uint256 charge, uint256 cut)
contributionOf(bytes32 task, address miner) view returns (int256 contribution, uint256 rewarded, uint256 charged, uint256 cut, uint32 rounds)
powerOf(address account) view returns (uint256 power, uint256 votingPower)
validators() view returns (address[] accounts, uint256[] power)
"""  # noqa: E501

_EVENTS = """
TaskCreated(bytes32 indexed task, address indexed sponsor)
CustodyJoined(bytes32 indexed task, address indexed custodian, bytes32 shardsRoot, uint32 shards)
UpdateCommitted(bytes32 indexed task, address indexed miner, uint32 round, bytes32 sealedRoot)
UpdateRevealed(bytes32 indexed task, address indexed miner, uint32 round, bytes32 sealedRoot)
ShardOpened(bytes32 indexed task, address indexed custodian, uint32 round)
RoundSettled(bytes32 indexed task, uint32 indexed round, bytes32 parent, bytes32 head, uint64 lossBefore, uint64 lossAfter, uint32 samples)
Rewarded(bytes32 indexed task, address indexed miner, uint32 round, int256 contribution, uint256 amount)
CustodianRewarded(bytes32 indexed task, address indexed custodian, uint32 round, uint256 amount)
Penalised(bytes32 indexed task, address indexed account, uint32 round, uint8 reason, uint256 amount)
ValidatorRegistered(address indexed account)
Unbonding(address indexed account, uint64 height)
Slashed(address indexed account, uint256 amount)
"""  # noqa: E501


class InvalidCalldata(InvalidInput):
    """Bytes that are not the one ABI encoding of a call, a result or a log of the contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A parameter or a result: its name, its ABI type, and whether an event indexes it."""

    name: str
    type: str
    indexed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the contract. `mutability` is `nonpayable`, `payable` or `view`."""

    name: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    mutability: str
    selector: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of the contract and its first topic."""

    name: str
    inputs: tuple[Field, ...]
    topic: bytes


def encode_call(name: str, *arguments: Any) -> bytes:
    """Calldata of a call; addresses and roots are bytes. Asserts on arguments that do not fit their types."""
    function = FUNCTIONS[name]
    return function.selector + _encode(function.inputs, arguments)


def function_of(calldata: bytes) -> Function | None:
    """The function that calldata names, None for an unknown selector or fewer than four bytes."""
    return _BY_SELECTOR.get(calldata[:SELECTOR_BYTES])


def decode_arguments(function: Function, calldata: bytes) -> tuple[Any, ...]:
    """The arguments of a call; addresses are 20 bytes. Raises InvalidCalldata for all but their one encoding."""
    return _decode(function.inputs, calldata[SELECTOR_BYTES:], f"the arguments of {function.name}")


def encode_result(name: str, *values: Any) -> bytes:
    """What a call of the function returns."""
    return _encode(FUNCTIONS[name].outputs, values)


def decode_result(name: str, data: bytes) -> tuple[Any, ...]:
    """The values that a call returned. Raises InvalidCalldata."""
    return _decode(FUNCTIONS[name].outputs, data, f"the result of {name}")


def encode_event(name: str, *values: Any) -> Log:
    """The log of an event, its values in the order of its declaration."""
    event = EVENTS[name]
    assert len(values) == len(event.inputs), (name, values)
    pairs = list(zip(event.inputs, values, strict=True))
    topics = tuple(_encode((field,), (value,)) for field, value in pairs if field.indexed)
    plain = [(field, value) for field, value in pairs if not field.indexed]
    data = _encode([field for field, _ in plain], [value for _, value in plain])
    return Log(address=CONTRACT_ADDRESS, topics=(event.topic, *topics), data=data)


def decode_event(log: Log) -> tuple[str, dict[str, Any]]:
    """An event's name and values by name. Raises InvalidCalldata where the log is none of the contract's."""
    event = _BY_TOPIC.get(log.topics[0]) if log.topics else None
    if event is None or log.address != CONTRACT_ADDRESS:
        raise InvalidCalldata(f"the log {log} is not one of the learning contract's events")
    indexed = [field for field in event.inputs if field.indexed]
    plain = [field for field in event.inputs if not field.indexed]
    if len(log.topics) != 1 + len(indexed):
        raise InvalidCalldata(f"{event.name} has {1 + len(indexed)} topics, the log {len(log.topics)}")
    values = _decode(indexed, b"".join(log.topics[1:]), f"the topics of {event.name}")
    named = dict(zip((field.name for field in indexed), values, strict=True))
    rest = _decode(plain, log.data, f"the data of {event.name}")
    named |= zip((field.name for field in plain), rest, strict=True)
    return event.name, {field.name: named[field.name] for field in event.inputs}


def revert_data(reason: str) -> bytes:
    """What a failing call returns: the ABI encoding of `Error(string)`, cut to REASON_CHARACTERS_MAX."""
    return ERROR_SELECTOR + bytes(eth_abi.encode(["string"], [reason[:REASON_CHARACTERS_MAX]]))


def revert_reason(data: bytes) -> str:
    """The reason inside `revert_data`. Raises InvalidCalldata."""
    if data[:SELECTOR_BYTES] != ERROR_SELECTOR:
        raise InvalidCalldata(f"revert data {data[:64].hex()} is not Error(string)")
    (reason,) = _decode((Field(name="reason", type="string"),), data[SELECTOR_BYTES:], "revert data")
    return str(reason)


def contract_abi() -> list[dict[str, Any]]:
    """The ABI as JSON, as solc writes it and as web3.py, ethers and viem read it."""
    functions = [
        {
            "type": "function",
            "name": function.name,
            "stateMutability": function.mutability,
            "inputs": [_field_json(field) for field in function.inputs],
            "outputs": [_field_json(field) for field in function.outputs],
        }
        for function in FUNCTIONS.values()
    ]
    events = [
        {
            "type": "event",
            "name": event.name,
            "anonymous": False,
            "inputs": [_field_json(field) | {"indexed": field.indexed} for field in event.inputs],
        }
        for event in EVENTS.values()
    ]
    return functions + events


def _field_json(field: Field) -> dict[str, Any]:
    return {"name": field.name, "type": field.type, "internalType": field.type}


def _encode(fields: Sequence[Field], values: Sequence[Any]) -> bytes:
    assert len(fields) == len(values), (fields, values)
    return bytes(eth_abi.encode([field.type for field in fields], values))


def _decode(fields: Sequence[Field], data: bytes, what: str) -> tuple[Any, ...]:
    """Encoding again and comparing refuses trailing bytes, gaps, overlaps and dirty padding in one rule."""
    try:
        values = tuple(
            _plain(field.type, value)
            for field, value in zip(fields, eth_abi.decode([f.type for f in fields], data), strict=True)
        )
        again = _encode(fields, values)
    except (DecodingError, EncodingError, UnicodeError, OverflowError) as error:
        raise InvalidCalldata(f"{what} do not decode: {error}") from error
    if again != data:
        raise InvalidCalldata(f"{what} are not canonically encoded: encode them as the ABI says")
    return values


def _plain(kind: str, value: Any) -> Any:
    if kind == "address":
        return bytes.fromhex(value[2:])
    if kind == "address[]":
        return tuple(bytes.fromhex(item[2:]) for item in value)
    return value


# ----------------------------------------------------------------------------------- reading the declarations above


def _fields(text: str) -> tuple[Field, ...]:
    words = [part.split() for part in text.split(",") if part.strip()]
    return tuple(Field(name=word[-1], type=word[0], indexed="indexed" in word) for word in words)


def _signature_hash(name: str, fields: tuple[Field, ...]) -> bytes:
    return keccak256(f"{name}({','.join(field.type for field in fields)})".encode())


def _function(line: str) -> Function:
    match = re.fullmatch(r"(\w+)\((.*?)\)(?: (payable|view))?(?: returns \((.*)\))?", line)
    assert match, line
    inputs = _fields(match[2])
    return Function(
        name=match[1],
        inputs=inputs,
        outputs=_fields(match[4] or ""),
        mutability=match[3] or "nonpayable",
        selector=_signature_hash(match[1], inputs)[:SELECTOR_BYTES],
    )


def _event(line: str) -> Event:
    match = re.fullmatch(r"(\w+)\((.*)\)", line)
    assert match, line
    inputs = _fields(match[2])
    return Event(name=match[1], inputs=inputs, topic=_signature_hash(match[1], inputs))


FUNCTIONS = {function.name: function for function in map(_function, _FUNCTIONS.strip().splitlines())}
EVENTS = {event.name: event for event in map(_event, _EVENTS.strip().splitlines())}
ERROR_SELECTOR = _signature_hash("Error", (Field(name="reason", type="string"),))[:SELECTOR_BYTES]
_BY_SELECTOR = {function.selector: function for function in FUNCTIONS.values()}
_BY_TOPIC = {event.topic: event for event in EVENTS.values()}
assert len(_BY_SELECTOR) == len(FUNCTIONS)
