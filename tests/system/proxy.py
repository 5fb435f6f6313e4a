"""Home of a network between nodes that can be made bad: a TCP proxy a directed pair of nodes, with faults a way.

Nodes' TLS passes through untouched, so nothing can be read or altered: bytes are late, slow, held back, or their
connection is cut, as on the internet. A connection that node `a` has opened to node `b` carries the ways (a, b) and
(b, a); a fault of the way (a, b) hits what `a` sends to `b`, whoever opened the connection.

with FaultProxy({0: 30001, 1: 30002}) as proxy:
    proxy.port(0, 1)  # where node 0 finds node 1
    proxy.hold(0, 1)  # node 1 hears nothing from node 0 any more, node 0 still hears node 1
    proxy.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

READ_BYTES = 1 << 16
UNDERWAY_BYTES_MAX = 4 << 20  # what a way may hold of one connection; then its sender has to wait


@dataclass
class Way:
    """What happens to bytes that one node sends to another."""

    delay_seconds: float = 0.0
    bytes_per_second: float | None = None
    passing: asyncio.Event = field(default_factory=asyncio.Event)  # not set: everything is held back

    def heal(self) -> None:
        self.delay_seconds, self.bytes_per_second = 0.0, None
        self.passing.set()


@dataclass(eq=False)
class Connection:
    """Two sockets, one to each node."""

    pair: frozenset[int]
    writers: list[asyncio.StreamWriter]

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class FaultProxy:
    """Listens for every directed pair of nodes on a port of its own, on an event loop of its own."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        """`ports`: node -> where it listens for other nodes, on this machine."""
        self._ports = dict(ports)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._ways = {pair: Way() for pair in itertools.permutations(ports, 2)}
        self._cut: set[frozenset[int]] = set()
        self._connections: set[Connection] = set()
        self._listening: dict[tuple[int, int], asyncio.Server] = {}

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ------------------------------------------------------------------------------------------------------- faults

    def port(self, source: int, target: int) -> int:
        """Where `source` finds `target`."""
        return int(self._listening[source, target].sockets[0].getsockname()[1])

    def delay(self, source: int, target: int, seconds: float) -> None:
        """What `source` sends arrives so much later, in order."""
        self._set(source, target, lambda way: setattr(way, "delay_seconds", seconds))

    def limit(self, source: int, target: int, bytes_per_second: float) -> None:
        """A bandwidth, of each connection."""
        self._set(source, target, lambda way: setattr(way, "bytes_per_second", bytes_per_second))

    def hold(self, source: int, target: int) -> None:
        """Deliver nothing that `source` sends; connections stay open, and what was sent arrives after `heal`."""
        self._set(source, target, lambda way: way.passing.clear())

    def cut(self, one: int, other: int) -> None:
        """Break the connections between two nodes and refuse new ones."""
        pair = frozenset((one, other))

        async def work() -> None:
            self._cut.add(pair)
            for connection in [each for each in self._connections if each.pair == pair]:
                connection.abort()

        self._do(work)

    def split(self, one: Iterable[int], other: Iterable[int], *, hold: bool = False) -> None:
        """Part two groups of nodes: connections are cut, or held so that nobody is told."""
        for pair in itertools.product(list(one), list(other)):
            if hold:
                self.hold(*pair)
                self.hold(*reversed(pair))
            else:
                self.cut(*pair)

    def heal(self) -> None:
        """A network without faults again."""

        async def work() -> None:
            self._cut.clear()
            for way in self._ways.values():
                way.heal()

        self._do(work)

    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    # -------------------------------------------------------------------------------------------------- on the loop

    def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def call() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(20)

    def _set(self, source: int, target: int, change: Callable[[Way], object]) -> None:
        async def work() -> None:
            change(self._ways[source, target])

        self._do(work)

    async def _listen(self) -> None:
        for pair, way in self._ways.items():
            way.heal()

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: tuple[int, int] = pair
            ) -> None:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await self._carry(pair, reader, writer)
                writer.transport.abort()

            self._listening[pair] = await asyncio.start_server(accept, "127.0.0.1", 0)

    async def _close(self) -> None:
        for server in self._listening.values():
            server.close()
        for connection in list(self._connections):
            connection.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, pair: tuple[int, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection that the pair's first node has opened, until either end or a cut ends it."""
        source, target = pair
        if frozenset(pair) in self._cut:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._ports[target])
        connection = Connection(pair=frozenset(pair), writers=[writer, far_writer])
        self._connections.add(connection)
        pumps = [
            asyncio.create_task(_pump(reader, far_writer, self._ways[source, target])),
            asyncio.create_task(_pump(far_reader, writer, self._ways[target, source])),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            connection.abort()
            self._connections.discard(connection)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    """Carry bytes one way until their end, as the way lets them."""
    underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=UNDERWAY_BYTES_MAX // READ_BYTES)
    delivering = asyncio.create_task(_deliver(underway, writer, way))
    try:
        clock = asyncio.get_running_loop().time
        while data := await reader.read(READ_BYTES):
            await underway.put((clock() + way.delay_seconds, data))
        await underway.put((clock() + way.delay_seconds, b""))
        await delivering
    finally:
        delivering.cancel()


async def _deliver(underway: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: Way) -> None:
    """Hand on what is under way when it is due; an empty piece is the end."""
    clock = asyncio.get_running_loop().time
    while True:
        due, data = await underway.get()
        await asyncio.sleep(due - clock())
        await way.passing.wait()
        if not data:
            return
        if way.bytes_per_second is not None:
            await asyncio.sleep(len(data) / way.bytes_per_second)
        writer.write(data)
        await writer.drain()
