"""Home of what gossip asks of a network: peers that are told, asked and blamed. `chain.network.network` gives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from chain.network.messages import Message

# Points of blame: at 100 a peer is cut off, and one fades in ten seconds.
BLAME_SLOW: Final = 5  # did not answer a question in time: a busy machine may not, a few times
BLAME_WITHHELD: Final = 10  # does not give anything of what it told that it has
BLAME_PARTLY_WITHHELD: Final = 1  # a transaction may leave the pool between telling and giving
BLAME_LIED: Final = 100  # sent what no honest node sends

PAUSE_FIRST_S: Final = 1.0
PAUSE_MAX_S: Final = 15.0


def pause_s(failures: int) -> float:
    """For how long a peer is not asked after so many failures running: who is quicker is asked meanwhile."""
    return min(PAUSE_FIRST_S * 2 ** (failures - 1), PAUSE_MAX_S) if failures else 0.0


class Peer(Protocol):
    """A node at the other end of a connection."""

    @property
    def id(self) -> bytes: ...

    @property
    def inbound(self) -> bool: ...

    def send(self, message: Message) -> bool: ...

    async def request(self, message: Message, timeout_s: float) -> Message: ...

    def blame(self, points: int, reason: str) -> None: ...


class Network(Protocol):
    """What connects peers: handlers of messages and questions, and who comes and goes."""

    connected: list[Callable[[Any], None]]
    gone: list[Callable[[Any], None]]

    def handle(self, kind: type, handler: Callable[[Any, Any], None]) -> None: ...

    def answer(self, kind: type, handler: Callable[[Any, Any], Awaitable[Message]]) -> None: ...
