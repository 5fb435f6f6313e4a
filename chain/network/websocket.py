"""Home of one WebSocket, whichever side opened it: whole messages in and out, and an end that says why."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, TypeAlias

from aiohttp import ClientError, ClientWebSocketResponse, WSMsgType, web

from chain.errors import LyceumError
from chain.network.frames import PIECE_BYTES_MAX

WEBSOCKET_BYTES_MAX: Final = PIECE_BYTES_MAX + 1  # aiohttp takes fewer than this
CLOSE_S: Final = 1.0
_REASON_BYTES_MAX: Final = 120  # a close frame has room for 123
_REFUSED: Final = 4000

WebSocket: TypeAlias = "web.WebSocketResponse | ClientWebSocketResponse"


class ConnectionEnded(LyceumError):
    """The other side has closed the connection, or it broke; the message says how."""


class Socket:
    """A WebSocket that is open."""

    __slots__ = ("_socket", "_transport")

    def __init__(self, socket: WebSocket, transport: asyncio.Transport) -> None:
        self._socket = socket
        self._transport = transport

    async def send(self, data: bytes) -> None:
        """Waits while the other side does not read. Raises ConnectionEnded."""
        try:
            await self._socket.send_bytes(data)
        except (OSError, ClientError, RuntimeError) as error:
            raise ConnectionEnded(f"the connection broke: {error}") from error

    async def receive(self) -> bytes:
        """The next message. Raises ConnectionEnded, also for a message that is none of ours."""
        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            return message.data  # type: ignore[no-any-return]
        raise ConnectionEnded(_why(message.type, message.data, message.extra))

    async def close(self, reason: str, *, deaf: bool = False) -> None:
        """End the connection, telling why if that takes no long. Who is `deaf` reads nothing of what still comes."""
        if deaf:
            with contextlib.suppress(RuntimeError):
                self._transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(TimeoutError, OSError, ClientError, RuntimeError):
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=_REFUSED, message=reason.encode()[:_REASON_BYTES_MAX])
        self._transport.abort()


def _why(kind: WSMsgType, data: object, extra: object) -> str:
    match kind:
        case WSMsgType.CLOSE if extra:
            return f"it closed: {str(extra)[:_REASON_BYTES_MAX]!r}"
        case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED:
            return "it closed"
        case WSMsgType.ERROR:
            return f"the connection broke: {data}"
        case _:
            return f"it sent a {kind.name} message, which is not spoken here"
