"""Home of what waits for a node's replica: bounded in inputs and bytes for peers, not for the node itself."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any, Final

from chain.replication.events import Given, Received

INPUTS_MAX: Final = 20_000  # beyond, peers' messages are dropped, and exchanged again by Status
BYTES_MAX: Final = 64 << 20  # of peers' messages; one always fits an inbox without any
PART_BYTES: Final = 64  # what a message's part takes beside its bytes, about


@dataclass(slots=True)
class Inbox:
    """Inputs in the order in which they came."""

    _inputs: deque[tuple[Given, int]] = field(default_factory=deque)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._inputs)

    def put(self, given: Given) -> None:
        """An input of the node's own, which is never dropped."""
        self._inputs.append((given, 0))

    def put_first(self, given: Given) -> None:
        self._inputs.appendleft((given, 0))

    def offer(self, received: Received) -> bool:
        """Take a peer's message if there is room for it."""
        size = size_of(received.message)
        if len(self._inputs) >= INPUTS_MAX or (self._bytes and self._bytes + size > BYTES_MAX):
            return False
        self._inputs.append((received, size))
        self._bytes += size
        return True

    def take(self, count_max: int) -> list[Given]:
        """The first inputs, which wait no more."""
        taken = [self._inputs.popleft() for _ in range(min(len(self._inputs), count_max))]
        self._bytes -= sum(size for _, size in taken)
        return [given for given, _ in taken]


def size_of(value: Any) -> int:
    """About how many bytes of memory a message, or a part of one, takes."""
    if isinstance(value, bytes):
        return PART_BYTES + len(value)
    if isinstance(value, tuple):
        return PART_BYTES + sum(map(size_of, value))
    if isinstance(value, int):
        return PART_BYTES
    return PART_BYTES + sum(size_of(getattr(value, part.name)) for part in fields(value))
