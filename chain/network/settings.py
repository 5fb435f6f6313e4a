"""Home of what a node's owner chooses about its network, and of how a peer is written on a command line."""

from __future__ import annotations

from dataclasses import dataclass

from chain.errors import InvalidInput, LyceumError
from chain.network.messages import HOST_BYTES_MAX, PORT_MAX

NODE_BYTES = 20
DEFAULT_PORT = 30333


class InvalidPeer(InvalidInput):
    """Text that names no peer."""


class CannotListen(LyceumError):
    """The host is none of this machine's, or the system does not allow listening there."""


class PortInUse(CannotListen):
    """Something else listens where the node was told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPeer:
    """A peer that the owner named: dialled for ever, whatever becomes of it."""

    host: str
    port: int
    node: bytes = b""  # the address (20 bytes) of its node key, empty where any will do


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Times in seconds. A range is an IPv4 /16 or an IPv6 /32; one's own machine and private networks count apart."""

    host: str = "0.0.0.0"
    port: int = DEFAULT_PORT  # 0: any that is free
    peers: tuple[str, ...] = ()  # HOST:PORT or NODEID@HOST:PORT
    allowed: frozenset[bytes] | None = None  # node ids (20 bytes) of a private network; None: everybody
    announce_host: str = ""  # a numeric address; empty: what others see
    announce_port: int | None = None  # None: where it listens; 0: nothing is announced
    inbound_max: int = 48
    outbound_max: int = 16
    per_range_max: int = 8  # connections each way with one range
    per_local_range_max: int = 64  # the same for this machine and private networks
    handshakes_max: int = 64  # inbound connections whose handshake is under way
    handshakes_per_range_max: int = 8
    handshakes_per_local_range_max: int = 48
    arrivals_per_second: float = 4.0  # inbound connections from one range; others are closed at once
    local_arrivals_per_second: float = 32.0
    handshake_s: float = 5.0  # to finish it, TLS included
    keepalive_s: float = 4.0  # something is sent at least so often
    idle_s: float = 15.0  # nothing came for so long: the connection is dead
    ban_s: float = 600.0
    backoff_first_s: float = 0.5
    backoff_max_s: float = 10.0  # of given peers
    backoff_known_s: float = 60.0  # of addresses that worked within a day
    backoff_far_s: float = 3600.0  # of all others
    discovery_first_s: float = 2.0  # between questions for addresses while slots are free, growing to `_max_s`
    discovery_max_s: float = 60.0
    queue_bytes_max: int = 8 << 20  # waiting to be sent to one peer; one that lets more wait is dropped


def parse_node(text: str) -> bytes:
    """The node id (20 bytes) that `0x` and 40 hexadecimal digits name. Raises InvalidPeer."""
    try:
        node = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        node = b""
    if len(node) != NODE_BYTES:
        raise InvalidPeer(f"{text!r} is no node id, which is 0x and 40 hexadecimal digits; a node logs its own")
    return node


def parse_peer(text: str) -> GivenPeer:
    """The peer that HOST:PORT or NODEID@HOST:PORT names ([...] around an IPv6 address). Raises InvalidPeer."""
    node, at, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    try:
        identity = bytes.fromhex(node.removeprefix("0x"))
    except ValueError:
        identity = b"?"
    if at and len(identity) != NODE_BYTES:
        raise InvalidPeer(f"{text!r} is no peer: {node!r} is no node id, which is 0x and 40 hexadecimal digits")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= PORT_MAX or len(host) > HOST_BYTES_MAX:
        raise InvalidPeer(f"{text!r} is no peer: write HOST:PORT or NODEID@HOST:PORT, such as 192.0.2.7:30333")
    return GivenPeer(host=host, port=int(port), node=identity)
