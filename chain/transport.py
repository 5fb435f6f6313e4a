"""Home of what a node needs of what is around it: a network to speak through, a gate for what it fetches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chain.network.messages import Message
from chain.types import Block


class Transport(Protocol):
    """What a node needs of a network. Neither method waits or raises."""

    def send(self, peers: Sequence[bytes], message: Message) -> None:
        """Send to those of these peers that are connected."""

    def blame(self, peer: bytes, points: int, reason: str) -> None:
        """Hold something against a peer."""


class Gate(Protocol):
    """What fetched blocks wait for."""

    async def before(self, block: Block) -> None:
        """Return when the block may be committed; raise what stops the node."""


class NoTransport:
    """A node by itself."""

    def send(self, peers: Sequence[bytes], message: Message) -> None:
        raise AssertionError("there are no peers")

    def blame(self, peer: bytes, points: int, reason: str) -> None:
        raise AssertionError("there are no peers")
