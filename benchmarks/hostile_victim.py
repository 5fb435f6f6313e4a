"""Home of a node under attack: ways to connect with it, what it tells of itself, and counts of what was done to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.hostile_connection import Connection, Frames, Refusal, open_peer, open_tcp, open_tls, open_websocket
from chain.network.messages import CompactProposal, HaveProposal, InvalidFrame, Status, Votes, decode
from consensus.codec import decode_proposal, decode_vote

LOOK_SECONDS = 1.0  # for a look at a node's height, and until the next


@dataclass(slots=True, kw_only=True)
class Victim:
    """A node under attack, and what was done to it."""

    port: int
    genesis: bytes
    done: Counter[str] = field(default_factory=Counter)
    height: int = 1
    voters: tuple[bytes, ...] = ()

    async def peer(self) -> Connection:
        return await self._opened("peers", open_peer(self.port, self.genesis))

    async def websocket(self) -> Connection:
        return await self._opened("upgraded", open_websocket(self.port))

    async def tls(self) -> Connection:
        return await self._opened("tls", open_tls(self.port))

    async def tcp(self) -> Connection:
        return await self._opened("tcp", open_tcp(self.port))

    async def _opened(self, what: str, opening: Awaitable[Connection]) -> Connection:
        try:
            connection = await opening
        except Refusal:
            self.done[f"{what} refused"] += 1
            raise
        self.done[f"{what} opened"] += 1
        return connection

    def look(self, frame: bytes) -> None:
        """Learn height and voters from what a node says."""
        message = decode(frame)
        if isinstance(message, Status | HaveProposal):
            self.height = max(self.height, message.height)
        elif isinstance(message, CompactProposal):
            self.height = max(self.height, decode_proposal(message.proposal).height)
        elif isinstance(message, Votes):
            votes = [decode_vote(raw) for raw in message.votes]
            self.height = max(self.height, *(vote.height for vote in votes))
            self.voters = tuple(sorted({*self.voters, *(vote.voter for vote in votes)}))


Act = Callable[[Victim], Awaitable[None]]


async def again_and_again(per_second: float, once: Callable[[], Awaitable[None]]) -> None:
    """Do it, and once more when it has ended, at most so often."""
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await once()
        except (*Refusal, InvalidFrame):
            pass  # cut off, as was to be expected
        await asyncio.sleep(max(0.0, started + 1 / per_second - loop.time()))


async def watch(victim: Victim) -> None:
    """Keep a connection that only listens, to know height and voters."""

    async def once() -> None:
        connection = await victim.peer()
        try:
            frames = Frames(connection)
            while True:
                for frame in await frames.next():
                    victim.look(frame)
        finally:
            connection.close()

    await again_and_again(1 / LOOK_SECONDS, once)


async def height_of(victim: Victim) -> int:
    """The height that a node works on, as it tells who connects."""
    while victim.height <= 1:
        connection = await victim.peer()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                frames = Frames(connection)
                while victim.height <= 1:
                    for frame in await frames.next():
                        victim.look(frame)
        except Refusal:
            pass
        finally:
            connection.close()
    return victim.height
