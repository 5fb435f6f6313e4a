"""Home of real networks in one process: nodes over loopback sockets, and a stranger who can say anything to them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from chain.crypto import address_of, sha256
from chain.keys import new_key
from chain.network.handshake import Hello, Own, dial
from chain.network.identity import client_context
from chain.network.messages import Message
from chain.network.network import Network
from chain.network.settings import NetworkSettings
from chain.network.websocket import Socket

GENESIS = b"g" * 32
PATIENCE_S = 8.0


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def key(number: int) -> bytes:
    """A node key that a test can name; ids of nodes are in no order of these numbers."""
    return sha256(b"node %d" % number)


def node_id(number: int) -> bytes:
    return bytes(address_of(key(number)))


class World:
    """Nodes that run until the test ends; an error of one fails it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._networks: list[Network] = []
        self._runs: dict[Network, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._sockets: list[Socket] = []  # one that nobody holds is closed

    async def node(self, number: int, *peers: str | Network, genesis: bytes = GENESIS, **choices: Any) -> Network:
        """A node that listens and runs; the same number is the same node key and directory."""
        network = self.make(number, *peers, genesis=genesis, **choices)
        await network.start()
        self._runs[network] = asyncio.create_task(network.run())
        return network

    def make(self, number: int, *peers: str | Network, genesis: bytes = GENESIS, **choices: Any) -> Network:
        """The same, not started."""
        directory = self.folder / f"node-{number}"
        directory.mkdir(exist_ok=True)
        given = tuple(peer if isinstance(peer, str) else f"127.0.0.1:{peer.port}" for peer in peers)
        quick = {"backoff_first_s": 0.05, "discovery_first_s": 0.1, "host": "127.0.0.1", "port": 0}
        settings = NetworkSettings(**{**quick, "peers": given, **choices})
        network = Network(settings, key(number), genesis, directory)
        self._networks.append(network)
        return network

    async def adopt(self, network: Network) -> None:
        """Run a node that was started."""
        self._runs[network] = asyncio.create_task(network.run())

    async def stop(self, network: Network) -> None:
        """Close a node; raises what made its `run` end before."""
        self._networks.remove(network)
        run = self._runs.pop(network, None)
        if run is not None:
            run.cancel()
            (error,) = await asyncio.gather(run, return_exceptions=True)
            if not isinstance(error, asyncio.CancelledError):
                raise error or AssertionError("a network stopped running")
        await network.close()

    async def close(self) -> None:
        self.forget_strangers()
        for network in list(self._networks):
            await self.stop(network)
        if self._session is not None:
            await self._session.close()

    async def stranger(self, network: Network, own: bytes | None = None, genesis: bytes = GENESIS) -> Socket:
        """A connection that has shaken hands with a node, and then says what a test wants."""
        socket, certificate_hash = await self.open_socket(network)
        await dial(socket, side(own or new_key(), genesis), certificate_hash)
        return socket

    def forget_strangers(self) -> None:
        """Let go of all connections that were opened here."""
        for socket in self._sockets:
            socket._transport.abort()
        self._sockets.clear()

    async def open_socket(self, network: Network) -> tuple[Socket, bytes]:
        """A WebSocket over TLS, before the handshake, and the hash of the certificate that was shown."""
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=client_context(), force_close=True, limit=0)
            self._session = aiohttp.ClientSession(connector=connector)
        upgraded = await self._session.ws_connect(
            f"wss://127.0.0.1:{network.port}/", autoping=False, autoclose=False, max_msg_size=1 << 22
        )
        connection = upgraded._response.connection
        assert connection is not None
        assert connection.transport is not None
        certificate = connection.transport.get_extra_info("ssl_object").getpeercert(True)
        self._sockets.append(Socket(upgraded, connection.transport))
        return self._sockets[-1], sha256(certificate)


def over_sockets(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test whose first argument is a `World`, run on the loop that nodes run on."""

    async def played(folder: Path, **given: Any) -> None:
        world = World(folder)
        try:
            await test(world, **given)
        finally:
            await world.close()

    @functools.wraps(test)
    def run(tmp_path: Path, **given: Any) -> None:
        uvloop.run(played(tmp_path, **given))

    first, *others = inspect.signature(test).parameters.values()
    run.__signature__ = inspect.Signature([first.replace(name="tmp_path"), *others])  # type: ignore[attr-defined]
    return run


def side(own: bytes, genesis: bytes = GENESIS, judge: Callable[[Hello], None] = lambda hello: None) -> Own:
    """One side of a handshake, which takes anybody."""
    return Own(key=own, genesis=genesis, host=b"", port=0, judge=judge)


async def connect(*pairs: tuple[Network, Network]) -> None:
    """Wait until these are each other's peers."""
    await until(lambda: all(a.peer(b.id) and b.peer(a.id) for a, b in pairs))


def keep(network: Network, kind: type) -> list[Message]:
    """What comes of a kind, as it comes."""
    came: list[Message] = []
    network.handle(kind, lambda peer, message: came.append(message))
    return came


def random_hash() -> bytes:
    return secrets.token_bytes(32)
