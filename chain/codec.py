"""Home of the canonical encodings: fixed-order msgpack arrays in which one value has one encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgpack

from chain.errors import InvalidInput
from chain.types import Block, Header, Log, Receipt

BLOCK_BYTES_MAX = 1 << 20
HEADER_BYTES_MAX = 2048
AMOUNT_BYTES_MAX = 32


class InvalidEncoding(InvalidInput):
    """Bytes that are not the one encoding of a value."""


def amount_to_bytes(amount: int) -> bytes:
    """Minimal big-endian bytes; zero is empty."""
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")


def amount_from_bytes(data: Any) -> int:
    if type(data) is not bytes or len(data) > AMOUNT_BYTES_MAX or data[:1] == b"\0":
        raise InvalidEncoding(f"an amount must be at most {AMOUNT_BYTES_MAX} minimal big-endian bytes: {data!r:.100}")
    return int.from_bytes(data, "big")


_COMPILED = msgpack.Packer.__module__ == "msgpack._cmsgpack"
_PACKER = msgpack.Packer(use_bin_type=True)


def pack(value: Any) -> bytes:
    """Canonical msgpack of nested tuples/lists of ints, bytes and str: integers are shortest by construction."""
    # Making a packer takes longer than packing. A compiled one is for all threads: no Python code runs within a call.
    packed: bytes = _PACKER.pack(value) if _COMPILED else msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes, *, bytes_max: int) -> Any:
    """The value whose `pack` is `data`; anything else is refused, maps and extensions too.

    Whoever reads the value checks the kind of its parts, by which no float, nil or bool passes for anything else.
    """
    if len(data) > bytes_max:
        raise InvalidEncoding(f"{len(data)} bytes, at most {bytes_max} are allowed")
    try:
        value = msgpack.unpackb(
            data,
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_map_len=0,
            max_ext_len=0,
            object_pairs_hook=_refuse_map,
        )
    except Exception as error:
        raise InvalidEncoding(f"not msgpack: {error}") from error
    if pack(value) != data:
        raise InvalidEncoding("not the canonical encoding of its value")
    return value


def _refuse_map(_: object) -> None:
    raise InvalidEncoding("maps are not used")


def expect_array(value: Any, length: int, what: str) -> Sequence[Any]:
    if not isinstance(value, tuple) or len(value) != length:
        raise InvalidEncoding(f"{what} must be an array of {length}")
    return value


def expect_list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, tuple):
        raise InvalidEncoding(f"{what} must be an array")
    return value


def expect_int(value: Any, what: str, maximum: int = 2**64 - 1) -> int:
    if type(value) is not int or not 0 <= value <= maximum:
        raise InvalidEncoding(f"{what} must be an integer from 0 to {maximum}, not {value!r}")
    return value


def expect_bytes(value: Any, length: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) != length:
        raise InvalidEncoding(f"{what} must be {length} bytes")
    return value


# ---------------------------------------------------------------------------------------------- headers and blocks

_HEADER_FIELDS = (
    ("chain_id", 0), ("height", 0), ("time_ms", 0), ("parent", 32), ("proposer", 20), ("transactions_root", 32),
    ("receipts_root", 32), ("state_root", 32), ("weights_root", 32), ("last_commit_root", 32),
    ("validators_hash", 32), ("next_validators_hash", 32), ("gas_used", 0), ("gas_limit", 0), ("base_fee", -1),
    ("logs_bloom", 256),
)  # fmt: skip  # length in bytes; 0 an unsigned 64-bit integer; -1 an amount


def encode_header(header: Header) -> bytes:
    return pack(
        tuple(
            amount_to_bytes(getattr(header, name)) if length < 0 else getattr(header, name)
            for name, length in _HEADER_FIELDS
        )
    )


def decode_header(data: bytes) -> Header:
    values = expect_array(unpack(data, bytes_max=HEADER_BYTES_MAX), len(_HEADER_FIELDS), "a header")
    fields: dict[str, Any] = {}
    for (name, length), value in zip(_HEADER_FIELDS, values, strict=True):
        if length < 0:
            fields[name] = amount_from_bytes(value)
        else:
            fields[name] = expect_bytes(value, length, name) if length else expect_int(value, name)
    return Header(**fields)


def block_hash(header: Header) -> bytes:
    """SHA-256 of the header's encoding: the block's hash and consensus' block id."""
    return hashlib.sha256(encode_header(header)).digest()


def encode_block(block: Block) -> bytes:
    return pack((encode_header(block.header), block.transactions, block.last_commit))


def decode_block(data: bytes, *, bytes_max: int = BLOCK_BYTES_MAX) -> Block:
    values = expect_array(unpack(data, bytes_max=bytes_max), 3, "a block")
    header, transactions, last_commit = values
    if type(header) is not bytes or type(last_commit) is not bytes:
        raise InvalidEncoding("a block must be [header bytes, [transaction bytes], commit bytes]")
    if not all(type(raw) is bytes for raw in expect_list(transactions, "transactions")):
        raise InvalidEncoding("transactions must be byte strings")
    return Block(header=decode_header(header), transactions=transactions, last_commit=last_commit)


# --------------------------------------------------------------------------------------------------------- receipts


def encode_receipt(receipt: Receipt) -> bytes:
    logs = tuple((log.address, log.topics, log.data) for log in receipt.logs)
    return pack((receipt.status, receipt.gas_used, amount_to_bytes(receipt.effective_gas_price), logs))


def decode_receipt(data: bytes, *, bytes_max: int = BLOCK_BYTES_MAX) -> Receipt:
    status, gas_used, price, logs = expect_array(unpack(data, bytes_max=bytes_max), 4, "a receipt")
    return Receipt(
        status=expect_int(status, "status", 1),
        gas_used=expect_int(gas_used, "gas used"),
        effective_gas_price=amount_from_bytes(price),
        logs=tuple(_log(values) for values in expect_list(logs, "logs")),
    )


def _log(values: Any) -> Log:
    address, topics, data = expect_array(values, 3, "a log")
    if type(data) is not bytes:
        raise InvalidEncoding("a log's data must be bytes")
    return Log(
        address=expect_bytes(address, 20, "a log's address"),
        topics=tuple(expect_bytes(topic, 32, "a topic") for topic in expect_list(topics, "topics")),
        data=data,
    )


def encode_receipts(receipts: Sequence[bytes]) -> bytes:
    """Encoded receipts of one block, in order, as the store keeps them."""
    return pack(tuple(receipts))


def decode_receipts(data: bytes) -> tuple[bytes, ...]:
    values = expect_list(unpack(data, bytes_max=1 << 28), "receipts")
    if not all(type(item) is bytes for item in values):
        raise InvalidEncoding("receipts must be byte strings")
    return tuple(values)
