"""Home of the state of one recent height as a whole, read while the chain goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

from chain.storage.datadir import HistoryPruned
from chain.storage.leveldb import FrozenDatabase


class FrozenState:
    """Every value after one height's block: those on the disk now, and for what changed since, the earlier ones."""

    def __init__(
        self, height: int, database: FrozenDatabase, state_prefix: bytes, earlier: Mapping[bytes, bytes | None]
    ) -> None:
        self.height = height
        self._database, self._prefix, self._earlier = database, state_prefix, earlier

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every flat key with its value, in no order; the same each time. Raises DataDirectoryDamaged."""
        skipped = len(self._prefix)
        for stored, value in self._database.scan(self._prefix):
            if (key := stored[skipped:]) not in self._earlier:
                yield key, value
        for key, before in self._earlier.items():
            if before is not None:
                yield key, before

    def close(self) -> None:
        """Let the database forget what this has kept."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def earlier_values(
    height: int, tip: int, undo: Mapping[int, Mapping[bytes, bytes | None] | None]
) -> dict[bytes, bytes | None]:
    """The values at `height` of all keys that blocks up to `tip` have changed since. Raises HistoryPruned."""
    found: dict[bytes, bytes | None] = {}
    for later in range(height + 1, tip + 1):
        previous = undo[later]
        if previous is None:
            raise HistoryPruned(f"no state is kept for height {height}")
        for key, value in previous.items():
            found.setdefault(key, value)
    return found
