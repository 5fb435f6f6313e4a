"""Home of reading request bodies: never more bytes than allowed, in one body or in all that are under way."""

from __future__ import annotations

import asyncio

from aiohttp import web


class Bodies:
    """Reads bodies. Those that have not come whole with their headers share a bound, and have a time to come."""

    def __init__(self, *, waiting_bytes_max: int, seconds_max: float) -> None:
        self._waiting_bytes_max = waiting_bytes_max
        self._seconds_max = seconds_max
        self._waiting_bytes = 0

    async def read(self, request: web.BaseRequest, bytes_max: int) -> bytes:
        """The body. Raises HTTPRequestEntityTooLarge, HTTPServiceUnavailable or HTTPRequestTimeout."""
        length = request.content_length
        if length is not None and length > bytes_max:
            raise web.HTTPRequestEntityTooLarge(bytes_max, length)
        if request.content.is_eof() and length is not None:
            return await request.content.read()  # as with nearly every call: nothing to wait for
        reserved = bytes_max if length is None else length
        if self._waiting_bytes + reserved > self._waiting_bytes_max:
            raise web.HTTPServiceUnavailable(text="too many large requests at once, try again later\n")
        self._waiting_bytes += reserved
        try:
            async with asyncio.timeout(self._seconds_max):
                return await _read_at_most(request, bytes_max)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body did not come in time\n") from None
        finally:
            self._waiting_bytes -= reserved


async def _read_at_most(request: web.BaseRequest, bytes_max: int) -> bytes:
    received = bytearray()
    async for chunk in request.content.iter_any():
        received += chunk
        if len(received) > bytes_max:
            raise web.HTTPRequestEntityTooLarge(bytes_max, len(received))
    return bytes(received)
