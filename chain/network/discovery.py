"""Home of discovery: nodes ask each other for addresses, more often while slots are free."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from chain.network.book import AddressBook, is_worth_telling
from chain.network.messages import PEERS_MAX, GetPeers, PeerAddress, Peers
from chain.network.peer import Peer, PeerGone, RequestTimedOut
from chain.network.settings import NetworkSettings

log = logging.getLogger("lyceum.network")

ANSWER_S: Final = 10.0


class Discovery:
    """Asks peers for addresses, and answers the same."""

    def __init__(
        self, own: bytes, settings: NetworkSettings, book: AddressBook, peers: Callable[[], list[Peer]]
    ) -> None:
        self._own = own
        self._settings = settings
        self._book = book
        self._peers = peers
        self._wait_s = settings.discovery_first_s
        self._next = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def met(self, peer: Peer) -> None:
        """A new peer is asked at once, if it was we who called."""
        if not peer.inbound:
            self._ask(peer)

    def tick(self, now: float) -> None:
        """Ask anyone, now and then, for as long as outbound slots are free."""
        peers, settings = self._peers(), self._settings
        if now < self._next or not peers:
            return
        self._wait_s = min(2 * self._wait_s, settings.discovery_max_s)
        self._next = now + self._wait_s * random.uniform(0.5, 1.0)
        if sum(1 for peer in peers if not peer.inbound) < settings.outbound_max:
            self._ask(random.choice(peers))

    async def answer(self, peer: Peer, question: GetPeers) -> Peers:
        """Addresses that worked, and of peers that are here and say where they listen."""
        known = {(item.host, item.port): item for item in self._book.tell(peer.host)}
        for other in self._peers():
            host = other.listens_at
            if other.port and other is not peer and len(known) < PEERS_MAX and is_worth_telling(host, peer.host):
                address = PeerAddress(node=other.id, host=host.encode(), port=other.port)
                known.setdefault((address.host, address.port), address)
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
            if item.node != self._own and self._book.hear(
                item.host.decode("ascii", errors="replace"), item.port, item.node, peer.host
            ):
                self._wait_s = self._settings.discovery_first_s
