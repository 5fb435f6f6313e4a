"""Home of how dataclasses become state values: a kind for each field, canonical arrays, every size bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Generic, TypeVar

from chain.codec import (
    InvalidEncoding,
    amount_from_bytes,
    amount_to_bytes,
    expect_array,
    expect_bytes,
    expect_int,
    pack,
    unpack,
)

T = TypeVar("T")
VALUE_BYTES_MAX = 1 << 22


@dataclass(frozen=True, slots=True)
class Kind:
    """How a field is written as a msgpack value, and read back with its bounds checked (name of the field second)."""

    write: Callable[[Any], Any]
    read: Callable[[Any, str], Any]


def _same(value: Any) -> Any:
    return value


def _read_signed(value: Any, what: str) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise InvalidEncoding(f"{what} must be a signed 64-bit integer, not {value!r}")
    return value


def _read_amount(value: Any, what: str) -> int:
    if type(value) is not bytes:
        raise InvalidEncoding(f"{what} must be an amount, not {value!r}")
    return amount_from_bytes(value)


def fixed(length: int) -> Kind:
    """Exactly so many bytes."""
    return Kind(_same, lambda value, what: expect_bytes(value, length, what))


def optional(length: int) -> Kind:
    """Exactly so many bytes, or none."""
    return Kind(_same, lambda value, what: value if value == b"" else expect_bytes(value, length, what))


def blob(length_max: int) -> Kind:
    """At most so many bytes."""

    def read(value: Any, what: str) -> bytes:
        if type(value) is not bytes or len(value) > length_max:
            raise InvalidEncoding(f"{what} must be at most {length_max} bytes")
        return value

    return Kind(_same, read)


def array(kind: Kind, length_max: int) -> Kind:
    """A tuple of at most so many values of one kind."""

    def read(value: Any, what: str) -> tuple[Any, ...]:
        if not isinstance(value, tuple) or len(value) > length_max:
            raise InvalidEncoding(f"{what} must be an array of at most {length_max}")
        return tuple([kind.read(item, what) for item in value])

    return Kind(lambda values: tuple([kind.write(item) for item in values]), read)


def pair(first: Kind, second: Kind) -> Kind:
    """A tuple of two."""

    def read(value: Any, what: str) -> tuple[Any, Any]:
        one, two = expect_array(value, 2, what)
        return first.read(one, what), second.read(two, what)

    return Kind(lambda value: (first.write(value[0]), second.write(value[1])), read)


UINT = Kind(_same, expect_int)
SIGNED = Kind(_same, _read_signed)
AMOUNT = Kind(amount_to_bytes, _read_amount)
HASH = fixed(32)
ADDRESS = fixed(20)
MAYBE_HASH = optional(32)


class Layout(Generic[T]):
    """The encoding of a dataclass: its fields in order. `kind` lets it stand inside another."""

    def __init__(self, cls: type[T], **kinds: Kind) -> None:
        assert tuple(kinds) == tuple(item.name for item in fields(cls)), cls  # type: ignore[arg-type]
        self._cls = cls
        self._names = tuple(kinds)
        get = attrgetter(*kinds)
        self._get = get if len(kinds) > 1 else lambda value: (get(value),)  # of one name it is no tuple
        self._writes = tuple(kind.write for kind in kinds.values())
        self._reads = tuple((name, kind.read) for name, kind in kinds.items())
        self.kind = Kind(self._write, self._read)

    def encode(self, value: T) -> bytes:
        encoded = pack(self._write(value))
        assert len(encoded) <= VALUE_BYTES_MAX, f"a {self._cls.__name__} of {len(encoded)} bytes"
        return encoded

    def decode(self, data: bytes) -> T:
        """The value of these bytes. Raises InvalidEncoding naming the field."""
        return self._read(unpack(data, bytes_max=VALUE_BYTES_MAX), self._cls.__name__)  # type: ignore[no-any-return]

    def _write(self, value: T) -> tuple[Any, ...]:
        return tuple([write(item) for write, item in zip(self._writes, self._get(value), strict=True)])

    def _read(self, value: Any, what: str) -> Any:
        items = expect_array(value, len(self._reads), what)
        found = {name: read(item, name) for (name, read), item in zip(self._reads, items, strict=True)}
        return self._cls(**found)
