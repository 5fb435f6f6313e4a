"""Home of the values that state had at earlier heights: the last ones in memory, older ones on disk by key.

Each block leaves a record of the values before it. Those of the last heights are in memory, and reading at a height
goes through them. When a block leaves memory and is still to be read, each of its values also gets a record under its
own key and height, so that what a key was before is found by one search however long ago that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from chain.storage.leveldb import Database, Kind
from chain.storage.recent_values import UNKNOWN
from chain.storage.store_records import (
    change_key,
    change_prefix,
    pack_change,
    pack_undo,
    undo_key,
    unpack_change,
    unpack_undo,
)

IN_MEMORY: Final = 128  # heights, however many are kept
DROPPED_AT_ONCE: Final = 10_000  # records

Values = Mapping[bytes, bytes | None]


class History:
    """Earlier values in one database. The store that holds it lets one thread change it, under its lock."""

    def __init__(self, path: Path, database: Database, *, archive: bool, heights: int) -> None:
        """`archive` keeps all from now on, otherwise those of the last `heights`."""
        self._path, self._database = path, database
        self._archive, self._heights = archive, heights
        self._recent: dict[int, Values] = {}  # height -> values before that block
        self.oldest = 0  # the least height at which values can be read

    def load(self, tip: int) -> None:
        """Read the last heights into memory, and drop from the disk what is kept no more."""
        self.oldest = tip
        dropped: dict[bytes, bytes | None] = {}
        for key, _ in self._database.scan(bytes(Kind.UNDO), values=False):
            height = int.from_bytes(key[1:], "big")
            if not self._archive and height <= tip - self._heights:
                dropped |= self._dropped(height)
                if len(dropped) >= DROPPED_AT_ONCE:
                    self._database.write(dropped)
                    dropped = {}
                continue
            self.oldest = min(self.oldest, height - 1)
            if height > tip - IN_MEMORY and (previous := self.before(height)) is not None:
                self._recent[height] = previous
        self._database.write(dropped)

    def clear(self) -> None:
        self._recent.clear()
        self.oldest = 0

    # ------------------------------------------------------------------------------------------------------ writing

    def records(self, height: int, previous: Values) -> dict[bytes, bytes | None]:
        """What goes to disk with a block: the values before it, and what becomes of older ones."""
        found: dict[bytes, bytes | None] = {undo_key(height): pack_undo(previous)}
        leaving = height - IN_MEMORY
        if (self._archive or self._heights > IN_MEMORY) and leaving in self._recent:
            found |= {change_key(key, leaving): pack_change(value) for key, value in self._recent[leaving].items()}
        if not self._archive and height > self._heights:
            found |= self._dropped(height - self._heights)
        return found

    def _dropped(self, height: int) -> dict[bytes, bytes | None]:
        """The records of a height that is kept no more."""
        found: dict[bytes, bytes | None] = {undo_key(height): None}
        if self._heights > IN_MEMORY or height not in self._recent:
            found |= {change_key(key, height): None for key in self.before(height) or ()}
        return found

    def begin(self, height: int, previous: Values) -> None:
        """A block is being written: who reads at earlier heights finds these, whatever the disk has already."""
        self._recent[height] = previous

    def abandon(self, height: int) -> None:
        del self._recent[height]

    def publish(self, height: int, *, first: bool) -> None:
        """The block is on disk. Nothing lies before the `first`."""
        if first:
            self.oldest = height
            del self._recent[height]
        elif not self._archive:
            self.oldest = max(self.oldest, height - self._heights)
            self._recent.pop(height - self._heights, None)
        self._recent.pop(height - IN_MEMORY, None)

    # ------------------------------------------------------------------------------------------------------ reading

    def before(self, height: int) -> Values | None:
        """The values before block `height` of the keys that it changed; None if they are not kept."""
        kept = self._recent.get(height)
        if kept is not None:
            return kept
        key = undo_key(height)
        record = self._database.get(key)
        return None if record is None else unpack_undo(self._path, key, record)

    def value_at(self, key: bytes, height: int, tip: int) -> bytes | None:
        """The value after block `height`, UNKNOWN if no block up to `tip`, or under way, has changed it since."""
        remembered = tip - IN_MEMORY
        if height < remembered:
            found = self._database.first_after(change_key(key, height), change_prefix(key))
            if found is not None and int.from_bytes(found[0][-8:], "big") <= remembered:
                return unpack_change(found[1])
        for later in range(max(height, remembered) + 1, tip + 2):
            previous = self._recent.get(later)
            if previous is not None and key in previous:
                return previous[key]
        return UNKNOWN
