"""Home of discovery: nodes ask each other for addresses, more often while slots are free."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from chain.network.book import AddressBook
from chain.network.messages import PEERS_MAX, GetPeers, PeerAddress, Peers
from chain.network.peer import Peer, PeerGone, RequestTimedOut
from chain.network.ranges import may_tell

if TYPE_CHECKING:
    from chain.network.network import Network

log = logging.getLogger("lyceum.network")

ANSWER_S: Final = 10.0


class Discovery:
    """Asks peers for addresses, and answers the same."""

    def __init__(self, network: Network, book: AddressBook) -> None:
        self._network = network
        self._book = book
        self._wait_s = network.settings.discovery_first_s
        self._next = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def met(self, peer: Peer) -> None:
        """A new peer is asked at once, if it was we who called."""
        if not peer.inbound:
            self._ask(peer)

    def tick(self, now: float) -> None:
        """Ask anyone, now and then, for as long as outbound slots are free."""
        network = self._network
        peers = network.peers()
        if now < self._next or not peers:
            return
        settings = network.settings
        self._wait_s = min(2 * self._wait_s, settings.discovery_max_s)
        self._next = now + self._wait_s * random.uniform(0.5, 1.0)
        if sum(1 for peer in peers if not peer.inbound) < settings.outbound_max:
            self._ask(random.choice(peers))

    async def answer(self, peer: Peer, question: GetPeers) -> Peers:
        """Addresses that worked, and of peers that are here and say where they listen."""
        known = {(item.host, item.port): item for item in self._book.tell(peer.host)}
        for other in self._network.peers():
            if other.port and other is not peer and may_tell(other.host, peer.host) and len(known) < PEERS_MAX:
                host = other.host.encode()
                known.setdefault((host, other.port), PeerAddress(node=other.id, host=host, port=other.port))
        return Peers(id=question.id, addresses=tuple(known.values()))

    def _ask(self, peer: Peer) -> None:
        task = asyncio.create_task(self._ask_and_hear(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_and_hear(self, peer: Peer) -> None:
        try:
            answer = await peer.request(GetPeers(id=0), ANSWER_S)
        except (PeerGone, RequestTimedOut) as error:
            log.debug("no addresses: %s", error)
            return
        if not isinstance(answer, Peers):
            return
        for item in answer.addresses:
            if item.node != self._network.id and self._book.hear(
                item.host.decode("ascii", errors="replace"), item.port, item.node, peer.host
            ):
                self._wait_s = self._network.settings.discovery_first_s
