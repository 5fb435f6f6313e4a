"""Home of a node's network: its peers, who owns which kind of message, and the life of every connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from chain.crypto import address_of
from chain.network.book import Address, AddressBook
from chain.network.delivery import Answerer, Delivery, Handler, count
from chain.network.discovery import Discovery
from chain.network.handshake import HandshakeFailed, Hello, Own
from chain.network.identity import make_credentials
from chain.network.listener import Listener
from chain.network.memory import Memory
from chain.network.messages import GetPeers, Kind, Message
from chain.network.outbound import Outbound
from chain.network.peer import BLAME_MAX, Peer
from chain.network.ranges import is_local
from chain.network.roster import Roster
from chain.network.settings import NetworkSettings, parse_peer
from chain.network.standing import Standing
from chain.network.websocket import CLOSE_S, Socket

log = logging.getLogger("lyceum.network")

TICK_S: Final = 0.25


class Network:
    """A node among others, from `start` to `close`; `run` in between. Handlers are set before `start`."""

    def __init__(self, settings: NetworkSettings, node_key: bytes, genesis_hash: bytes, directory: Path) -> None:
        """Reads what `directory` remembers of other nodes. Raises InvalidPeer for a given peer that is none."""
        self.settings = settings
        self.id = bytes(address_of(node_key))
        self.port = 0
        self.connected: list[Callable[[Peer], None]] = []
        self.gone: list[Callable[[Peer], None]] = []
        self._key = node_key
        self._genesis = genesis_hash
        self._standing = Standing(time.time)
        self.book = AddressBook(settings, tuple(parse_peer(text) for text in settings.peers), time.time)
        self._memory = Memory(directory, self.book, self._standing)
        self._memory.load()
        self._roster = Roster(self.id, settings, self._standing, self.book.pinned_nodes())
        self._delivery = Delivery()
        self._outbound = Outbound(settings, self.book, self._roster, self._standing, self._own, self._live_outbound)
        self._listener: Listener | None = None
        self._discovery = Discovery(self.id, settings, self.book, self.peers)
        self.answer(GetPeers, self._discovery.answer)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None]
        self._closing = False

    # ----------------------------------------------------------------------------------------------- what others use

    def peers(self) -> list[Peer]:
        """Those connected now."""
        return list(self._roster)

    def peer(self, node: bytes) -> Peer | None:
        """The peer with this id, if it is connected."""
        return self._roster.get(node)

    def broadcast(self, message: Message, *, but: Peer | None = None) -> None:
        """Send to all peers, but one."""
        frame = self._delivery.encode(message)
        for peer in list(self._roster):
            if peer is not but:
                peer.send_frame(frame)

    def handle(self, kind: type, handler: Handler) -> None:
        """Messages of a kind go to this handler, on the loop. InvalidInput that it raises bans the peer."""
        self._delivery.handle(kind, handler)

    def answer(self, kind: type, answerer: Answerer) -> None:
        """Questions of a kind are answered so: with the message that comes of it, or NotHeld, its id the question's."""
        self._delivery.answer(kind, answerer)

    def status(self) -> dict[str, Any]:
        """What `learn_status` tells of the network; counts are since a connection began."""
        now = asyncio.get_running_loop().time()
        return {
            "nodeId": "0x" + self.id.hex(),
            "listening": f"{self.settings.host}:{self.port}",
            "addresses": len(self.book),
            "handshakes": self._listener.under_way if self._listener else 0,
            "peers": [_described(peer, now) for peer in self._roster],
        }

    def traffic(self) -> dict[str, tuple[int, int, int, int]]:
        """Frames in, bytes in, frames out, bytes out by the name of the kind, since the start."""
        came, went = self._delivery.came, self._delivery.went
        return {
            kind.name.lower(): (*came.get(kind, (0, 0)), *went.get(kind, (0, 0)))
            for kind in Kind
            if kind in came or kind in went
        }

    # ------------------------------------------------------------------------------------------------------ its life

    async def start(self) -> None:
        """Listen, and be ready to dial. Raises PortInUse, CannotListen."""
        self._failed = asyncio.get_running_loop().create_future()
        await self._outbound.start()
        listener = Listener(
            self.settings,
            make_credentials(),
            self._own_inbound,
            self._live_inbound,
            banned=lambda host: self._standing.banned(host) is not None,
            blame=self._blame_host,
        )
        try:
            self.port = await listener.start()
        except BaseException:
            await self._outbound.close()
            raise
        self._listener = listener

    async def run(self) -> None:
        """Keep the slots filled and the connections alive, until cancelled."""
        loop = asyncio.get_running_loop()
        while not self._closing:
            now = loop.time()
            for peer in self.peers():
                peer.look_alive(now, self.settings.keepalive_s, self.settings.idle_s)
            for address in self._outbound.due(now):
                self._start(self._outbound.dial(address))
            self._discovery.tick(now)
            await self._memory.save_if_due(now)
            await asyncio.wait((self._failed,), timeout=TICK_S)
            if self._failed.done():
                self._failed.result()

    async def close(self) -> None:
        """End all connections, and remember who was there."""
        self._closing = True
        if self._listener is not None:
            await self._listener.close()
            self._delivery.close()
            for peer in self.peers():
                peer.cut("the node stops")
            if self._tasks:  # those of peers end by themselves
                await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._listener.end()
            await self._memory.save()
        await self._outbound.close()

    # ------------------------------------------------------------------------------------- what its peers need of it

    def encode(self, message: Message) -> bytes:
        return self._delivery.encode(message)

    def deliver(self, peer: Peer, frame: bytes) -> None:
        self._delivery.deliver(peer, frame)

    def sent(self, frame: bytes) -> None:
        count(self._delivery.went, frame)

    def blamed(self, peer: Peer, points: int, reason: str) -> None:
        total = self._standing.blame(peer.id, points)
        log.info("%r is blamed, %d points of %d: %s", peer, total, BLAME_MAX, reason)
        if total >= BLAME_MAX:
            self._standing.ban(peer.id, self.settings.ban_s, reason)
            if not is_local(peer.host):
                self._standing.ban(peer.host, self.settings.ban_s, reason)
            self._memory.changed = True
            peer.cut(f"banned: {reason}", deaf=True)

    def left(self, peer: Peer, reason: str) -> None:
        if self._roster.leave(peer):
            log.info("%r is gone: %s", peer, reason)
            for follower in self.gone:
                follower(peer)

    # --------------------------------------------------------------------------------------------------- connections

    def _own(self, judge: Callable[[Hello], None]) -> Own:
        """This node's side of a handshake."""
        port = self.port if self.settings.announce_port is None else self.settings.announce_port
        host = self.settings.announce_host.encode()
        return Own(key=self._key, genesis=self._genesis, host=host, port=port, judge=judge)

    def _own_inbound(self, host: str) -> Own:
        return self._own(lambda hello: self._roster.judge(hello.node, host, inbound=True, given=False))

    async def _live_outbound(self, socket: Socket, hello: Hello, host: str, address: Address) -> None:
        self.book.hear(host, address.port, hello.node, host)
        await self._live(self._peer(socket, hello, host, address.port, inbound=False), given=address.given)

    async def _live_inbound(self, socket: Socket, hello: Hello, host: str) -> None:
        announced = hello.host.decode("ascii", errors="replace") or host
        if self.book.hear(announced, hello.port, hello.node, host):
            log.debug("0x%s says that it listens at %s:%d", hello.node.hex(), announced, hello.port)
        peer = self._peer(socket, hello, host, hello.port, inbound=True)
        peer.listens_at = announced
        try:
            await self._live(peer)
        except Exception as error:
            self._fail(error)

    def _blame_host(self, host: str, reason: str) -> None:
        """Somebody there, who has not proved who it is, sent what no honest node sends."""
        if not is_local(host):
            self._standing.ban(host, self.settings.ban_s, reason)
            self._memory.changed = True

    def _peer(self, socket: Socket, hello: Hello, host: str, port: int, *, inbound: bool) -> Peer:
        most = self.settings.queue_bytes_max
        return Peer(self, socket, node=hello.node, host=host, port=port, inbound=inbound, queue_bytes_max=most)

    async def _live(self, peer: Peer, *, given: bool = False) -> None:
        """A connection from its handshake to its end."""
        try:
            self._roster.judge(peer.id, peer.host, inbound=peer.inbound, given=given)  # again: others may have come
            displaced = self._roster.get(peer.id)
        except HandshakeFailed as error:
            peer.cut(str(error))
        else:
            if displaced is not None:
                displaced.cut("another connection with it goes before this one")
            self._roster.enter(peer)
            log.info("connected with %r, %s", peer, "which called" if peer.inbound else "which we called")
            for follower in self.connected:
                follower(peer)
            self._discovery.met(peer)
        await peer.run()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A connection has ended; if by an error of ours, `run` raises it."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


def _described(peer: Peer, now: float) -> dict[str, Any]:
    traffic = peer.traffic
    return {
        "node": "0x" + peer.id.hex(),
        "host": peer.host,
        "port": peer.port,
        "inbound": peer.inbound,
        "seconds": round(now - peer.since, 3),
        "bytesIn": traffic.bytes_in,
        "bytesOut": traffic.bytes_out,
        "framesIn": traffic.frames_in,
        "framesOut": traffic.frames_out,
        "queuedBytes": peer.queued_bytes,
        "heldBackSeconds": round(peer.held_back_s, 3),
    }
