"""Home of what peers say of the next height before it starts here: a little of each, as it can not be checked yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chain.network.messages import CompactProposal, HaveProposal, WholeProposal

PER_PEER_MAX: Final = 2
BYTES_MAX: Final = 16 << 20

Early: TypeAlias = CompactProposal | WholeProposal | HaveProposal


@dataclass(slots=True)
class WaitingRoom:
    """The last messages of each peer about one height."""

    height: int = 0
    _messages: dict[bytes, tuple[Early, ...]] = field(default_factory=dict)

    def keep(self, peer: bytes, message: Early, height: int) -> None:
        """Keep a message about the coming height, if there is room."""
        if height != self.height:
            self.height, self._messages = height, {}
        kept = (*self._messages.get(peer, ()), message)[-PER_PEER_MAX:]
        others = sum(_size(row) for other, row in self._messages.items() if other != peer)
        if others + _size(kept) <= BYTES_MAX:
            self._messages[peer] = kept

    def take(self, height: int) -> list[tuple[bytes, Early]]:
        """What came about a height that starts now, in the order of the peers that sent it."""
        messages, self._messages = self._messages, {}
        return [(peer, message) for peer, row in messages.items() for message in row if self.height == height]

    def forget_peer(self, peer: bytes) -> None:
        self._messages.pop(peer, None)


def _size(messages: tuple[Early, ...]) -> int:
    """About the bytes of messages."""
    total = 0
    for message in messages:
        match message:
            case CompactProposal():
                total += len(message.last_commit) + 64 * len(message.hashes)
            case WholeProposal():
                total += len(message.block)
    return total + 500 * len(messages)
