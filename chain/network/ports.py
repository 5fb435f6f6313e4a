"""Home of what gossip asks of a network: peers that are told, asked and blamed. `chain.network.network` gives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from chain.network.messages import Message

# Points of blame: at 100 a peer is cut off.
BLAME_SLOW: Final = 10  # did not answer a question in time
BLAME_WITHHELD: Final = 5  # does not give anything of what it told that it has
BLAME_PARTLY_WITHHELD: Final = 1  # a transaction may leave the pool between telling and giving
BLAME_LIED: Final = 100  # sent what no honest node sends


class Peer(Protocol):
    """A node at the other end of a connection."""

    @property
    def id(self) -> bytes: ...

    def send(self, message: Message) -> bool: ...

    async def request(self, message: Message, timeout_s: float) -> Message: ...

    def blame(self, points: int, reason: str) -> None: ...


class Network(Protocol):
    """What connects peers: handlers of messages and questions, and who comes and goes."""

    connected: list[Callable[[Any], None]]
    gone: list[Callable[[Any], None]]

    def handle(self, kind: type, handler: Callable[[Any, Any], None]) -> None: ...

    def answer(self, kind: type, handler: Callable[[Any, Any], Awaitable[Message]]) -> None: ...
