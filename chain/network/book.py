"""Home of the address book: where other nodes may be reached, how that went, and when to try again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from chain.network.messages import PEERS_MAX, PORT_MAX, PeerAddress
from chain.network.ranges import InvalidAddressOfNode, may_tell, network_range
from chain.network.settings import GivenPeer, NetworkSettings

ADDRESSES_MAX: Final = 1024
PER_RANGE_MAX: Final = 64
PER_LOCAL_RANGE_MAX: Final = 256
HEARSAY_TRIES_MAX: Final = 5  # failures after which an address that never worked is forgotten
FORGET_S: Final = 7 * 86_400.0  # after which one that did work, and does no more, is forgotten too
LATELY_S: Final = 86_400.0


@dataclass(slots=True, kw_only=True)
class Address:
    """One place where a node listens, or is said to."""

    host: str  # numeric; a given one may be a name
    port: int
    node: bytes = b""  # who listens there, as far as is known
    given: bool = False  # named by the owner: never forgotten
    pinned: bool = False  # given together with its node id: nobody else will do
    own: bool = False  # it turned out to be this node itself
    proved: float = 0.0  # when a handshake there last succeeded, seconds since 1970
    failures: int = 0  # since then
    next_try: float = 0.0  # on the loop's clock
    dialling: bool = False


class AddressBook:
    """Addresses, bounded in all and by range; those that worked are never displaced by hearsay."""

    def __init__(self, settings: NetworkSettings, given: Iterable[GivenPeer], clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._addresses: dict[tuple[str, int], Address] = {}
        self.changed = False
        for peer in given:
            self._addresses[peer.host, peer.port] = Address(
                host=peer.host, port=peer.port, node=peer.node, given=True, pinned=bool(peer.node)
            )

    def __len__(self) -> int:
        return len(self._addresses)

    def all(self) -> list[Address]:
        return list(self._addresses.values())

    def pinned_nodes(self) -> frozenset[bytes]:
        """The node ids that the owner named."""
        return frozenset(address.node for address in self._addresses.values() if address.pinned)

    def hear(self, host: str, port: int, node: bytes, teller: str) -> bool:
        """Note that somebody at `teller` says that a node listens there; False if that is not worth keeping."""
        try:
            if not 0 < port <= PORT_MAX or (host, port) in self._addresses or not may_tell(host, teller):
                return False
            if not self._has_room(network_range(host)):
                return False
        except InvalidAddressOfNode:
            return False
        self._addresses[host, port] = Address(host=host, port=port, node=node)
        self.changed = True
        return True

    def restore(self, address: Address) -> None:
        """An address as it was kept; what the owner says now goes before it."""
        if (address.host, address.port) not in self._addresses and len(self._addresses) < ADDRESSES_MAX:
            self._addresses[address.host, address.port] = address

    def succeeded(self, address: Address, node: bytes) -> None:
        """A handshake there has succeeded."""
        address.node, address.proved, address.failures, address.own = node, self._clock(), 0, False
        self._addresses.setdefault((address.host, address.port), address)
        self.changed = True

    def failed(self, address: Address, now: float) -> None:
        """Nothing came of dialling there: wait longer, or forget it."""
        address.failures += 1
        settings, ago_s = self._settings, self._clock() - address.proved
        wait_max = settings.backoff_known_s if ago_s < LATELY_S else settings.backoff_far_s
        wait_max = settings.backoff_max_s if address.given else wait_max
        address.next_try = now + backoff_s(address.failures, settings.backoff_first_s, wait_max)
        if not address.given and address.failures >= HEARSAY_TRIES_MAX and ago_s > FORGET_S:
            self._addresses.pop((address.host, address.port), None)
        self.changed = True

    def ready(self, now: float) -> list[Address]:
        """What may be dialled now: given ones first, then those that worked, each lot in random order."""
        found = [item for item in self._addresses.values() if item.next_try <= now and not item.dialling]
        found = [item for item in found if not item.own]
        random.shuffle(found)
        found.sort(key=lambda item: (not item.given, not item.proved))
        return found

    def tell(self, to: str) -> list[PeerAddress]:
        """Addresses that worked and that mean something to a node at `to`: at most PEERS_MAX, at random."""
        proved = [item for item in self._addresses.values() if item.proved and not item.own and not item.failures]
        random.shuffle(proved)
        return [
            PeerAddress(node=item.node, host=item.host.encode(), port=item.port)
            for item in proved[: 4 * PEERS_MAX]
            if is_worth_telling(item.host, to)
        ][:PEERS_MAX]

    def _has_room(self, reach: str) -> bool:
        """Whether one more fits, if need be in place of the hearsay that failed most."""
        in_range = Counter(network_range(item.host) for item in self._addresses.values() if not item.given)[reach]
        if in_range >= (PER_LOCAL_RANGE_MAX if " " in reach else PER_RANGE_MAX):
            return False
        if len(self._addresses) < ADDRESSES_MAX:
            return True
        hearsay = [item for item in self._addresses.values() if not item.given and not item.proved and item.failures]
        if not hearsay:
            return False
        worst = max(hearsay, key=lambda item: item.failures)
        del self._addresses[worst.host, worst.port]
        return True


def backoff_s(failures: int, first_s: float, max_s: float) -> float:
    """Seconds to wait after so many failures: doubled each time up to the most, then halved to one and a half of it."""
    return min(max_s, first_s * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.5)


def is_worth_telling(host: str, to: str) -> bool:
    """Whether this host means anything to a node at `to`."""
    try:
        return may_tell(host, to)
    except InvalidAddressOfNode:
        return False  # a name that the owner gave
