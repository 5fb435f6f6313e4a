"""Home of saying in which field a settled record differs from the one computed here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from learning.record import Record


def record_difference(settled: bytes, computed: bytes) -> str | None:
    """`FIELD: settled is X, computed here is Y` of the first field that differs in two encoded records, or None."""
    if settled == computed:
        return None
    for name, told, own in _differences("", Record.decode(settled), Record.decode(computed)):
        return f"{name}: settled is {_shown(told)}, computed here is {_shown(own)}"
    raise AssertionError("two encodings of one record")


def _differences(name: str, told: Any, own: Any) -> Iterator[tuple[str, Any, Any]]:
    """The innermost values that differ, with their places, in the record's order."""
    if is_dataclass(told) and is_dataclass(own):
        for item in fields(told):
            place = f"{name}.{item.name}" if name else item.name
            yield from _differences(place, getattr(told, item.name), getattr(own, item.name))
    elif isinstance(told, tuple) and len(told) == len(own):
        for index, pair in enumerate(zip(told, own, strict=True)):
            yield from _differences(f"{name}[{index}]", *pair)
    elif isinstance(told, tuple):
        yield f"number of {name}", len(told), len(own)
    elif told != own:
        yield name, told, own


def _shown(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
