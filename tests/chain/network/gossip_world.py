"""Home of small networks for tests of gossip: real sockets between nodes of one process, each with its own pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chain.crypto import sha256
from chain.executor import Chain
from chain.genesis import Genesis
from chain.network.messages import Kind
from chain.network.network import Network
from chain.network.settings import NetworkSettings
from chain.network.transactions import TransactionGossip
from chain.pool.intake import Intake
from chain.pool.mempool import Mempool
from chain.storage.store import Store
from chain.transactions import Transaction
from tests.chain.commits import last_commit
from tests.chain.ledger_world import PROPOSER, PROPOSER_KEY, network

GENESIS = network()
SECONDS_MAX = 20.0


class Member:
    """A place in a network: its sockets and nothing else. A liar is a member with handlers of its own."""

    def __init__(self, directory: Path, ordinal: int, genesis: Genesis = GENESIS) -> None:
        self.directory = directory / f"node {ordinal}"
        self.directory.mkdir()
        self.key = sha256(b"node %d" % ordinal)
        self.genesis = genesis
        self.network: Network
        self.running: list[asyncio.Task[Any]] = []

    def join(self, others: Sequence[Member]) -> None:
        """Make the network that will call the others."""
        peers = tuple(f"127.0.0.1:{other.network.port}" for other in others)
        settings = NetworkSettings(
            host="127.0.0.1", port=0, peers=peers, outbound_max=len(peers), backoff_first_s=0.05, discovery_first_s=1e6
        )
        self.network = Network(settings, self.key, self.genesis.hash, self.directory)

    async def start(self) -> None:
        await self.network.start()
        self.running.append(asyncio.create_task(self.network.run()))

    async def close(self) -> None:
        for task in self.running:
            task.cancel()
        results = await asyncio.gather(*self.running, return_exceptions=True)
        await self.network.close()
        failures = [each for each in results if isinstance(each, Exception)]
        assert not failures, failures

    async def until_connected(self, count: int) -> None:
        await until(lambda: len(self.network.peers()) == count)

    def peer_of(self, other: Member) -> Any:
        """The other one, as this one sees it."""
        return self.network.peer(other.network.id)

    def frames(self, kind: Kind) -> int:
        """How many of a kind have come."""
        return self.network.traffic().get(kind.name.lower(), (0,))[0]


class PoolNode(Member):
    """A member with a chain, a pool and transaction gossip."""

    def __init__(self, directory: Path, ordinal: int, genesis: Genesis = GENESIS) -> None:
        super().__init__(directory, ordinal, genesis)
        self.store = Store.open(self.directory / "chain", create=True, genesis=genesis.hash)
        self.chain = Chain(self.store, genesis)
        self.intake = Intake(self.chain, Mempool())
        self.offered: list[bytes] = []  # to the intake, from everywhere
        self._submit = self.intake.submit
        self.intake.submit = self._counted  # type: ignore[method-assign]

    async def _counted(self, raws: Sequence[bytes], **how: bool) -> list[Any]:
        self.offered += raws
        return await self._submit(raws, **how)

    def join(self, others: Sequence[Member]) -> None:
        super().join(others)
        self.gossip = TransactionGossip(self.network, self.intake)

    async def start(self) -> None:
        await super().start()
        self.running.append(asyncio.create_task(self.gossip.run()))

    async def close(self) -> None:
        await super().close()
        self.intake.close()
        self.store.close()

    async def submit(self, *transactions: Transaction) -> list[Any]:
        return await self.intake.submit([transaction.raw for transaction in transactions])

    def has(self, *transactions: Transaction) -> bool:
        return all(self.intake.pool.get(transaction.hash) for transaction in transactions)

    def block(self, *transactions: Transaction) -> None:
        """Commit a block of these."""
        time_ms = self.chain.tip.time_ms + 1000
        commit = last_commit(self.chain.tip, self.genesis.hash, PROPOSER_KEY)
        prepared = self.chain.build(transactions, time_ms=time_ms, proposer=PROPOSER, last_commit=commit)
        assert [receipt.status for receipt in prepared.execution.receipts] == [1] * len(transactions)
        self.chain.commit(prepared, b"")
        self.intake.committed(prepared.transactions)
        self.gossip.committed(prepared.transactions)


@asynccontextmanager
async def running(*members: Member, links: Sequence[tuple[int, int]] | None = None) -> AsyncIterator[None]:
    """Members, started one after the other and connected: all with all, or by pairs (the later one first)."""
    pairs = links if links is not None else [(late, early) for late in range(len(members)) for early in range(late)]
    try:
        for place, member in enumerate(members):
            member.join([members[early] for late, early in pairs if late == place])
            await member.start()
        for place, member in enumerate(members):
            await member.until_connected(sum(place in pair for pair in pairs))
        yield
    finally:
        for member in members:
            if hasattr(member, "network"):
                await member.close()


async def until(condition: Callable[[], bool], seconds: float = SECONDS_MAX) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        await asyncio.sleep(0.005)
