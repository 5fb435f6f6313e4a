"""Home of the byte encodings that are hashed: domain tags, fixed-width integers and canonical msgpack."""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import msgpack

ACCOUNT_BYTES = 20
HASH_BYTES = 32
AMOUNT_BYTES_MAX = 32
INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1
DEPTH_MAX = 4

Packable: TypeAlias = "int | bytes | list[Packable] | tuple[Packable, ...]"


class InvalidEncoding(ValueError):
    """Bytes from outside that are not the one encoding of a value of the type that was asked for."""


def tag(name: str) -> bytes:
    """The domain separator of everything hashed or sealed under `name`."""
    return b"lyceum/" + name.encode("ascii") + b"/1\x00"


def u32(value: int) -> bytes:
    """Four bytes, big-endian, as integers stand in hashes."""
    assert 0 <= value < 2**32, value
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Eight bytes, big-endian, as integers stand in hashes."""
    assert 0 <= value < 2**64, value
    return value.to_bytes(8, "big")


def sha256(*parts: bytes | memoryview) -> bytes:
    """SHA-256 of the concatenation of the parts; the parts must have fixed widths, or the hash is ambiguous."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def amount_bytes(amount: int) -> bytes:
    """An amount as minimal big-endian bytes; zero is the empty string."""
    assert 0 <= amount < 2 ** (8 * AMOUNT_BYTES_MAX), amount
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")


def pack(value: Packable) -> bytes:
    """The msgpack bytes of nested arrays of integers and byte strings, every header the shortest there is."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes, *, bytes_max: int) -> Any:
    """The value that `pack` turns into exactly `data`: an int, bytes or nested lists of them.

    Raises InvalidEncoding for anything else, and for data longer than `bytes_max` before it is looked at.
    """
    if len(data) > bytes_max:
        raise InvalidEncoding(f"{len(data)} bytes are more than the {bytes_max} allowed: send less")
    try:
        # Every element takes at least a byte, so an array cannot claim more of them than there are bytes.
        value = msgpack.unpackb(data, raw=False, max_array_len=len(data), max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise InvalidEncoding(f"not msgpack ({type(error).__name__}: {error}): encode it again") from error
    _require_plain(value, DEPTH_MAX)
    if pack(value) != data:
        raise InvalidEncoding("not the shortest msgpack of its value: encode it canonically")
    return value


def _require_plain(value: object, depth: int) -> None:
    """Refuse every msgpack type but integers, byte strings and arrays, and nesting deeper than `depth`."""
    if type(value) is list:
        if depth == 0:
            raise InvalidEncoding(f"arrays nested deeper than {DEPTH_MAX}: no value here is that deep")
        for element in value:
            _require_plain(element, depth - 1)
    elif type(value) is not int and type(value) is not bytes:
        raise InvalidEncoding(f"a {type(value).__name__} where only integers, bytes and arrays may stand")


def take_integer(value: object, name: str, low: int, high: int) -> int:
    """`value` as an integer within [low, high]; raises InvalidEncoding naming the field."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidEncoding(f"{name} is {value!r}, not an integer from {low} to {high}")
    return value


def take_bytes(value: object, name: str, length: int) -> bytes:
    """`value` as exactly `length` bytes; raises InvalidEncoding naming the field."""
    if type(value) is not bytes or len(value) != length:
        raise InvalidEncoding(f"{name} is {value!r}, not {length} bytes")
    return value


def take_amount(value: object, name: str) -> int:
    """`value` as an amount in minimal big-endian bytes; raises InvalidEncoding naming the field."""
    if type(value) is not bytes or len(value) > AMOUNT_BYTES_MAX or value[:1] == b"\x00":
        raise InvalidEncoding(f"{name} is {value!r}, not an amount in at most {AMOUNT_BYTES_MAX} minimal bytes")
    return int.from_bytes(value, "big")


def take_array(value: object, name: str, low: int, high: int) -> list[Any]:
    """`value` as an array of `low` to `high` elements; raises InvalidEncoding naming the field."""
    if type(value) is not list or not low <= len(value) <= high:
        raise InvalidEncoding(f"{name} is not an array of {low} to {high} elements")
    return value
