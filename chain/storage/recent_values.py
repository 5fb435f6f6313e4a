"""Home of the bounded cache in front of the state on disk."""

from __future__ import annotations

VALUES_MAX = 1 << 17  # of each of the two generations
VALUE_BYTES_MAX = 1 << 10

UNKNOWN = bytes(bytearray(b"unknown"))  # an object of its own, told apart by `is`


class RecentValues:
    """Values read or written lately, in two generations: when the young one is full, the old one is forgotten.

    Any thread may call `young` and `old`; `put` is for one thread at a time.
    """

    def __init__(self, values_max: int = VALUES_MAX) -> None:
        self._values_max = values_max
        self._young: dict[bytes, bytes | None] = {}
        self._old: dict[bytes, bytes | None] = {}

    def young(self, key: bytes) -> bytes | None:
        """The value, None for a key known to have none, UNKNOWN if it isn't here."""
        return self._young.get(key, UNKNOWN)

    def old(self, key: bytes) -> bytes | None:
        """As `young`; what is found here should be `put` again, or it is forgotten next."""
        return self._old.get(key, UNKNOWN)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Remember a value; a large one is forgotten instead."""
        if value is not None and len(value) > VALUE_BYTES_MAX:
            self._young.pop(key, None)
            self._old.pop(key, None)
            return
        self._young[key] = value
        if len(self._young) >= self._values_max:
            self._old, self._young = self._young, {}
