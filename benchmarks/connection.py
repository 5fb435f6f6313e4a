"""Home of a kept-alive HTTP connection for JSON-RPC that costs its process next to nothing."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: benchmark\r\nAccept: */*\r\n"
    "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One kept-alive HTTP connection with one request in flight."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._head = _HEAD.format(path=parts.path or "/", host=parts.netloc).encode()
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.WriteTransport

    @classmethod
    async def open(cls, url: str | int) -> Connection:
        """Connect to `http://HOST:PORT`, or to a port of this machine. Raises OSError."""
        url = f"http://127.0.0.1:{url}" if isinstance(url, int) else url
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        host, port = parts.hostname or "", parts.port or 80
        _, connection = await loop.create_connection(lambda: cls(url), host, port)
        return connection

    async def post(self, body: bytes) -> bytes:
        """The body of the answer. Raises ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise ConnectionError("the node closed the connection")
        self._transport.write(self._head % len(body) + body)
        return await self._answer

    async def call(self, method: str, *parameters: Any) -> Any:
        """The result of one call; an error answer raises RuntimeError."""
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
        answer = orjson.loads(await self.post(body))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's has another base

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END)
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        body = self._sized(head, end) if b"content-length:" in head else self._chunked(end)
        if body is not None and self._answer is not None:
            self._received.clear()
            self._answer.set_result(body)

    def _sized(self, head: bytes, end: int) -> bytes | None:
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        complete = len(self._received) >= end + len(_END) + length
        return bytes(self._received[end + len(_END) : end + len(_END) + length]) if complete else None

    def _chunked(self, end: int) -> bytes | None:
        """The body of an answer in chunks, once the last one has come."""
        if not self._received.endswith(b"0\r\n\r\n"):
            return None
        parts: list[bytes] = []
        at = end + len(_END)
        while True:
            line = self._received.find(b"\r\n", at)
            length = int(self._received[at:line], 16)
            if not length:
                return b"".join(parts)
            parts.append(bytes(self._received[line + 2 : line + 2 + length]))
            at = line + 2 + length + 2

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the node closed the connection"))
