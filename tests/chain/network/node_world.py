"""Home of several real nodes in one process: chains on disk, pools, vote logs; the network is memory, or real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chain.crypto import address_of, sha256
from chain.executor import Chain
from chain.genesis import Genesis, genesis_json, parse_genesis
from chain.network.messages import GetBlocks, Message, decode, encode
from chain.network.network import Network
from chain.network.peer import Peer
from chain.network.settings import NetworkSettings
from chain.node import Committed, Node
from chain.pool.intake import Intake
from chain.pool.mempool import Mempool
from chain.replication.replica import MESSAGES
from chain.storage.store import Store
from chain.storage.votelog_file import VoteLog
from chain.types import COIN
from tests.chain.ledger_world import ADDRESSES, BALANCE
from tests.chain.operations.learning_world import CHAIN_ID

INTERVAL_MS = 200
VOTE_KEYS = tuple(sorted((sha256(b"validator %d" % number) for number in range(4)), key=address_of))


def genesis(validators: int = 4, interval_ms: int = INTERVAL_MS, accounts: Sequence[bytes] = ADDRESSES) -> Genesis:
    """Equal validators; accounts with some money."""
    text = genesis_json(
        chain_id=CHAIN_ID,
        time_ms=1_000,
        balances=dict.fromkeys(accounts, BALANCE),
        validators=[(address_of(key), 1000, COIN) for key in VOTE_KEYS[:validators]],
        tasks=[],
        parameters={"block_interval_ms": interval_ms},
    )
    return parse_genesis(text)


@dataclass
class RunningNode:
    """A node on its directory, with the task that runs it."""

    path: Path
    node: Node
    intake: Intake
    store: Store
    commits: list[Committed] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    network: Network | None = None
    network_task: asyncio.Task[None] | None = None

    @property
    def chain(self) -> Chain:
        return self.node.chain

    @property
    def height(self) -> int:
        return self.chain.tip.height


def open_node(path: Path, genesis: Genesis, key: bytes | None) -> RunningNode:
    store = Store.open(path, create=True, genesis=genesis.hash)
    chain = Chain(store, genesis)
    intake = Intake(chain, Mempool())
    log = VoteLog(path.parent / f"{path.name}-votes.log")
    node = Node(chain, intake, log, key, remembers=key is None or bool(log.records()))
    running = RunningNode(path=path, node=node, intake=intake, store=store)
    node.followers.append(running.commits.append)
    return running


class MemoryNetwork:
    """Carries frames between nodes on one loop, each a moment later; `drop` says what is lost."""

    def __init__(self, delay_s: float = 0.001) -> None:
        self.delay_s = delay_s
        self.nodes: dict[bytes, RunningNode] = {}
        self.drop: Callable[[bytes, bytes, Message], bool] = lambda sender, receiver, message: False
        self.blames: list[tuple[bytes, int, str]] = []

    def join(self, id_: bytes, running: RunningNode) -> None:
        running.node.transport = _Wire(self, id_)
        for other, there in self.nodes.items():
            there.node.connected(id_, called=True)
            running.node.connected(other, called=False)
        self.nodes[id_] = running

    def leave(self, id_: bytes) -> None:
        del self.nodes[id_]
        for there in self.nodes.values():
            there.node.gone(id_)

    def carry(self, sender: bytes, receiver: bytes, frame: bytes) -> None:
        there = self.nodes.get(receiver)
        if there is not None and sender in self.nodes:
            there.node.received(sender, decode(frame))


class _Wire:
    def __init__(self, network: MemoryNetwork, id_: bytes) -> None:
        self._network = network
        self._id = id_

    def send(self, peers: Sequence[bytes], message: Message) -> None:
        frame = encode(message)
        loop = asyncio.get_running_loop()
        for peer in peers:
            if not self._network.drop(self._id, peer, message):
                loop.call_later(self._network.delay_s, self._network.carry, self._id, peer, frame)

    def blame(self, peer: bytes, points: int, reason: str) -> None:
        self._network.blames.append((peer, points, reason))


class SocketTransport:
    """Joins a node to a real network, as a full node does."""

    def __init__(self, network: Network, node: Node) -> None:
        self._network = network
        node.transport = self
        for kind in MESSAGES:
            if kind is not GetBlocks:
                network.handle(kind, lambda peer, message: node.received(peer.id, message))

        async def blocks(_: Peer, asked: GetBlocks) -> Message:
            return await node.blocks(asked.id, asked.first, asked.count)

        network.answer(GetBlocks, blocks)
        network.connected.append(lambda peer: node.connected(peer.id, called=not peer.inbound))
        network.gone.append(lambda peer: node.gone(peer.id))

    def send(self, peers: Sequence[bytes], message: Message) -> None:
        frame = self._network.encode(message)
        for id_ in peers:
            peer = self._network.peer(id_)
            if peer is not None:
                peer.send_frame(frame)

    def blame(self, peer: bytes, points: int, reason: str) -> None:
        found = self._network.peer(peer)
        if found is not None:
            found.blame(points, reason)


class Cluster:
    """Nodes by number, the validators first. Over real sockets if `sockets`."""

    def __init__(self, directory: Path, genesis: Genesis, *, sockets: bool = False, delay_s: float = 0.001) -> None:
        self.directory = directory
        self.genesis = genesis
        self.memory = None if sockets else MemoryNetwork(delay_s)
        self.nodes: dict[int, RunningNode] = {}

    async def start(self, number: int) -> RunningNode:
        key = VOTE_KEYS[number] if number < len(VOTE_KEYS) else None
        running = open_node(self.directory / f"node{number}", self.genesis, key)
        self.nodes[number] = running
        if self.memory:
            self.memory.join(bytes([number + 1]) * 20, running)
        else:
            await self._open_sockets(number, running)
        running.task = asyncio.create_task(running.node.run())
        return running

    async def _open_sockets(self, number: int, running: RunningNode) -> None:
        peers = tuple(f"127.0.0.1:{other.network.port}" for other in self.nodes.values() if other.network)
        settings = NetworkSettings(host="127.0.0.1", port=0, peers=peers, backoff_first_s=0.1)
        folder = self.directory / f"network{number}"
        folder.mkdir(exist_ok=True)
        network = Network(settings, sha256(b"node %d" % number), self.genesis.hash, folder)
        SocketTransport(network, running.node)
        await network.start()
        running.network, running.network_task = network, asyncio.create_task(network.run())

    async def stop(self, number: int) -> None:
        running = self.nodes.pop(number)
        if self.memory:
            self.memory.leave(bytes([number + 1]) * 20)
        for task in (running.network_task, running.task):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if running.network is not None:
            await running.network.close()
        running.intake.close()
        running.store.close()

    async def reach(self, height: int, *numbers: int, seconds: float = 30.0) -> None:
        """Wait until these nodes, or all, have stored a height."""
        waiting = [self.nodes[number] for number in numbers] or list(self.nodes.values())
        async with asyncio.timeout(seconds):
            while min(running.height for running in waiting) < height:
                for running in waiting:
                    assert running.task is not None
                    if running.task.done():
                        running.task.result()
                await asyncio.sleep(0.01)

    def agree(self) -> int:
        """Every two nodes have the same blocks; the number of heights compared."""
        stores = [running.store for running in self.nodes.values()]
        height = min(running.height for running in self.nodes.values())
        for at in range(1, height + 1):
            assert len({store.block(at) for store in stores}) == 1
        if self.memory:
            assert not self.memory.blames
        return height


@contextlib.asynccontextmanager
async def cluster(
    directory: Path, numbers: Sequence[int] = range(4), *, sockets: bool = False, genesis_: Genesis | None = None
) -> AsyncIterator[Cluster]:
    """Running nodes, stopped at the end."""
    found = Cluster(directory, genesis_ or genesis(), sockets=sockets)
    try:
        for number in numbers:
            await found.start(number)
        yield found
    finally:
        for number in list(found.nodes):
            await found.stop(number)
