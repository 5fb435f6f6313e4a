"""Home of RLP, Ethereum's encoding of nested lists of byte strings (yellow paper, appendix B).

Only the canonical encoding of a value decodes: every length is in its shortest form, a single byte below 0x80
stands for itself, and nothing is left over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from chain.errors import InvalidInput

Item: TypeAlias = bytes | list["Item"]
Encodable: TypeAlias = bytes | Sequence["Encodable"]

DEPTH_MAX = 32


class InvalidRlp(InvalidInput):
    """Bytes that are not the canonical encoding of one item; the message names the offset."""


def decode(data: bytes, start: int = 0, *, depth_max: int = DEPTH_MAX) -> Item:
    """The one item that `data[start:]` encodes: bytes, or a list of items nested at most `depth_max` deep.

    Work and memory are linear in the length of the data. Raises InvalidRlp.
    """
    items = _decode_items(data, start, len(data), depth_max + 1)
    if len(items) != 1:
        raise InvalidRlp(f"rlp: {len(items)} items after one another, exactly 1 is expected")
    return items[0]


def _decode_items(data: bytes, at: int, end: int, depth: int) -> list[Item]:
    """The items whose encodings fill `data[at:end]`."""
    if not depth:
        raise InvalidRlp(f"rlp: nested too deep at byte {at}")
    items: list[Item] = []
    while at < end:
        prefix = data[at]
        at += 1
        if prefix < 0x80:
            items.append(data[at - 1 : at])
            continue
        if prefix <= 0xB7:
            stop = at + prefix - 0x80
        elif 0xC0 <= prefix <= 0xF7:
            stop = at + prefix - 0xC0
        else:
            at, stop = _decode_length(data, at, end, prefix - (0xB7 if prefix < 0xC0 else 0xF7))
        if stop > end:
            raise InvalidRlp(f"rlp: an item ends at byte {stop}, what holds it at byte {end}")
        if prefix >= 0xC0:
            items.append(_decode_items(data, at, stop, depth - 1))
        elif prefix == 0x81 and data[at] < 0x80:
            raise InvalidRlp(f"rlp: non-canonical single byte at byte {at}")
        else:
            items.append(data[at:stop])
        at = stop
    return items


def _decode_length(data: bytes, at: int, end: int, size: int) -> tuple[int, int]:
    """(start, stop) of a payload whose length stands in `size` bytes at `at`."""
    start = at + size
    length = int.from_bytes(data[at:start], "big")
    if start > end or data[at] == 0 or length < 56:
        raise InvalidRlp(f"rlp: truncated or non-canonical length at byte {at}")
    return start, start + length


def decode_integer(item: Item, bytes_max: int, name: str) -> int:
    """The unsigned integer of an item: at most `bytes_max` big-endian bytes, no leading zero; empty is 0."""
    if type(item) is not bytes:
        raise InvalidRlp(f"rlp: {name} must be an integer, not a list")
    if item[:1] == b"\0":
        raise InvalidRlp(f"rlp: {name} has leading zeros: {item.hex()}")
    if len(item) > bytes_max:
        raise InvalidRlp(f"rlp: {name} has {len(item)} bytes, at most {bytes_max} are allowed")
    return int.from_bytes(item, "big")


def encode(item: Encodable) -> bytes:
    """The canonical encoding of bytes or of a nested sequence of them."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return encode_head(len(item), 0x80) + item
    return encode_list(b"".join([encode(child) for child in item]))


def encode_list(payload: bytes) -> bytes:
    """A list, given the concatenated encodings of its items."""
    return encode_head(len(payload), 0xC0) + payload


def encode_head(length: int, offset: int) -> bytes:
    """What stands before a payload; `offset` is 0x80 for bytes, 0xC0 for a list."""
    if length < 56:
        return bytes((offset + length,))
    size = (length.bit_length() + 7) // 8
    return bytes((offset + 55 + size,)) + length.to_bytes(size, "big")


def encode_integer(value: int) -> bytes:
    """The encoding of an unsigned integer: its minimal big-endian bytes, none for 0."""
    if value < 0x80:
        return bytes((value,)) if value else b"\x80"
    size = (value.bit_length() + 7) // 8
    return encode_head(size, 0x80) + value.to_bytes(size, "big")
