"""Home of what a replay of history works on: the state in memory, and the difference that ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chain.errors import LyceumError


class Different(LyceumError):
    """The first difference between what a directory holds and what its history gives; names height and field."""

    def __init__(self, height: int, field_: str, what: str) -> None:
        super().__init__(f"height {height}: {field_}: {what}")
        self.height, self.field = height, field_


@dataclass(slots=True)
class ReplayedState:
    """A state in memory, as a `chain.state.View`."""

    values: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def change(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value


def compare(height: int, name: str, held: bytes | None, expected: bytes) -> None:
    """Raises Different where a stored record is not what its history gives."""
    if held != expected:
        raise Different(height, name, "it is missing" if held is None else "it is not what its history gives")


def describe_key(key: bytes) -> str:
    """A flat key in words."""
    names = {"a": "account", "t": "specification of task", "T": "task", "r": "round of task", "u": "update"}
    names |= {
        "c": "custodian of task",
        "m": "miner of task",
        "v": "validator",
        "k": "vote key",
        "g": "the global record",
    }
    kind, rest = chr(key[0]), key[1:]
    shown = repr(rest)[2:-1] if kind == "g" else "0x" + rest.hex()
    return f"{names.get(kind, kind)} {shown}"
