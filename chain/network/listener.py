"""Home of the listening side: sockets taken in while few are unfinished, TLS, the WebSocket upgrade, the handshake."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from chain.network.handshake import HandshakeFailed, Hello, InvalidHandshake, Own, listen
from chain.network.identity import Credentials
from chain.network.limits import Arrivals
from chain.network.ranges import InvalidAddressOfNode, is_local, network_range
from chain.network.settings import CannotListen, NetworkSettings, PortInUse
from chain.network.websocket import CLOSE_S, WEBSOCKET_BYTES_MAX, ConnectionEnded, Socket

log = logging.getLogger("lyceum.network")
_quiet = logging.getLogger("lyceum.network.http")  # strangers' malformed requests are no errors of ours
_quiet.setLevel(logging.CRITICAL)

BACKLOG: Final = 128
HEADER_BYTES_MAX: Final = 2048
HEADERS_MAX: Final = 32
NO_DESCRIPTORS_S: Final = 0.2
RANGES_MAX: Final = 4096


class Listener:
    """Takes connections in, between `start` and `close`."""

    def __init__(
        self,
        settings: NetworkSettings,
        credentials: Credentials,
        own: Callable[[str], Own],
        live: Callable[[Socket, Hello, str], Awaitable[None]],
        banned: Callable[[str], bool],
        blame: Callable[[str, str], None],
    ) -> None:
        """`own(host)` is this node's side of a handshake with that host; `live` has a connection until it ends.

        Nothing is taken from a host that is `banned`; `blame(host, reason)` hears of one that sent what no honest
        node sends.
        """
        self._settings = settings
        self._credentials = credentials
        self._own = own
        self._live = live
        self._banned = banned
        self._blame = blame
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[str] = Counter()
        self._deadlines: dict[asyncio.BaseTransport, tuple[asyncio.TimerHandle, str]] = {}
        self._arrivals = Arrivals(RANGES_MAX)
        self._server: web.Server | None = None
        self.refused = 0  # sockets closed at once, as too many came or were unfinished

    async def start(self) -> int:
        """Listen; the port, which matters where the settings say 0. Raises PortInUse, CannotListen."""
        self._server = web.Server(
            self._handle,
            access_log=None,
            logger=_quiet,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=0,
        )
        host, port = self._settings.host, self._settings.port
        try:
            self._sockets = _bound_sockets(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} on {host} is in use: stop what listens there, or choose another with --p2p-port"
                ) from error
            raise CannotListen(
                f"can't listen on {host!r}, port {port} ({error.strerror}): choose others with --p2p-host and "
                "--p2p-port"
            ) from error
        for listening in self._sockets:
            self._start(self._accept(listening))
        listening_port: int = self._sockets[0].getsockname()[1]
        return listening_port

    async def close(self) -> None:
        """Stop listening, and end what is unfinished. Peers are not touched."""
        for listening in self._sockets:
            listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in list(self._deadlines):
            self._too_late(transport)

    async def end(self) -> None:
        """End the HTTP side of all connections, which are closed by now."""
        if self._server is not None:
            await self._server.shutdown(CLOSE_S)

    @property
    def under_way(self) -> int:
        """Connections whose handshake is not finished."""
        return self._under_way.total()

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------------------------------------------- sockets

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED):
                    raise
                await asyncio.sleep(NO_DESCRIPTORS_S)
                continue
            host = address[0].removeprefix("::ffff:")
            reach = self._room_for(host)
            if reach is None:
                self.refused += 1
                connection.close()
                continue
            self._under_way[reach] += 1
            self._start(self._secure(connection, reach))

    def _room_for(self, host: str) -> str | None:
        """The range of the host, if it is not banned and one more unfinished handshake is bearable from there."""
        settings = self._settings
        try:
            reach = network_range(host)
        except InvalidAddressOfNode:
            return None
        local = is_local(host)
        most = settings.handshakes_per_local_range_max if local else settings.handshakes_per_range_max
        if self._under_way[reach] >= most or self.under_way >= settings.handshakes_max or self._banned(host):
            return None
        per_second = settings.local_arrivals_per_second if local else settings.arrivals_per_second
        return reach if self._arrivals.take(reach, per_second, asyncio.get_running_loop().time()) else None

    async def _secure(self, connection: socket.socket, reach: str) -> None:
        """TLS, within the time for a handshake; what is left of it is for the rest."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.handshake_s
        assert self._server is not None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await loop.connect_accepted_socket(
                self._server,
                sock=connection,
                ssl=self._credentials.server,
                ssl_handshake_timeout=self._settings.handshake_s,
                ssl_shutdown_timeout=1.0,
            )
        except BaseException as error:
            self._finish(reach)
            connection.close()
            if not isinstance(error, OSError):  # ssl.SSLError and timeouts are of that kind
                raise
            return
        self._deadlines[transport] = loop.call_at(end, self._too_late, transport), reach

    def _too_late(self, transport: asyncio.BaseTransport) -> None:
        self._done(transport)
        transport.abort()  # type: ignore[attr-defined]

    def _done(self, transport: asyncio.BaseTransport) -> None:
        """The handshake over this transport is finished, one way or another."""
        deadline, reach = self._deadlines.pop(transport, (None, ""))
        if deadline is not None:
            deadline.cancel()
            self._finish(reach)

    def _finish(self, reach: str) -> None:
        self._under_way[reach] -= 1
        if not self._under_way[reach]:
            del self._under_way[reach]

    # ------------------------------------------------------------------------------------------------------ WebSockets

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None or request.headers.get("Upgrade", "").lower() != "websocket":
            response = web.Response(status=404, text="nodes of a Lyceum network talk here\n")
            response.force_close()
            return response
        upgraded = web.WebSocketResponse(
            compress=False, autoping=False, autoclose=False, max_msg_size=WEBSOCKET_BYTES_MAX, timeout=CLOSE_S
        )
        await upgraded.prepare(request)
        channel = Socket(upgraded, transport)
        host = str(transport.get_extra_info("peername")[0]).removeprefix("::ffff:")
        try:
            hello = await listen(channel, self._own(host), self._credentials.certificate_hash)
        except (HandshakeFailed, ConnectionEnded) as error:
            log.info("no handshake with %s: %s", host, error)
            if isinstance(error, InvalidHandshake):
                self._blame(host, str(error))
            await channel.close(str(error))
        except Exception:
            log.exception("a handshake with %s failed here", host)
            transport.abort()
        else:
            self._done(transport)
            await self._live(channel, hello, host)
        finally:
            self._done(transport)
        return upgraded


def _bound_sockets(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address that the host has. Raises OSError."""
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            listening.setblocking(False)
            listening.bind((address[0], sockets[0].getsockname()[1] if len(sockets) > 1 else port, *address[2:]))
            listening.listen(BACKLOG)
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets
