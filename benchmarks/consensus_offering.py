"""Home of offering signed transfers to nodes, at a rate or as they are included, and of noting when each is final.

A transfer is submitted when it is due, whether or not a connection is free then, so that a node that falls behind can't
hide it. It is final when the node that is followed tells of the block with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from benchmarks.connection import Connection
from benchmarks.consensus_signing import Transfer

POLL_SECONDS = 0.01
REQUESTS_A_SECOND_MIN = 20  # at a rate, batches are smaller where they would come less often
RETRY_SECONDS = 0.1
REFUSALS_MAX = 200_000
KNOWN = ("already known", "nonce too low")  # answers to what an earlier request has brought


class Refused(RuntimeError):
    """The node does not take transfers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to offer: `rate` in transfers a second, or None for as many as are included."""

    urls: tuple[str, ...]
    follow: str
    seconds: float
    batch: int
    lanes: int  # requests in flight to each node
    window: int  # at most so many are submitted and not yet included
    rate: float | None
    quiet_seconds: float  # after a block, no other comes for so long
    drain_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenBlock:
    """A block as the followed node told of it, `at` seconds after the first transfer was due."""

    height: int
    at: float
    transfers: int  # of ours
    transactions: int


@dataclass(slots=True, kw_only=True)
class Offered:
    """What happened: seconds from submission to finality of each included transfer, and the blocks."""

    seconds: float = 0.0
    submitted: int = 0
    refused: int = 0  # answers that a transfer can't be taken now; it is offered again
    waits: list[float] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)  # how long those have waited that were never included
    blocks: list[SeenBlock] = field(default_factory=list)
    ran_out: bool = False  # of signed transfers


class Offering:
    """One order carried out. `queues` are the transfers for each node; what was not sent stays in them."""

    def __init__(self, order: Order, queues: Sequence[deque[Transfer]]) -> None:
        self._order, self._queues = order, queues
        self._due: dict[str, float] = {}  # hash -> when it was due, until it is included
        self._room = asyncio.Event()
        self._lanes: list[asyncio.Queue[tuple[float, list[Transfer]] | None]] = []
        self._result = Offered()
        self._start = 0.0

    async def run(self) -> Offered:
        """Offer for the time that was ordered, then wait until all is included. Raises Refused, ConnectionError."""
        order = self._order
        control = await Connection.open(order.follow)
        height = int(await control.call("eth_blockNumber"), 16)
        connections = [[await Connection.open(url) for _ in range(order.lanes)] for url in order.urls]
        self._lanes = [asyncio.Queue(maxsize=order.lanes) for _ in order.urls]
        self._start = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow(control, height))
                lanes = [
                    group.create_task(self._lane(place, connection))
                    for place, group_of_node in enumerate(connections)
                    for connection in group_of_node
                ]
                await (self._pace(order.rate) if order.rate else self._saturate())
                for lane in self._lanes:
                    for _ in range(order.lanes):
                        await lane.put(None)
                await asyncio.wait(lanes)
                self._result.seconds = time.monotonic() - self._start
                await self._drain()
                following.cancel()
        except ExceptionGroup as group_of_errors:
            raise group_of_errors.exceptions[0] from None
        finally:
            for connection in (control, *(each for group_of_node in connections for each in group_of_node)):
                connection.close()
        now = time.monotonic()
        self._result.missing = [now - due for due in self._due.values()]
        return self._result

    # ----------------------------------------------------------------------------------------------------- offering

    async def _pace(self, rate: float) -> None:
        """Give the lanes what is due, to the nodes in turns."""
        size = max(1, min(self._order.batch, int(rate / REQUESTS_A_SECOND_MIN)))
        for turn in range(int(self._order.seconds * rate / size)):
            due = self._start + turn * size / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not await self._give(turn % len(self._lanes), size, due):
                return

    async def _saturate(self) -> None:
        """Give the lanes whatever they take."""
        end = self._start + self._order.seconds
        turn = 0
        while time.monotonic() < end:
            if not await self._give(turn % len(self._lanes), self._order.batch, None):
                return
            turn += 1

    async def _give(self, place: int, size: int, due: float | None) -> bool:
        """Queue the next transfers for a node when there is room for them; whether there were any."""
        queue = self._queues[place]
        batch = [queue.popleft() for _ in range(min(size, len(queue)))]
        if len(batch) < size:
            self._result.ran_out = True
        if not await self._wait_for_room(len(batch)):
            queue.extendleft(reversed(batch))
            return False
        due = time.monotonic() if due is None else due
        for transfer in batch:
            self._due[transfer.hash] = due
        self._result.submitted += len(batch)
        await self._lanes[place].put((due, batch))
        return not self._result.ran_out

    async def _wait_for_room(self, count: int) -> bool:
        """Until so many more may be under way; False where nothing is included for long."""
        end = self._start + self._order.seconds + self._order.drain_seconds
        while len(self._due) + count > self._order.window:
            self._room.clear()
            try:
                await asyncio.wait_for(self._room.wait(), end - time.monotonic())
            except TimeoutError:
                return False
        return True

    async def _lane(self, place: int, connection: Connection) -> None:
        while (given := await self._lanes[place].get()) is not None:
            _, batch = given
            while batch:
                answer = await connection.post(_body(batch))
                batch = self._again(batch, answer) if b'"error"' in answer else []
                if batch:
                    await asyncio.sleep(RETRY_SECONDS)

    def _again(self, batch: list[Transfer], answer: bytes) -> list[Transfer]:
        """Those of a batch that have to be offered again. Raises Refused where that is hopeless."""
        parsed = orjson.loads(answer)
        parsed = parsed if isinstance(parsed, list) else [parsed]
        errors = {given.get("id"): str(given["error"].get("message")) for given in parsed if "error" in given}
        if None in errors:
            raise Refused(f"the node refused a request: {errors[None]}")
        left = [batch[place] for place, why in errors.items() if not why.startswith(KNOWN)]
        self._result.refused += len(left)
        if self._result.refused > REFUSALS_MAX:
            raise Refused(f"the node refused {REFUSALS_MAX} times, last with: {next(iter(errors.values()))}")
        return left

    # ---------------------------------------------------------------------------------------------------- following

    async def _follow(self, control: Connection, height: int) -> None:
        while True:
            tip = int(await control.call("eth_blockNumber"), 16)
            now = time.monotonic()
            if tip == height:
                await asyncio.sleep(POLL_SECONDS)
                continue
            while height < tip:
                height += 1
                self._see(await control.call("eth_getBlockByNumber", hex(height), False), height, now)
            await asyncio.sleep(max(0.0, now + self._order.quiet_seconds - time.monotonic()))

    def _see(self, block: dict[str, object], height: int, now: float) -> None:
        hashes = block["transactions"]
        assert isinstance(hashes, list)
        waits = [now - self._due.pop(hash_) for hash_ in hashes if hash_ in self._due]
        self._result.waits += waits
        self._result.blocks.append(
            SeenBlock(height=height, at=now - self._start, transfers=len(waits), transactions=len(hashes))
        )
        self._room.set()

    async def _drain(self) -> None:
        end = time.monotonic() + self._order.drain_seconds
        while self._due and (left := end - time.monotonic()) > 0:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), left)


def _body(batch: Sequence[Transfer]) -> bytes:
    calls = [
        {"jsonrpc": "2.0", "id": place, "method": "eth_sendRawTransaction", "params": [transfer.raw]}
        for place, transfer in enumerate(batch)
    ]
    return orjson.dumps(calls[0] if len(calls) == 1 else calls)
