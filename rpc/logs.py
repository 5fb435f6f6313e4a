"""Home of log filters: what they match, and the search over blocks, which reads only those whose bloom may match."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from chain.bloom import may_contain
from chain.types import Log
from rpc.jsonrpc import INVALID_PARAMS, SERVER_ERROR, RpcError
from rpc.limits import Settings
from rpc.parameters import InvalidParameter, address, block_number, data, hash32, shown
from rpc.records import Record, Records

ADDRESSES_MAX = 1000
TOPICS_MAX = 4
ALTERNATIVES_MAX = 1000
BLOCKS_BETWEEN_YIELDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which logs are meant. No addresses: any; an empty place in `topics`: anything there."""

    addresses: tuple[bytes, ...] = ()
    topics: tuple[tuple[bytes, ...], ...] = ()
    first: int | str | None = None
    last: int | str | None = None
    block_hash: bytes | None = None
    _address_set: frozenset[bytes] = field(default=frozenset(), init=False)
    _topic_sets: tuple[frozenset[bytes], ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_address_set", frozenset(self.addresses))
        object.__setattr__(self, "_topic_sets", tuple(frozenset(place) for place in self.topics))

    def matches(self, log: Log) -> bool:
        if self._address_set and log.address not in self._address_set:
            return False
        if len(self._topic_sets) > len(log.topics):
            return False
        return all(not place or topic in place for place, topic in zip(self._topic_sets, log.topics, strict=False))

    def may_match(self, bloom: bytes) -> bool:
        """False only if no log behind this bloom matches."""
        if self.addresses and not any(may_contain(bloom, each) for each in self.addresses):
            return False
        return all(not place or any(may_contain(bloom, each) for each in place) for place in self.topics)


def log_filter(value: Any) -> LogFilter:
    """The filter object of eth_getLogs, eth_newFilter and eth_subscribe."""
    if type(value) is not dict:
        raise InvalidParameter(f"a filter object is needed, not {shown(value)}")
    block_hash = value.get("blockHash")
    first, last = value.get("fromBlock"), value.get("toBlock")
    if block_hash is not None and (first is not None or last is not None):
        raise InvalidParameter("cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")
    return LogFilter(
        addresses=_addresses(value.get("address")),
        topics=_topics(value.get("topics")),
        first=None if first is None else block_number(first),
        last=None if last is None else block_number(last),
        block_hash=None if block_hash is None else hash32(block_hash),
    )


def _addresses(value: Any) -> tuple[bytes, ...]:
    if value is None:
        return ()
    if type(value) is str:
        return (address(value),)
    if type(value) is not list or len(value) > ADDRESSES_MAX:
        raise InvalidParameter(f"an address or at most {ADDRESSES_MAX} of them are needed")
    return tuple(address(each) for each in value)


def _topics(value: Any) -> tuple[tuple[bytes, ...], ...]:
    if value is None:
        return ()
    if type(value) is not list:
        raise InvalidParameter(f"topics must be an array, not {shown(value)}")
    if len(value) > TOPICS_MAX:
        raise InvalidParameter("exceed max topics")
    return tuple(_alternatives(place) for place in value)


def _alternatives(place: Any) -> tuple[bytes, ...]:
    """What may stand at one place; nothing given, or null among what is, leaves it open."""
    if place is None:
        return ()
    if type(place) is str:
        return (_topic(place),)
    if type(place) is not list or len(place) > ALTERNATIVES_MAX:
        raise InvalidParameter(f"a topic is a hash, null, or an array of at most {ALTERNATIVES_MAX} hashes")
    return () if None in place else tuple(_topic(each) for each in place)


def _topic(value: Any) -> bytes:
    topic = data(value)
    if len(topic) != 32:
        raise InvalidParameter(f"hex has invalid length {len(topic)} after decoding; expected 32 for topic")
    return topic


def matching_logs(record: Record, wanted: LogFilter) -> list[dict[str, Any]]:
    """The logs of one block that a filter means, as JSON."""
    if not wanted.may_match(record.header.logs_bloom):
        return []
    return [record.log_json(log, index, place) for log, index, place in record.logs() if wanted.matches(log)]


class LogSearch:
    """Searches over ranges of blocks, bounded in blocks and in results."""

    def __init__(self, records: Records, settings: Settings) -> None:
        self._records = records
        self._blocks_max = settings.log_range_blocks_max
        self._results_max = settings.log_results_max

    async def find(self, wanted: LogFilter) -> list[dict[str, Any]]:
        """eth_getLogs: by default from the tip to the tip."""
        if wanted.block_hash is not None:
            record = self._records.find(wanted.block_hash)
            if record is None:
                raise RpcError(SERVER_ERROR, "unknown block")
            return matching_logs(record, wanted)
        first, last = self.range_of(wanted)
        return await self.between(wanted, first, last)

    def range_of(self, wanted: LogFilter) -> tuple[int, int]:
        """The heights that a filter spans, as they are now; what lies beyond the tip has no logs yet."""
        tip = self._records.backend.tip().header.height
        first = self._bound(wanted.first, tip)
        last = self._bound(wanted.last, tip)
        if first > last and (type(wanted.last) is int or wanted.last == "earliest"):
            raise RpcError(INVALID_PARAMS, "invalid block range params")
        return first, min(last, tip)

    def _bound(self, given: int | str | None, tip: int) -> int:
        if type(given) is int:
            return given
        return 0 if given == "earliest" else tip

    async def between(self, wanted: LogFilter, first: int, last: int) -> list[dict[str, Any]]:
        """Matching logs of the heights from `first` to `last`. Raises RpcError over a bound."""
        if last - first >= self._blocks_max:
            raise RpcError(
                INVALID_PARAMS, f"exceed max block range: {last - first + 1} blocks, at most {self._blocks_max}"
            )
        if last > 0:
            self._records.require_kept(max(first, 1))
        found: list[dict[str, Any]] = []
        for height in range(first, last + 1):
            if height % BLOCKS_BETWEEN_YIELDS == 0:
                await asyncio.sleep(0)
            found.extend(self._at(height, wanted))
            if len(found) > self._results_max:
                raise RpcError(
                    INVALID_PARAMS,
                    f"query returns more than {self._results_max} logs: ask for fewer blocks than {first} to {last}",
                )
        return found

    def _at(self, height: int, wanted: LogFilter) -> list[dict[str, Any]]:
        header = self._records.backend.header(height)
        if header is None or not wanted.may_match(header.logs_bloom):
            return []
        record = self._records.at(height)
        assert record is not None
        return matching_logs(record, wanted)
