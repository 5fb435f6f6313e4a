"""Home of what bounds the server: its settings, request rates, and which Host and Origin headers it trusts."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from chain.errors import InvalidInput

LOCAL_HOSTS = ("localhost",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the server listens, whom it trusts, and its bounds."""

    host: str = "127.0.0.1"
    port: int = 8545  # 0: any free one
    allowed_hosts: tuple[str, ...] = LOCAL_HOSTS  # names in Host headers, beside IP addresses; "*" is any
    allowed_origins: tuple[str, ...] = ()  # for CORS and WebSockets, beside the server's own; "*" is any
    body_bytes_max: int = 5 << 20
    blob_bytes_max: int = 32 << 20
    waiting_bytes_max: int = 256 << 20  # of all bodies that are still coming
    body_seconds_max: float = 30.0
    batch_calls_max: int = 1000
    response_bytes_max: int = 25 << 20
    websocket_message_bytes_max: int = 5 << 20
    websocket_connections_max: int = 512
    websocket_calls_max: int = 256  # of one connection at a time; more wait
    websocket_queue_bytes_max: int = 32 << 20  # unsent to one connection; a slower reader is cut off
    subscriptions_per_connection_max: int = 64
    filters_max: int = 4096
    filter_idle_seconds: float = 300.0
    log_range_blocks_max: int = 10_000
    log_results_max: int = 20_000
    calls_per_second: float = 2000.0  # from one address that is not the machine itself
    calls_burst: float = 10_000.0
    rate_clients_max: int = 10_000


class PortInUse(InvalidInput):
    """Something else listens where the server was told to."""


class RateLimit:
    """A token bucket for every client address; the machine's own addresses are not limited."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._rate = settings.calls_per_second
        self._burst = settings.calls_burst
        self._clients_max = settings.rate_clients_max
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> tokens, at

    def allow(self, address: str, calls: int = 1) -> bool:
        """Whether the client may make so many calls now; they are counted if it may."""
        if is_loopback(address):
            return True
        now = self._clock()
        tokens, at = self._buckets.pop(address, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        allowed = tokens >= calls
        self._buckets[address] = (tokens - calls if allowed else tokens, now)
        if len(self._buckets) > self._clients_max:
            self._buckets.popitem(last=False)
        return allowed


@lru_cache(maxsize=256)
def is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "", "localhost", "::ffff:127.0.0.1")


@lru_cache(maxsize=256)
def host_is_allowed(host_header: str, allowed: tuple[str, ...]) -> bool:
    """Whether a Host header is ours: an IP address, none at all, or a known name.

    A page whose name its owner points at 127.0.0.1 (DNS rebinding) still sends that name.
    """
    if not host_header or "*" in allowed:
        return True
    name = host_name(host_header)
    if name in allowed:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host_header: str) -> str:
    """A Host header without its port, in lower case; brackets of IPv6 are taken off."""
    if host_header.startswith("["):
        return host_header[1:].partition("]")[0].lower()
    return host_header.partition(":")[0].lower()


def origin_is_allowed(origin: str | None, host_header: str, allowed: tuple[str, ...]) -> bool:
    """Whether a WebSocket may be opened by a page of this origin: the server's own, or one that was given.

    Browsers always send it, and open WebSockets to anywhere without asking; other programs send none.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    return bool(host_header) and urlsplit(origin).netloc.lower() == host_header.lower()
