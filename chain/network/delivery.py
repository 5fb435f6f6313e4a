"""Home of what becomes of a message that has come: its kind's one owner gets it, or who asked for it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from chain.errors import InvalidInput
from chain.network.messages import ANSWERS, InvalidFrame, Message, NotHeld, decode, encode
from chain.network.peer import BLAME_MAX, UNASKED_POINTS, Peer
from consensus.types import InvalidConsensus

log = logging.getLogger("lyceum.network")

Handler: TypeAlias = Callable[[Peer, Any], None]
Answerer: TypeAlias = Callable[[Peer, Any], Awaitable[Message]]

ANSWERED: Final = frozenset(ANSWERS.values())
WRONG_POINTS: Final = 60  # what its owner finds invalid in a message: twice within some minutes is a ban


class Delivery:
    """The owners of the kinds of messages, and counts of what went through."""

    def __init__(self) -> None:
        self._handlers: dict[type, Handler] = {}
        self._answerers: dict[type, Answerer] = {}
        self._tasks: dict[asyncio.Task[None], Peer] = {}
        self._last: tuple[Message | None, bytes] = (None, b"")
        self.came: dict[int, list[int]] = {}  # kind: frames and bytes
        self.went: dict[int, list[int]] = {}

    def handle(self, kind: type, handler: Handler) -> None:
        assert kind not in {*self._handlers, *self._answerers}, f"{kind.__name__} has its owner"
        self._handlers[kind] = handler

    def answer(self, kind: type, answerer: Answerer) -> None:
        assert kind in ANSWERS, f"{kind.__name__} is no question"
        assert kind not in {*self._handlers, *self._answerers}, f"{kind.__name__} has its owner"
        self._answerers[kind] = answerer

    def encode(self, message: Message) -> bytes:
        """The frame of a message; what goes to many peers one after the other is encoded once."""
        last, frame = self._last
        if message is not last:
            frame = encode(message)
            self._last = message, frame
        return frame

    def deliver(self, peer: Peer, frame: bytes) -> None:
        """Give a frame to its owner. Whatever is wrong with it ends the connection."""
        try:
            message = decode(frame)
            kind = type(message)
            count(self.came, frame)
            if peer.take_answer(message):
                return
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(peer, message)
            elif kind in self._answerers:
                self._start_answer(peer, message)
            elif kind in ANSWERED:
                peer.blame(UNASKED_POINTS, f"a {kind.__name__} that nobody has asked for")
        except InvalidFrame as error:
            peer.blame(BLAME_MAX, str(error))
        except (InvalidInput, InvalidConsensus) as error:
            _wrong(peer, error)
        except Exception as error:
            log.exception("a %s from %r could not be handled", frame[:1].hex(), peer)
            peer.cut(f"an error here: {type(error).__name__}")

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _start_answer(self, peer: Peer, message: Message) -> None:
        peer.answering += 1
        task = asyncio.create_task(self._answer(peer, message))
        self._tasks[task] = peer
        task.add_done_callback(self._answered)

    async def _answer(self, peer: Peer, message: Message) -> None:
        try:
            await _turn_of(peer)
            answer = await self._answerers[type(message)](peer, message)
            assert type(answer) in (ANSWERS[type(message)], NotHeld), f"{answer!r} answers no {message!r}"
            peer.give(answer)
        except (InvalidInput, InvalidConsensus) as error:
            _wrong(peer, error)

    def _answered(self, task: asyncio.Task[None]) -> None:
        peer = self._tasks.pop(task)
        peer.answered()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a question of %r could not be answered", peer, exc_info=error)
            peer.cut(f"an error here: {type(error).__name__}")


async def _turn_of(peer: Peer) -> None:
    """Wait until the peer has been given no more than its share: answers cost their giver most."""
    left_s = peer.gives_from - asyncio.get_running_loop().time()
    if left_s > 0:
        await asyncio.sleep(left_s)


def count(counts: dict[int, list[int]], frame: bytes) -> None:
    """Count a frame by its kind."""
    entry = counts.get(frame[0])
    if entry is None:
        entry = counts[frame[0]] = [0, 0]
    entry[0] += 1
    entry[1] += len(frame)


def _wrong(peer: Peer, error: InvalidInput | InvalidConsensus) -> None:
    peer.blame(WRONG_POINTS, str(error))
    peer.cut(str(error), deaf=True)
