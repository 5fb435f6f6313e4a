"""Home of the distance between two nodes: a TCP relay that passes everything on a fixed time later, each way."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

WAITING_BYTES_MAX = 64 << 20  # on the way in one direction; a sender that is faster waits, as on a long line


class Relay:
    """Listens on a port of this machine and passes connections on to another, `delay_s` later in each direction."""

    def __init__(self, target_port: int, delay_s: float) -> None:
        self._target_port, self._delay_s = target_port, delay_s
        self._server: asyncio.Server | None = None
        self._open: set[_End] = set()
        self.bytes_passed = 0
        self.port = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Inbound(self, self._delay_s), "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for end in list(self._open):
            end.abort()

    async def connect(self, inbound: _Inbound) -> None:
        """Give an accepted connection its other end."""
        loop = asyncio.get_running_loop()
        try:
            _, outbound = await loop.create_connection(
                lambda: _End(self, self._delay_s), "127.0.0.1", self._target_port
            )
        except OSError:
            inbound.abort()
            return
        inbound.join(outbound)
        outbound.join(inbound)

    def opened(self, end: _End) -> None:
        self._open.add(end)

    def closed(self, end: _End) -> None:
        self._open.discard(end)


class _End(asyncio.Protocol):
    """One of a relayed connection's two sockets: what it receives, the other one sends, later."""

    def __init__(self, relay: Relay, delay_s: float) -> None:
        self._relay, self._delay_s = relay, delay_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes]] = deque()  # when it is due, oldest first; empty bytes end it
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._other: _End | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._relay.opened(self)

    def join(self, other: _End) -> None:
        self._other = other
        self._wake()

    def abort(self) -> None:
        self._transport.abort()

    def send(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)
        elif not data:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._relay.bytes_passed += len(data)
        self._put(data)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.closed(self)
        self._put(b"")

    def _put(self, data: bytes) -> None:
        self._waiting.append((self._loop.time() + self._delay_s, data))
        self._waiting_bytes += len(data)
        self._wake()

    def _wake(self) -> None:
        if self._timer is None and self._waiting and self._other is not None:
            self._timer = self._loop.call_at(self._waiting[0][0], self._pass_on)

    def _pass_on(self) -> None:
        assert self._other is not None
        self._timer = None
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._other.send(data)
        if self._waiting_bytes <= WAITING_BYTES_MAX and not self._transport.is_closing():
            self._transport.resume_reading()
        self._wake()


class _Inbound(_End):
    """The accepted socket, which has its other end made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = self._loop.create_task(self._relay.connect(self))
