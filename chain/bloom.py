"""Home of the 2048-bit log bloom of Ethereum (yellow paper, section 4.3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from chain.crypto import keccak256
from chain.types import EMPTY_BLOOM, Log


@lru_cache(maxsize=4096)
def _bits(item: bytes) -> int:
    digest = keccak256(item)
    bits = 0
    for start in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[start : start + 2], "big") & 2047)
    return bits


def bloom_of(logs: Iterable[Log]) -> bytes:
    """256 bytes in which every address and topic of the logs sets three bits."""
    bits = 0
    for log in logs:
        bits |= _bits(log.address)
        for topic in log.topics:
            bits |= _bits(topic)
    return bits.to_bytes(256, "big") if bits else EMPTY_BLOOM


def may_contain(bloom: bytes, item: bytes) -> bool:
    """False only if no log behind this bloom has the address or topic."""
    bits = _bits(item)
    return int.from_bytes(bloom, "big") & bits == bits
