"""Home of who is connected: slots for each direction and range, and which of two connections with one node stays."""

from __future__ import annotations

from collections.abc import Iterator

from chain.network.handshake import HandshakeFailed
from chain.network.peer import Peer
from chain.network.ranges import is_local, network_range
from chain.network.settings import NetworkSettings
from chain.network.standing import Standing


class Connected(HandshakeFailed):
    """The two nodes are connected already."""


class Roster:
    """The peers of a node, one connection each."""

    def __init__(self, own: bytes, settings: NetworkSettings, standing: Standing, trusted: frozenset[bytes]) -> None:
        """`trusted` nodes are named by the owner: slots and ranges do not bind them."""
        self._own = own
        self._settings = settings
        self._standing = standing
        self._trusted = trusted
        self._peers: dict[bytes, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, node: bytes) -> Peer | None:
        return self._peers.get(node)

    def count(self, *, inbound: bool) -> int:
        return sum(1 for peer in self._peers.values() if peer.inbound is inbound)

    def judge(self, node: bytes, host: str, *, inbound: bool, given: bool) -> None:
        """Raises HandshakeFailed, with a reason for both sides, if no connection with this node is wanted now."""
        settings = self._settings
        if settings.allowed is not None and node not in settings.allowed:
            raise HandshakeFailed(f"node 0x{node.hex()} is not on the list of those allowed here")
        if reason := self._standing.banned(node) or self._standing.banned(host):
            raise HandshakeFailed(f"banned for a time: {reason}")
        existing = self._peers.get(node)
        if existing is not None:
            if not self._replaces(existing, inbound):
                raise Connected("connected already")
        elif not given and node not in self._trusted:
            self.require_room(host, inbound=inbound)

    def require_room(self, host: str, *, inbound: bool) -> None:
        """Raises HandshakeFailed if all slots of the direction, or of its range, are taken."""
        settings = self._settings
        most = settings.inbound_max if inbound else settings.outbound_max
        if self.count(inbound=inbound) >= most:
            raise HandshakeFailed(f"all {most} {'inbound' if inbound else 'outbound'} slots are taken")
        reach = network_range(host)
        most = settings.per_local_range_max if is_local(host) else settings.per_range_max
        if sum(1 for p in self._peers.values() if p.inbound is inbound and network_range(p.host) == reach) >= most:
            raise HandshakeFailed(f"all {most} slots for {reach} are taken")

    def enter(self, peer: Peer) -> None:
        assert peer.id not in self._peers
        self._peers[peer.id] = peer

    def leave(self, peer: Peer) -> bool:
        """Strike the peer off; False if it was not on."""
        if self._peers.get(peer.id) is not peer:
            return False
        del self._peers[peer.id]
        return True

    def _replaces(self, existing: Peer, inbound: bool) -> bool:
        """Whether a new connection goes before the existing one, as both sides judge alike.

        Where each has dialled the other, the one that the lower id dialled stays. Where the other dials twice it has
        lost the first, whatever we believe.
        """
        if existing.inbound is inbound:
            return inbound
        dialler = existing.id if inbound else self._own
        return dialler == min(existing.id, self._own)
