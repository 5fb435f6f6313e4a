"""Home of whom to call, and when: given peers always, others while slots are free, after waits that grow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from chain.network.book import Address, AddressBook, backoff_s
from chain.network.dialler import Dialler
from chain.network.handshake import HandshakeFailed, Hello, Own, ToItself
from chain.network.roster import Connected, Roster
from chain.network.settings import NetworkSettings
from chain.network.standing import Standing
from chain.network.websocket import ConnectionEnded, Socket

log = logging.getLogger("lyceum.network")

DIALS_MAX: Final = 8  # under way at once
STABLE_S: Final = 10.0  # a connection that lasts so long was worth it


class Outbound:
    """Calls other nodes, as `tick` is called now and then."""

    def __init__(
        self,
        settings: NetworkSettings,
        book: AddressBook,
        roster: Roster,
        standing: Standing,
        own: Callable[[Callable[[Hello], None]], Own],
        live: Callable[[Socket, Hello, str, Address], Awaitable[None]],
    ) -> None:
        """`own(judge)` is this node's side of a handshake; `live` has a connection until it ends."""
        self._settings = settings
        self._book = book
        self._roster = roster
        self._standing = standing
        self._own = own
        self._live = live
        self._dialler = Dialler(settings.handshake_s)

    async def start(self) -> None:
        await self._dialler.start()

    async def close(self) -> None:
        await self._dialler.close()

    def due(self, now: float) -> list[Address]:
        """What is to be dialled now; each is to be given to `dial` at once."""
        dials = sum(1 for address in self._book.all() if address.dialling)
        free = self._settings.outbound_max - self._roster.count(inbound=False) - dials
        chosen: list[Address] = []
        for address in self._book.ready(now):
            if len(chosen) + dials >= DIALS_MAX or (free <= 0 and not address.given):
                break
            if self._is_wanted(address):
                address.dialling = True
                chosen.append(address)
                free -= 1
        return chosen

    def _is_wanted(self, address: Address) -> bool:
        """Whether dialling could give a peer that is not there yet."""
        if address.node and self._roster.get(address.node):
            return False
        if any((peer.host, peer.port) == (address.host, address.port) for peer in self._roster):
            return False
        allowed = self._settings.allowed
        if allowed is not None and address.node and address.node not in allowed:
            return False
        if address.given:
            return not self._standing.banned(address.node)
        try:
            self._roster.require_room(address.host, inbound=False)
        except HandshakeFailed:
            return False
        return not self._standing.banned(address.node) and not self._standing.banned(address.host)

    async def dial(self, address: Address) -> None:
        """One try of an address, and the connection that comes of it, until it ends."""
        loop = asyncio.get_running_loop()
        try:
            await self._dialler.dial(
                address.host,
                address.port,
                own=lambda host: self._own(lambda hello: self._judge(hello, host, address)),
                expected=address.node if address.pinned else b"",
                live=lambda socket, hello, host: self._lives(socket, hello, host, address),
            )
        except Connected:
            address.next_try = loop.time() + self._settings.backoff_max_s
        except ToItself:
            address.own = True
        except (HandshakeFailed, ConnectionEnded) as error:
            log.info("no connection with %s:%d: %s", address.host, address.port, error)
            self._book.failed(address, loop.time())
        finally:
            address.dialling = False

    def _judge(self, hello: Hello, host: str, address: Address) -> None:
        address.node = hello.node  # proved; so that a node that is connected already is not called again
        self._roster.judge(hello.node, host, inbound=False, given=address.given)

    async def _lives(self, socket: Socket, hello: Hello, host: str, address: Address) -> None:
        """The connection, and how long to wait after it: one that soon ends is as good as none."""
        loop = asyncio.get_running_loop()
        failures, start = address.failures, loop.time()
        address.dialling = False
        self._book.succeeded(address, hello.node)
        await self._live(socket, hello, host, address)
        address.failures = 0 if loop.time() - start >= STABLE_S else failures + 1
        settings = self._settings
        wait_s = backoff_s(max(1, address.failures), settings.backoff_first_s, settings.backoff_max_s)
        address.next_try = loop.time() + wait_s
