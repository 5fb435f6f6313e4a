"""Home of a hostile node's connections: the nodes' own TLS, handshake and frames, at as little cost to it as can be.

Its WebSocket is written out here, with masks of zeros, so that what is sent is made once and the sender's work is
TLS alone: two cores carry the nodes and whoever attacks them.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Iterable

from chain.crypto import sha256
from chain.keys import new_key
from chain.network.frames import FrameReader, FrameWriter
from chain.network.handshake import HandshakeFailed, Hello, Own, dial
from chain.network.identity import client_context
from chain.network.messages import Message, encode

HOST = "127.0.0.1"
TRY_SECONDS = 10.0
UNSENT_BYTES_MAX = 128 << 10  # of one connection, in this process: what waits here burdens nobody
_BINARY, _CLOSE = 2, 8
_TLS = client_context()

Refusal = (OSError, HandshakeFailed, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
"""What ends a connection, or prevents it."""


class Connection:
    """An open WebSocket over TLS to a node. It is a handshake's channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(UNSENT_BYTES_MAX)

    @property
    def has_room(self) -> bool:
        """Whether the node is there and reads: less waits than may."""
        return (
            not self._writer.transport.is_closing()
            and self._writer.transport.get_write_buffer_size() < UNSENT_BYTES_MAX
        )

    async def send(self, data: bytes) -> None:
        """One WebSocket message. Raises OSError."""
        await self.send_raw(masked(data))

    def write(self, data: bytes) -> None:
        """Bytes inside TLS as they are, some time; look at `has_room` before."""
        self._writer.write(data)

    async def send_raw(self, data: bytes) -> None:
        """Bytes inside TLS as they are; waits while the node does not read. Raises OSError."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """The next binary message. Raises HandshakeFailed where the node closes, IncompleteReadError where it goes."""
        while True:
            first, second = await self._reader.readexactly(2)
            length = second & 127
            if length > 125:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            data = await self._reader.readexactly(length)
            if first & 15 == _CLOSE:
                raise HandshakeFailed(data[2:].decode(errors="replace") or "it closed")
            if first & 15 == _BINARY:
                return data

    async def discard(self) -> None:
        """Read whatever comes until the node ends the connection."""
        while await self._reader.read(1 << 18):
            pass

    def close(self) -> None:
        self._writer.transport.abort()


async def open_tcp(port: int) -> Connection:
    """Nothing but a socket, over which nothing has been said. Raises OSError."""
    return Connection(*await asyncio.open_connection(HOST, port))


async def open_tls(port: int) -> Connection:
    """TLS, and nothing said in it. Raises OSError, TimeoutError."""
    async with asyncio.timeout(TRY_SECONDS):
        return Connection(*await asyncio.open_connection(HOST, port, ssl=_TLS))


async def open_websocket(port: int) -> Connection:
    """After the upgrade, before the handshake. Raises what `Refusal` names."""
    connection = await open_tls(port)
    try:
        async with asyncio.timeout(TRY_SECONDS):
            key = base64.b64encode(secrets.token_bytes(16)).decode()
            lines = f"GET / HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            await connection.send_raw(f"{lines}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
            answer = await connection._reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in answer.partition(b"\r\n")[0]:
                raise HandshakeFailed("no upgrade")
            return connection
    except BaseException:
        connection.close()
        raise


async def open_peer(port: int, genesis: bytes) -> Connection:
    """A peer with a fresh node key, welcomed. Raises what `Refusal` names."""
    connection = await open_websocket(port)
    try:
        async with asyncio.timeout(TRY_SECONDS):
            certificate = connection._writer.get_extra_info("ssl_object").getpeercert(True)
            own = Own(key=new_key(), genesis=genesis, host=b"", port=0, judge=_anybody)
            await dial(connection, own, sha256(certificate))
            return connection
    except BaseException:
        connection.close()
        raise


def _anybody(_: Hello) -> None:
    """Whoever listens will do."""


class Frames:
    """The frames that a node sends over a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._reader = connection, FrameReader()

    async def next(self) -> list[bytes]:
        """Those that the next message completes, often none. Raises what `Refusal` names."""
        return self._reader.feed(await self._connection.receive())


def masked(data: bytes) -> bytes:
    """A client's WebSocket message with a mask of zeros, which leaves it as it is."""
    if len(data) < 126:
        head = bytes([0x80 | _BINARY, 0x80 | len(data)])
    elif len(data) < 1 << 16:
        head = bytes([0x80 | _BINARY, 0x80 | 126]) + len(data).to_bytes(2, "big")
    else:
        head = bytes([0x80 | _BINARY, 0x80 | 127]) + len(data).to_bytes(8, "big")
    return head + bytes(4) + data


def on_the_wire(messages: Iterable[Message]) -> bytes:
    """Messages as a peer sends them in one go: frames in pieces, in WebSocket messages."""
    writer = FrameWriter()
    for message in messages:
        writer.add(encode(message))
    parts = []
    while piece := writer.next_piece():
        parts.append(masked(piece))
    return b"".join(parts)
