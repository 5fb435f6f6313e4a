"""Home of a network in virtual time: the real replicas, messages and signatures, with links that each take their time.

Computing and syncing take no time here, so that what is left is what the protocol itself costs: frames, bytes, rounds
and network delays. The ledger is replaced: every block holds the same signed transfers and is found right.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.simulated_topology import Topology
from chain.codec import block_hash, encode_block
from chain.crypto import address_of, sha256
from chain.merkle import list_root
from chain.network.messages import Blocks, Message, NotHeld, encode
from chain.replication.events import (
    Action,
    Blame,
    Build,
    Built,
    Check,
    Checked,
    CommitBlock,
    Given,
    Opened,
    PeerConnected,
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
from chain.signing import Fields, sign_transaction
from chain.transactions import Transaction
from chain.types import EMPTY_BLOOM, GWEI, ZERO_HASH, Block, Header
from chain.vote_signatures import signer, signers_of
from consensus import codec, proposer
from consensus.types import BlockId, Commit, Height, ValidatorSet, Voter
from consensus.votelog import recover

CHAIN_ID: Final = 1280918341
GENESIS: Final = BlockId(hashlib.sha256(b"genesis of the simulated network").digest())
POWER: Final = 1_000_000
TICK_MS: Final = 1_000
UNIX_MS: Final = 1_700_000_000_000


@dataclass(slots=True, kw_only=True)
class HeightCount:
    """What one height took: when its first proposal was made, when each node had its block, what was sent meanwhile."""

    begun_ms: int = 0
    rounds: int = 1
    committed_ms: list[int] = field(default_factory=list)
    frames: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)


class World:
    """A network of validators of equal power, from genesis on. The same arguments give the same history."""

    def __init__(self, topology: Topology, *, delay_ms: int, jitter_ms: int, transfers: int, seed: int) -> None:
        self.now_ms = 0
        self.heights: dict[int, HeightCount] = {}
        self.links = topology.peers
        self._delay_ms, self._jitter_ms = delay_ms, jitter_ms
        self._chance = random.Random(seed)
        self._queue: list[tuple[int, int, int]] = []  # when, in which order, what
        self._jobs: dict[int, tuple[int, Given]] = {}
        self._count = 0
        self._signers: dict[tuple[bytes, bytes], bytes | None] = {}
        keys = [sha256(b"simulated validator" + number.to_bytes(4, "big")) for number in range(len(self.links))]
        keys.sort(key=address_of)
        self.addresses = [bytes(address_of(key)) for key in keys]
        self.validators = ValidatorSet(members=tuple((Voter(address), POWER) for address in self.addresses))
        self.transactions = signed_transfers(transfers)
        self.pool = {bytes(transaction.hash): transaction for transaction in self.transactions}
        self.transactions_root = list_root([transaction.raw for transaction in self.transactions])
        self.nodes = [Node(self, place, key) for place, key in enumerate(keys)]

    def count(self, height: int) -> HeightCount:
        return self.heights.setdefault(height, HeightCount())

    def recover(self, signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
        """The real recovery, done once for all nodes."""
        unknown = [each for each in signed if each not in self._signers]
        if unknown:
            self._signers |= zip(unknown, signers_of(unknown), strict=True)
        return [self._signers[each] for each in signed]

    def after(self, wait_ms: int, node: int, given: Given) -> None:
        self._count += 1
        self._jobs[self._count] = node, given
        heapq.heappush(self._queue, (self.now_ms + wait_ms, self._count, node))

    def send(self, sender: int, receivers: Sequence[int], message: Message) -> None:
        """Carry a message over links of the usual delay, more or less."""
        size = len(encode(message))
        count, kind = self.count(self.nodes[sender].height), type(message).__name__
        count.frames[kind] += len(receivers)
        count.bytes[kind] += size * len(receivers)
        received = Received(peer=self.addresses[sender], message=message)
        for receiver in receivers:
            late_ms = self._chance.randint(-self._jitter_ms, self._jitter_ms) if self._jitter_ms else 0
            self.after(max(1, self._delay_ms + late_ms), receiver, received)

    def run(self, heights: int, late_ms: Sequence[int] = ()) -> None:
        """Until every node has committed so many heights; the first ones begin so much later than the others."""
        for place, node in enumerate(self.nodes):
            node.open(late_ms[place] if place < len(late_ms) else 0)
        while min(node.committed for node in self.nodes) < heights:
            self.now_ms = self._queue[0][0]
            together: dict[int, list[Given]] = {}  # a node takes what has come by now together
            while self._queue and self._queue[0][0] == self.now_ms:
                _, number, node_number = heapq.heappop(self._queue)
                together.setdefault(node_number, []).append(self._jobs.pop(number)[1])
            for node_number, given in together.items():
                self.nodes[node_number].take(given)


class Node:
    """A replica's shell: what it asks for happens at once, but for messages and timers."""

    def __init__(self, world: World, number: int, key: bytes) -> None:
        self.committed = 0
        self._world, self._number = world, number
        self._tip = Tip(
            height=Height(0),
            block_id=GENESIS,
            validators=world.validators,
            priorities=proposer.start(world.validators),
            oldest_block=1,
        )
        self._last_commit = b""
        self._stored: list[tuple[bytes, bytes]] = []
        self._replica = Replica(
            me=world.addresses[number],
            genesis=GENESIS,
            sign=signer(key),
            log=recover(()),
            remembers=True,
            recover=world.recover,
            pool_get=world.pool.get,
            clock_ms=lambda: world.now_ms,
            time_ms=lambda: UNIX_MS + world.now_ms,
            settings=ReplicaSettings(),
        )

    @property
    def height(self) -> int:
        return self.committed + 1

    def open(self, late_ms: int) -> None:
        """Start, the first height so much later."""
        self.take([Opened(tip=self._tip, pause_ms=late_ms)])
        peers = self._world.links[self._number]
        self.take([PeerConnected(peer=self._world.addresses[peer]) for peer in peers])
        self._world.after(TICK_MS * (self._number + 1) // len(self._world.links), self._number, Tick())

    def take(self, given: Sequence[Given]) -> None:
        """Give inputs to the replica, and what follows from its actions at once."""
        waiting = list(given)
        if any(isinstance(each, Tick) for each in given):
            self._world.after(TICK_MS, self._number, Tick())
        while waiting:
            actions = self._replica.handle_all(waiting)
            waiting = [answer for action in actions if (answer := self._perform(action)) is not None]

    def _perform(self, action: Action) -> Given | None:
        match action:
            case Send():
                places = [self._world.addresses.index(peer) for peer in action.peers]
                self._world.send(self._number, places, action.message)
            case StartTimer():
                self._world.after(action.duration_ms, self._number, action.given)
            case Build():
                return self._build(action)
            case Check():
                return Checked(block_id=action.block_id, valid=True)
            case CommitBlock():
                return self._commit(action.commit, action.block)
            case SendBlocks():
                self._send_blocks(action)
            case Blame() | Stop():
                raise AssertionError(f"an honest node was blamed, or stopped: {action}")
            case _:
                pass  # the log is synced at once
        return None

    def _build(self, asked: Build) -> Built:
        world = self._world
        count = world.count(asked.height)
        count.begun_ms = count.begun_ms or world.now_ms
        last_commit = codec.encode_commit(asked.last_commit) if asked.last_commit else self._last_commit
        header = Header(
            chain_id=CHAIN_ID,
            height=asked.height,
            time_ms=UNIX_MS + world.now_ms,
            parent=self._tip.block_id,
            proposer=world.addresses[self._number],
            transactions_root=world.transactions_root,
            receipts_root=ZERO_HASH,
            state_root=ZERO_HASH,
            weights_root=ZERO_HASH,
            last_commit_root=hashlib.sha256(last_commit).digest(),
            validators_hash=world.validators.root(),
            next_validators_hash=world.validators.root(),
            gas_used=21_000 * len(world.transactions),
            gas_limit=150_000_000,
            base_fee=GWEI,
            logs_bloom=EMPTY_BLOOM,
        )
        raws = tuple(transaction.raw for transaction in world.transactions)
        block = Block(header=header, transactions=raws, last_commit=last_commit)
        return Built(
            height=asked.height,
            round=asked.round,
            block_id=BlockId(block_hash(header)),
            block=block,
            encoded=encode_block(block),
            transactions=world.transactions,
        )

    def _commit(self, commit: Commit, block: Block) -> Stored:
        world = self._world
        _, priorities = proposer.advance(world.validators, self._tip.priorities)
        self.committed = commit.height
        count = world.count(commit.height)
        count.committed_ms.append(world.now_ms)
        count.rounds = max(count.rounds, commit.round + 1)
        self._last_commit = codec.encode_commit(commit)
        self._stored.append((encode_block(block), self._last_commit))
        self._tip = Tip(
            height=commit.height,
            block_id=commit.block_id,
            validators=world.validators,
            priorities=priorities,
            oldest_block=1,
            time_ms=block.header.time_ms,
        )
        return Stored(tip=self._tip)

    def _send_blocks(self, asked: SendBlocks) -> None:
        held = tuple(self._stored[asked.first - 1 : asked.first - 1 + asked.count])
        answer = Blocks(id=asked.id, first=asked.first, blocks=held) if held else NotHeld(id=asked.id)
        self._world.send(self._number, [self._world.addresses.index(asked.peer)], answer)


def signed_transfers(count: int) -> tuple[Transaction, ...]:
    """What every pool holds and every block includes."""
    key = sha256(b"simulated sender")
    fields = [
        Fields(
            chain_id=CHAIN_ID,
            nonce=nonce,
            max_priority_fee_per_gas=GWEI,
            max_fee_per_gas=100 * GWEI,
            gas_limit=21_000,
            to=sha256(nonce.to_bytes(4, "big"))[:20],
            value=1,
        )
        for nonce in range(count)
    ]
    return tuple(sign_transaction(each, key) for each in fields)
