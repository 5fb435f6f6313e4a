"""Home of the filters that are polled: each remembers what it has told, none keeps what it has still to tell."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

from chain.codec import block_hash
from chain.transactions import Transaction
from rpc.formats import data
from rpc.jsonrpc import INVALID_PARAMS, SERVER_ERROR, RpcError
from rpc.limits import Settings
from rpc.logs import LogFilter, LogSearch
from rpc.records import Records

PENDING_KEPT_MAX = 50_000  # hashes for all filters together; a filter polled later than that has missed some


class Filter:
    """What a filter is about, and where it stands."""

    __slots__ = ("kind", "polled", "position", "wanted")

    def __init__(self, kind: str, position: int, polled: float, wanted: LogFilter | None = None) -> None:
        self.kind = kind  # "logs", "blocks" or "pending"
        self.position = position  # last height told, or for pending transactions their running number
        self.polled = polled  # seconds on the clock
        self.wanted = wanted


class Filters:
    """All filters of the server. One that nobody polls for a while is dropped."""

    def __init__(self, records: Records, search: LogSearch, settings: Settings, clock: Callable[[], float]) -> None:
        self._records = records
        self._backend = records.backend
        self._search = search
        self._filters: OrderedDict[str, Filter] = OrderedDict()  # by last poll, oldest first
        self._filters_max = settings.filters_max
        self._blocks_max = settings.log_range_blocks_max
        self._idle_seconds = settings.filter_idle_seconds
        self._clock = clock
        self._pending: deque[bytes] = deque(maxlen=PENDING_KEPT_MAX)
        self._pending_count = 0

    def pending(self, transactions: Sequence[Transaction]) -> None:
        """Remember what entered the pool."""
        self._pending.extend(transaction.hash for transaction in transactions)
        self._pending_count += len(transactions)

    def new_log_filter(self, wanted: LogFilter) -> str:
        if wanted.block_hash is not None:
            raise RpcError(INVALID_PARAMS, "invalid argument 0: a filter has no blockHash: use eth_getLogs")
        self._search.range_of(wanted)
        return self._add("logs", self._height(), wanted)

    def new_block_filter(self) -> str:
        return self._add("blocks", self._height())

    def new_pending_filter(self) -> str:
        return self._add("pending", self._pending_count)

    def uninstall(self, filter_id: str) -> bool:
        self._expire()
        return self._filters.pop(filter_id, None) is not None

    async def changes(self, filter_id: str) -> list[Any]:
        """What happened since the last poll."""
        found = self._touch(filter_id)
        if found.kind == "pending":
            return self._pending_changes(found)
        first, last = found.position + 1, self._height()
        if found.kind == "blocks":
            found.position = last
            return self._block_hashes(first, last)
        assert found.wanted is not None
        if type(found.wanted.first) is int:
            first = max(first, found.wanted.first)
        if type(found.wanted.last) is int:
            last = min(last, found.wanted.last)
        last = min(last, first + self._blocks_max - 1)  # what is left comes with the next poll
        logs = await self._search.between(found.wanted, first, last)
        found.position = max(found.position, last)
        return logs

    async def logs(self, filter_id: str) -> list[dict[str, Any]]:
        """Everything that a log filter means, told or not."""
        found = self._touch(filter_id)
        if found.wanted is None:
            raise RpcError(SERVER_ERROR, "filter not found")
        return await self._search.find(found.wanted)

    def _height(self) -> int:
        return self._backend.tip().header.height

    def _add(self, kind: str, position: int, wanted: LogFilter | None = None) -> str:
        self._expire()
        if len(self._filters) >= self._filters_max:
            raise RpcError(SERVER_ERROR, f"too many filters: {self._filters_max} exist; uninstall some")
        filter_id = hex(secrets.randbits(127) | 1 << 127)
        self._filters[filter_id] = Filter(kind, position, self._clock(), wanted)
        return filter_id

    def _touch(self, filter_id: str) -> Filter:
        self._expire()
        found = self._filters.get(filter_id)
        if found is None:
            raise RpcError(SERVER_ERROR, "filter not found")
        found.polled = self._clock()
        self._filters.move_to_end(filter_id)
        return found

    def _expire(self) -> None:
        oldest_allowed = self._clock() - self._idle_seconds
        while self._filters:
            filter_id, oldest = next(iter(self._filters.items()))
            if oldest.polled >= oldest_allowed:
                return
            del self._filters[filter_id]

    def _pending_changes(self, found: Filter) -> list[str]:
        fresh = min(self._pending_count - found.position, len(self._pending))
        found.position = self._pending_count
        start = len(self._pending) - fresh
        return [data(self._pending[place]) for place in range(start, len(self._pending))]

    def _block_hashes(self, first: int, last: int) -> list[str]:
        hashes = []
        for height in range(first, last + 1):
            header = self._backend.header(height)
            assert header is not None
            hashes.append(data(block_hash(header)))
        return hashes
