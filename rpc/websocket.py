"""Home of one WebSocket connection: calls come in and are answered side by side, notifications go out, all bounded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

from aiohttp import WSCloseCode, WSMsgType, web

from rpc.dispatch import Dispatcher
from rpc.limits import Settings
from rpc.subscriptions import Subscription, Subscriptions

log = logging.getLogger("lyceum.rpc")


class WebSocketConnection:
    """A client's connection. What it is sent is queued, and who reads too slowly is cut off."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        dispatcher: Dispatcher,
        subscriptions: Subscriptions,
        settings: Settings,
        allow: Callable[[int], bool] | None,
    ) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self._socket = socket
        self._dispatcher = dispatcher
        self._all_subscriptions = subscriptions
        self._settings = settings
        self._allow = allow
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._queued = asyncio.Event()
        self._overflowed = False
        self._slots = asyncio.Semaphore(settings.websocket_calls_max)
        self._answering: set[asyncio.Task[None]] = set()

    def send(self, message: bytes) -> None:
        """Queue a message; a connection whose queue is full is closed instead."""
        if self._overflowed:
            return
        self._queued_bytes += len(message)
        if self._queued_bytes > self._settings.websocket_queue_bytes_max:
            self._overflowed = True
            self._queue.clear()
        else:
            self._queue.append(message)
        self._queued.set()

    async def serve(self) -> None:
        """Answer until the client or `close` ends the connection."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                    await self._slots.acquire()
                    task = asyncio.create_task(self._answer(message.data))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
        finally:
            self._all_subscriptions.forget(self)
            for task in (writer, *self._answering):
                task.cancel()
            await asyncio.gather(writer, *self._answering, return_exceptions=True)

    async def close(self) -> None:
        await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"the node is stopping")

    async def _answer(self, body: bytes | str) -> None:
        try:
            response = await self._dispatcher.answer(body, self, self._allow)
            if response is not None:
                self.send(response)
        finally:
            self._slots.release()

    async def _write(self) -> None:
        """Send what is queued, in order; web3.py's binary requests are answered in text like all others."""
        with contextlib.suppress(ConnectionError):
            while True:
                await self._queued.wait()
                self._queued.clear()
                while self._queue:
                    message = self._queue.popleft()
                    await self._socket.send_frame(message, WSMsgType.TEXT)
                    self._queued_bytes -= len(message)
                if self._overflowed:
                    log.info("a WebSocket client reads too slowly and is cut off")
                    await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too slow a reader")
                    return
