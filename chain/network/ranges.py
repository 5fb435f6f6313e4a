"""Home of network ranges: what part of the internet an address belongs to, so that no part fills all slots."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from chain.errors import InvalidInput

LOOPBACK = "this machine"
PRIVATE = "private networks"


class InvalidAddressOfNode(InvalidInput):
    """A host that is no numeric address at which a node can listen."""


@lru_cache(maxsize=4096)
def network_range(host: str) -> str:
    """The range of a numeric address: LOOPBACK, PRIVATE, or an IPv4 /16 or IPv6 /32. Raises InvalidAddressOfNode."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError as error:
        raise InvalidAddressOfNode(f"{host!r} is no numeric address") from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast:
        raise InvalidAddressOfNode(f"{host} is no address of one machine")
    if address.is_loopback:
        return LOOPBACK
    if address.is_private or address.is_link_local:
        return PRIVATE
    return str(ipaddress.ip_network((address, 16 if address.version == 4 else 32), strict=False))


def is_local(host: str) -> bool:
    """Whether it is this machine or a private network, whose addresses mean nothing to others."""
    return network_range(host) in (LOOPBACK, PRIVATE)


def may_tell(about: str, to: str) -> bool:
    """Whether the address `about` can mean anything to a node at `to`: local ones stay within their range."""
    reach = network_range(about)
    return reach == network_range(to) or reach not in (LOOPBACK, PRIVATE) or network_range(to) == LOOPBACK
