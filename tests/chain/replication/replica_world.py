"""Home of a small world for tests of replicas: a virtual clock, a network that delays, ledgers that are a list of blocks.

Keys, signatures, blocks and transactions are real; what a block's execution would say is the test's to choose.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from chain.codec import block_hash, decode_block, encode_block
from chain.crypto import address_of, keccak256
from chain.network import messages
from chain.network.messages import Blocks, Message, NotHeld
from chain.replication.events import (
    Action,
    Blame,
    Build,
    Built,
    Check,
    Checked,
    CommitBlock,
    Decode,
    Given,
    Opened,
    PeerConnected,
    PeerGone,
    Received,
    Send,
    SendBlocks,
    StartTimer,
    Stop,
    Stored,
    Tick,
    Tip,
)
from chain.replication.replica import Replica, ReplicaSettings
from chain.transactions import Transaction
from chain.types import Block
from chain.vote_signatures import sign_vote
from consensus import proposer, votelog
from consensus.actions import Persist, ReplaceLog
from consensus.codec import encode_commit
from consensus.events import ReportEquivocation
from consensus.types import BlockId, Commit, Height
from tests.chain.replication.replica_scene import (
    BAD_GAS,
    GENESIS,
    KEYS,
    START_MS,
    block_of,
    node_id,
    recover,
    validators,
)

TICK_MS = 1_000
M = TypeVar("M")


@dataclass
class Node:
    """A replica with its disk: blocks with commits, and records of the vote log."""

    world: World
    index: int
    key: bytes | None
    replica: Replica | None = None
    blocks: list[tuple[Block, Commit]] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    pool: dict[bytes, Transaction] = field(default_factory=dict)
    blames: list[Blame] = field(default_factory=list)
    evidence: list[ReportEquivocation] = field(default_factory=list)
    stopped: str = ""
    committed_ms: list[int] = field(default_factory=list)
    life: int = 0

    def hear(self, sender: int, message: Message) -> None:
        """A message comes from the node with this number."""
        self.handle(Received(peer=node_id(sender), message=messages.decode(messages.encode(message))))

    @property
    def id(self) -> bytes:
        return node_id(self.index)

    @property
    def height(self) -> int:
        return len(self.blocks)

    def tip(self) -> Tip:
        height = len(self.blocks)
        return Tip(
            height=Height(height),
            block_id=BlockId(block_hash(self.blocks[-1][0].header) if self.blocks else bytes(32)),
            validators=self.world.validators,
            priorities=proposer.after(self.world.validators, height),
            oldest_block=1,
            time_ms=self.blocks[-1][0].header.time_ms if self.blocks else 0,
        )

    def start(self, remembers: bool | None = None) -> None:
        self.life += 1
        log = votelog.recover(tuple(self.records))
        self.replica = Replica(
            me=address_of(self.key) if self.key else None,
            genesis=GENESIS,
            sign=lambda message: sign_vote(message, self.key or b""),
            log=log,
            remembers=bool(self.records) if remembers is None else remembers,
            recover=recover,
            pool_get=self.pool.get,
            clock_ms=lambda: self.world.now_ms,
            time_ms=lambda: self.world.now_ms,
            settings=self.world.settings,
        )
        self.handle(Opened(tip=self.tip()))
        for other in self.world.nodes:
            if other.replica and other is not self and not self.world.is_cut(self, other):
                self.handle(PeerConnected(peer=other.id))
                other.handle(PeerConnected(peer=self.id))
        self._tick(self.life)

    def kill(self) -> None:
        self.replica = None
        for other in self.world.nodes:
            if other.replica:
                other.handle(PeerGone(peer=self.id))

    def _tick(self, life: int) -> None:
        if self.replica is not None and life == self.life:
            self.handle(Tick())
            self.world.after(TICK_MS, lambda: self._tick(life))

    def handle(self, given: Given) -> None:
        if self.replica is None or self.stopped:
            return
        for action in self.replica.handle(given):
            self._perform(action)

    def _later(self, delay_ms: int, given: Given) -> None:
        life = self.life
        self.world.after(delay_ms, lambda: self.handle(given) if life == self.life else None)

    def _perform(self, action: Action) -> None:
        match action:
            case Persist():
                self.records.append(action.record)
            case ReplaceLog():
                self.records = list(action.records)
            case Send():
                for peer in action.peers:
                    self.world.carry(self, peer, action.message)
            case StartTimer():
                self._later(action.duration_ms, action.given)
            case Build():
                self._build(action)
            case Check():
                if action.block.header.parent == self.tip().block_id:
                    valid = action.block.header.gas_used != BAD_GAS
                    reason = "" if valid else f"height {action.block.header.height}: gas_used: it is 0"
                    self._later(self.world.check_ms, Checked(block_id=action.block_id, valid=valid, reason=reason))
            case CommitBlock():
                assert action.commit.height == self.height + 1
                assert action.block.header.parent == self.tip().block_id
                self.blocks.append((action.block, action.commit))
                self.committed_ms.append(self.world.now_ms)
                for raw in action.block.transactions:
                    self.pool.pop(keccak256(raw), None)
                self._later(self.world.store_ms, Stored(tip=self.tip()))
            case SendBlocks():
                held = self.blocks[action.first - 1 : action.first - 1 + action.count]
                blocks = tuple((encode_block(block), encode_commit(commit)) for block, commit in held)
                found = Blocks(id=action.id, first=action.first, blocks=blocks) if blocks else NotHeld(id=action.id)
                self.world.carry(self, action.peer, found)
            case Blame():
                self.blames.append(action)
            case Stop():
                self.stopped = action.reason
            case ReportEquivocation():
                self.evidence.append(action)
            case Decode():
                assert decode_block(encode_block(action.block)) == action.block

    def _build(self, wanted: Build) -> None:
        transactions = tuple(self.pool.values())
        last = wanted.last_commit or (self.blocks[-1][1] if self.blocks else None)
        block = block_of(
            wanted.height,
            self.tip().block_id,
            self.world.now_ms + self.world.clock_ahead_ms,
            [transaction.raw for transaction in transactions],
            encode_commit(last) if last else b"",
        )
        built = Built(
            height=wanted.height,
            round=wanted.round,
            block_id=BlockId(block_hash(block.header)),
            block=block,
            encoded=encode_block(block),
            transactions=transactions,
        )
        self._later(self.world.build_ms, built)


class World:
    """Nodes and the network between them; `drop` says what is lost: (sender, receiver, message)."""

    def __init__(
        self, count: int, *, validating: int | None = None, delay_ms: int = 5, settings: ReplicaSettings | None = None
    ) -> None:
        self.now_ms = START_MS
        self.delay_ms = delay_ms
        self.build_ms = self.check_ms = self.store_ms = 3
        self.clock_ahead_ms = 0
        self.settings = settings or ReplicaSettings()
        self.drop: Callable[[Node, Node, Message], bool] = lambda sender, receiver, message: False
        self.island: tuple[int, ...] = ()
        self.carried: dict[str, int] = {}
        self.sent: list[tuple[int, int, Message]] = []  # (sender, receiver, message), since somebody emptied it
        voting = count if validating is None else validating
        self.validators = validators(voting)
        self.nodes = [Node(self, index, KEYS[index] if index < voting else None) for index in range(count)]
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def only(self, index: int = 0, *, remembers: bool = True) -> Node:
        """Start one node, connected with the others, for which the test speaks."""
        node = self.nodes[index]
        node.start(remembers)
        for other in self.nodes:
            if other is not node:
                node.handle(PeerConnected(peer=other.id))
        self.run(1)
        self.sent.clear()
        return node

    def heard(self, kind: type[M], receiver: int | None = None) -> list[M]:
        """The messages of a kind that were sent, to one node or to any, since `sent` was emptied."""
        found = [message for _, to, message in self.sent if receiver is None or to == receiver]
        return [message for message in found if isinstance(message, kind)]

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._count, action))

    def is_cut(self, one: Node, other: Node) -> bool:
        return (one.index in self.island) != (other.index in self.island)

    def carry(self, sender: Node, receiver: bytes, message: Message) -> None:
        """Encode, delay, decode: what arrives is what the wire can carry."""
        to = next(node for node in self.nodes if node.id == receiver)
        frame = messages.encode(message)
        self.sent.append((sender.index, to.index, message))
        if self.is_cut(sender, to) or self.drop(sender, to, message):
            return
        name = type(message).__name__
        self.carried[name] = self.carried.get(name, 0) + 1
        life = to.life
        received = Received(peer=sender.id, message=messages.decode(frame))
        self.after(self.delay_ms, lambda: to.handle(received) if life == to.life else None)

    def run(self, duration_ms: int) -> None:
        end = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        self.now_ms = end

    def run_to(self, height: int, *nodes: Node, limit_ms: int = 120_000) -> int:
        """Run until these nodes, or all that are up, have stored a height; how long it took."""
        start = self.now_ms
        waiting = nodes or tuple(node for node in self.nodes if node.replica)
        while min(node.height for node in waiting) < height:
            assert self.now_ms - start < limit_ms, [(node.index, node.height) for node in self.nodes]
            self.run(10)
        return self.now_ms - start

    def agree(self) -> None:
        """No two nodes have different blocks at a height, and nobody was blamed or stopped."""
        for node in self.nodes:
            longest = max(self.nodes, key=lambda other: other.height)
            mine = [block for block, _ in node.blocks]
            assert mine == [block for block, _ in longest.blocks][: len(mine)]
            assert not node.blames, node.blames
            assert not node.stopped
