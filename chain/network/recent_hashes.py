"""Home of a bounded memory of hashes: what was met lately is known, what was not for long is forgotten."""

from __future__ import annotations

from collections.abc import Iterable


class RecentHashes:
    """Two generations: when the young one is full, or told to `age`, it becomes the old one and the old one is gone.

    So it holds at least the last `hashes_max` hashes, and at most twice as many and one call's more.
    """

    __slots__ = ("_hashes_max", "_old", "_young")

    def __init__(self, hashes_max: int) -> None:
        self._hashes_max = hashes_max
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, hash_: bytes) -> bool:
        return hash_ in self._young or hash_ in self._old

    def __len__(self) -> int:
        """An upper bound: what is in both generations counts twice."""
        return len(self._young) + len(self._old)

    def add(self, hashes: Iterable[bytes]) -> None:
        self._young.update(hashes)
        if len(self._young) >= self._hashes_max:
            self.age()

    def age(self) -> None:
        """Forget the old generation."""
        self._old, self._young = self._young, set()

    def unknown(self, hashes: Iterable[bytes]) -> list[bytes]:
        """Those that are not here, in order."""
        young, old = self._young, self._old
        return [hash_ for hash_ in hashes if hash_ not in young and hash_ not in old]
