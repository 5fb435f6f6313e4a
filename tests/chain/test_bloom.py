"""Tests of the log bloom, held against its definition bit by bit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chain.bloom import bloom_of, may_contain
from chain.crypto import keccak256
from chain.types import EMPTY_BLOOM, Log


def plain_bloom(items: list[bytes]) -> bytes:
    """Yellow paper, (30) to (32): of each item's hash three pairs of bytes, each modulo 2048 a bit from the right."""
    bloom = bytearray(256)
    for item in items:
        digest = keccak256(item)
        for i in (0, 2, 4):
            bit = (digest[i] * 256 + digest[i + 1]) % 2048
            bloom[255 - bit // 8] |= 1 << bit % 8
    return bytes(bloom)


logs = st.builds(
    Log,
    address=st.binary(min_size=20, max_size=20),
    topics=st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple),
    data=st.binary(max_size=40),
)


@given(st.lists(logs, max_size=6))
def test_bloom_has_the_bits_of_addresses_and_topics(given_logs: list[Log]) -> None:
    items = [item for log in given_logs for item in (log.address, *log.topics)]
    bloom = bloom_of(given_logs)
    assert bloom == plain_bloom(items)
    assert all(may_contain(bloom, item) for item in items)


def test_bloom_of_go_ethereum() -> None:
    """TestBloomExtensively of go-ethereum's core/types: a hundred strings, and the hash of their bloom."""
    strings = [b"xxxxxxxxxx data %d yyyyyyyyyyyyyy" % number for number in range(100)]
    bloom = bloom_of(Log(address=string, topics=(), data=b"") for string in strings)
    assert keccak256(bloom).hex() == "c8d3ca65cdb4874300a9e39475508f23ed6da09fdbc487f89a2dcf50b09eb263"


def test_absent_items_are_seen_to_be_absent() -> None:
    bloom = bloom_of([Log(address=bytes(20), topics=(), data=b"data is in no bloom")])
    found = [number for number in range(1000) if may_contain(bloom, number.to_bytes(32, "big"))]
    assert found == []
    assert not may_contain(bloom, b"data is in no bloom")


def test_empty_bloom_contains_nothing() -> None:
    assert bloom_of([]) == EMPTY_BLOOM
    assert not may_contain(EMPTY_BLOOM, bytes(20))
