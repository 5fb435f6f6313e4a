"""Home of a peer: another node that has proved who it is, for as long as one connection with it lasts."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Final, Protocol

from chain.errors import LyceumError
from chain.network.frames import FrameReader, FrameWriter
from chain.network.limits import GIVEN, PIECES, Bucket, Meter
from chain.network.messages import ANSWERS, QUESTION_KINDS, InvalidFrame, Message, NotHeld
from chain.network.websocket import ConnectionEnded, Socket

log = logging.getLogger("lyceum.network")

REQUEST_ID_FIRST: Final = 1 << 31  # ids below are the core's own
REQUESTS_MAX: Final = 64  # of ours that one peer has not answered
ANSWERS_MAX: Final = 4  # of a peer's that we work on
ANSWER_BYTES_MAX: Final = 1 << 20  # no new answer while more than this waits to be sent
BLAME_MAX: Final = 100  # points at which a peer is cut off and banned
LATE_MAX: Final = 1024  # questions remembered that were given up: their answers may come yet
UNASKED_POINTS: Final = 20
OVERRUN_S: Final = 20.0  # held back for so long, less half of the time that passes: that is no burst any more
OVERRUN_POINTS: Final = 40


class PeerGone(LyceumError):
    """The connection has ended, and with it what was asked over it."""


class RequestTimedOut(LyceumError):
    """No answer came in time."""


class Hub(Protocol):
    """What a peer needs of the network that holds it."""

    def encode(self, message: Message) -> bytes: ...

    def deliver(self, peer: Peer, frame: bytes) -> None: ...

    def sent(self, frame: bytes) -> None: ...

    def blamed(self, peer: Peer, points: int, reason: str) -> None: ...

    def left(self, peer: Peer, reason: str) -> None: ...


@dataclasses.dataclass(slots=True, kw_only=True)
class Traffic:
    """Counts since the connection began."""

    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Peer:
    """One connection with another node. All of it happens on the event loop."""

    def __init__(
        self, hub: Hub, socket: Socket, *, node: bytes, host: str, port: int, inbound: bool, queue_bytes_max: int
    ) -> None:
        self.id = node  # 20 bytes, the address of its node key
        self.host = host  # numeric
        self.port = port  # where it listens; 0 if it did not say
        self.listens_at = host  # the host that goes with the port, which it may say is another
        self.inbound = inbound
        self.gone: str | None = None  # why, once the connection has ended
        self.since = self.heard = self.spoke = asyncio.get_running_loop().time()
        self.held_back_s = 0.0  # not read from, as it talked too fast
        self._overrun_s = 0.0
        self._overrun_then = self.since
        self.traffic = Traffic()
        self.answering = 0
        self._hub = hub
        self._socket = socket
        self._queue_bytes_max = queue_bytes_max
        self._out = FrameWriter()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._reading = True
        self._deaf = False
        self._waiting: dict[int, tuple[type, asyncio.Future[Message]]] = {}
        self._late: dict[int, None] = {}
        self._next_id = REQUEST_ID_FIRST
        self._request_slots = asyncio.Semaphore(REQUESTS_MAX)
        self._answer_room = asyncio.Event()
        self._given = Bucket(GIVEN, self.since)
        self.gives_from = self.since  # no answer is made before: it has been given its share

    def __repr__(self) -> str:
        return f"0x{self.id.hex()[:8]} at {self.host}:{self.port}"

    # ------------------------------------------------------------------------------------------------ what others use

    @property
    def queued_bytes(self) -> int:
        """What waits to be sent; who sends much looks here first."""
        return self._out.bytes_waiting

    def send(self, message: Message) -> bool:
        """Send, some time; False if the peer is gone, or is dropped by this, as it does not read.

        Messages of consensus arrive in their order, and all others in theirs; the former overtake the latter.
        """
        return self.gone is None and self.send_frame(self._hub.encode(message))

    def send_frame(self, frame: bytes) -> bool:
        """The same with an encoded message."""
        if self.gone is not None:
            return False
        if self._out.bytes_waiting + len(frame) > self._queue_bytes_max:
            self.cut(f"it does not read: {self._out.bytes_waiting} bytes wait")
            return False
        self._out.add(frame)
        self.traffic.frames_out += 1
        self._hub.sent(frame)
        if self._wake is not None:
            self._wake_writer()
        return True

    async def request(self, message: Message, timeout_s: float) -> Message:
        """The answer to a question (a kind in `ANSWERS`; its id is set here), or NotHeld.

        Raises PeerGone, RequestTimedOut. At most REQUESTS_MAX are under way, others wait within their time.
        """
        wanted = ANSWERS[type(message)]
        id_ = self._next_id = self._next_id + 1 if self._next_id < 2 * REQUEST_ID_FIRST - 1 else REQUEST_ID_FIRST
        try:
            async with asyncio.timeout(timeout_s), self._request_slots:
                answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
                self._waiting[id_] = wanted, answer
                if not self.send(dataclasses.replace(message, id=id_)):  # type: ignore[arg-type]
                    raise PeerGone(f"{self!r} is gone: {self.gone}")
                return await answer
        except TimeoutError as error:
            raise RequestTimedOut(f"{self!r} did not answer a {type(message).__name__} in {timeout_s} s") from error
        finally:
            _, given_up = self._waiting.pop(id_, (None, None))
            if given_up is not None and (given_up.cancelled() or not given_up.done()):
                self._late = dict.fromkeys([*self._late, id_][-LATE_MAX:])

    def blame(self, points: int, reason: str) -> None:
        """Count against the node what it did; at BLAME_MAX points, which fade, it is cut off and banned for a time."""
        if self.gone is None:
            self._hub.blamed(self, points, reason)

    def cut(self, reason: str, *, deaf: bool = False) -> None:
        """End the connection. Nothing of it is delivered after this returns, nor even read if `deaf`."""
        if self.gone is not None:
            return
        self.gone, self._deaf = reason, deaf
        self._out.clear()
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(PeerGone(f"{self!r} is gone: {reason}"))
        self._hub.left(self, reason)
        if self._task is not None:
            self._task.cancel()

    # ------------------------------------------------------------------------------------------- what the network uses

    async def run(self) -> None:
        """Live until the connection ends or is cut, and close it."""
        self._task = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait((self._task, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.cut("the node stops")
            for task in (self._task, writer):
                task.cancel()
            results = await asyncio.gather(self._task, writer, return_exceptions=True)
            for error in results:
                if isinstance(error, Exception):
                    log.error("the connection with %r failed here", self, exc_info=error)
            await self._socket.close(self.gone or "", deaf=self._deaf)

    def take_answer(self, message: Message) -> bool:
        """Give a message to who waits for it; False if it is no answer to a question asked with `request`."""
        id_ = getattr(message, "id", 0)
        if id_ < REQUEST_ID_FIRST or type(message) in ANSWERS:
            return False
        wanted, answer = self._waiting.get(id_, (None, None))
        if answer is None or answer.done():
            if id_ in self._late:
                del self._late[id_]  # nobody waits any more
            else:
                self.blame(UNASKED_POINTS, f"a {type(message).__name__} that nobody has asked for")
            return True
        if type(message) is not wanted and type(message) is not NotHeld:
            raise InvalidFrame(f"a {type(message).__name__} is no answer to what was asked")
        answer.set_result(message)
        return True

    def give(self, answer: Message) -> None:
        """Send an answer, on the peer's account."""
        frame = self._hub.encode(answer)
        now = asyncio.get_running_loop().time()
        self.gives_from = now + self._given.take(len(frame), now)
        self.send_frame(frame)

    def answered(self) -> None:
        """One of the peer's questions is dealt with."""
        self.answering -= 1
        self._answer_room.set()

    def look_alive(self, now: float, keepalive_s: float, idle_s: float) -> None:
        """Say something if nothing was said for long; end the connection if nothing was heard while we listened."""
        if self._reading and now - self.heard > idle_s:
            self.cut(f"nothing came from it for {idle_s:g} s")
        elif self._wake is not None and now - self.spoke > keepalive_s:
            self._wake_writer()

    def _wake_writer(self) -> None:
        assert self._wake is not None
        if not self._wake.done():
            self._wake.set_result(None)
        self._wake = None

    async def _write(self) -> None:
        """Send what waits, all of one turn of the loop together; an empty piece says that the node is there."""
        loop = asyncio.get_running_loop()
        try:
            while self.gone is None:
                if not self._out.bytes_waiting:
                    self._wake = loop.create_future()
                    await self._wake
                piece = self._out.next_piece()
                self.traffic.bytes_out += len(piece)
                await self._socket.send(piece)
                self._answer_room.set()
                self.spoke = loop.time()
        except ConnectionEnded as error:
            self.cut(str(error))

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        reader = FrameReader()
        meter = Meter()
        pieces = Bucket(PIECES, loop.time())
        try:
            while self.gone is None:
                piece = await self._socket.receive()
                self.heard = loop.time()
                self.traffic.bytes_in += len(piece)
                self._reading = False  # what we do not read does not make the peer idle
                await self._hold_back(pieces.take(len(piece), self.heard))
                await self._take(reader.feed(piece), meter)
                self.heard = loop.time()
                self._reading = True
        except ConnectionEnded as error:
            self.cut(str(error))
        except InvalidFrame as error:
            self.blame(BLAME_MAX, str(error))

    async def _take(self, frames: list[bytes], meter: Meter) -> None:
        """Deliver frames, at the rate of their kinds."""
        now = self.heard
        for place, frame in enumerate(frames):
            kind = frame[0]
            if debt_s := meter.take(kind, len(frame), now):
                rest = sum(1 for other in frames[place:] if other[0] == kind)
                if meter.is_flood(kind, rest):
                    raise InvalidFrame(f"{rest} frames of kind {kind} at once")
                await self._hold_back(debt_s)
                now = asyncio.get_running_loop().time()
            if kind in QUESTION_KINDS:
                await self._room_to_answer()
            if self.gone is not None:
                return
            self.traffic.frames_in += 1
            self._hub.deliver(self, frame)

    async def _hold_back(self, debt_s: float) -> None:
        """Do not read for so long; who is held back more than half of the time for long is blamed besides."""
        if not debt_s:
            return
        self.held_back_s += debt_s
        await asyncio.sleep(debt_s)
        now = asyncio.get_running_loop().time()
        self._overrun_s = max(0.0, self._overrun_s - (now - self._overrun_then) / 2) + debt_s
        self._overrun_then = now
        if self._overrun_s > OVERRUN_S:
            self._overrun_s = 0.0
            self.blame(OVERRUN_POINTS, f"it talks too fast, and was held back {self.held_back_s:.0f} s")

    async def _room_to_answer(self) -> None:
        """Wait until fewer answers are under way: who asks and does not read the answers is not read from."""
        while self.answering >= ANSWERS_MAX or self.queued_bytes > ANSWER_BYTES_MAX:
            self._answer_room.clear()
            await self._answer_room.wait()
