"""Home of the dialling side: one address tried, up to a handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import (
    ClientError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ClientWSTimeout,
    DummyCookieJar,
    TCPConnector,
)

from chain.crypto import sha256
from chain.network.handshake import HandshakeFailed, Hello, Own, dial
from chain.network.identity import client_context
from chain.network.websocket import CLOSE_S, WEBSOCKET_BYTES_MAX, Socket


class Dialler:
    """Opens connections, between `start` and `close`."""

    def __init__(self, handshake_s: float) -> None:
        self._handshake_s = handshake_s
        self._session: ClientSession | None = None

    async def start(self) -> None:
        context: ssl.SSLContext = client_context()
        self._session = ClientSession(
            connector=TCPConnector(ssl=context, limit=0, force_close=True, use_dns_cache=False),
            cookie_jar=DummyCookieJar(),
            middlewares=(_refuse_all_but_upgrades,),
            timeout=ClientTimeout(total=None, connect=self._handshake_s),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def dial(
        self,
        host: str,
        port: int,
        own: Callable[[str], Own],
        expected: bytes,
        live: Callable[[Socket, Hello, str], Awaitable[None]],
    ) -> None:
        """Connect, shake hands, and have `live` run the connection until it ends. Raises HandshakeFailed.

        `own(host)` is this node's side, given the numeric address that was reached.
        """
        assert self._session is not None, "the dialler is not started"
        try:
            async with asyncio.timeout(self._handshake_s):
                channel, hello, reached = await self._connect(host, port, own, expected)
        except (OSError, ClientError, TimeoutError) as error:
            raise HandshakeFailed(str(error) or f"no answer in {self._handshake_s:g} s") from error
        await live(channel, hello, reached)

    async def _connect(
        self, host: str, port: int, own: Callable[[str], Own], expected: bytes
    ) -> tuple[Socket, Hello, str]:
        assert self._session is not None
        url = f"wss://{f'[{host}]' if ':' in host else host}:{port}/"
        upgraded = await self._session.ws_connect(
            url,
            timeout=ClientWSTimeout(ws_close=CLOSE_S),  # type: ignore[call-arg]
            autoping=False,
            autoclose=False,
            compress=0,
            max_msg_size=WEBSOCKET_BYTES_MAX,
        )
        connection = upgraded._response.connection  # the only way to its transport, which alone can be aborted
        transport = connection.transport if connection is not None else None
        if transport is None:
            raise HandshakeFailed("it closed at once")
        channel = Socket(upgraded, transport)
        try:
            certificate = transport.get_extra_info("ssl_object").getpeercert(True)
            reached = str(transport.get_extra_info("peername")[0]).removeprefix("::ffff:")
            return channel, await dial(channel, own(reached), sha256(certificate), expected), reached
        except BaseException as error:
            await channel.close(str(error))
            raise


async def _refuse_all_but_upgrades(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """No redirect is followed: a node could make us call anybody."""
    response = await handler(request)
    if response.status != 101:
        response.close()
        raise HandshakeFailed(f"no node listens there: it answered HTTP {response.status}")
    return response
