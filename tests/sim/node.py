"""Home of a simulated honest node: the shell around the real replica, ledger and vote log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from chain import contract
from chain.abi import EVENTS
from chain.codec import decode_block, encode_block
from chain.errors import InvalidInput
from chain.executor import Prepared
from chain.network.messages import BLOCKS_BYTES_MAX, BLOCKS_MAX, Blocks, CompactProposal, NotHeld, Votes, WholeProposal
from chain.node import priorities_before
from chain.replication.events import (
    BLAME_FATAL,
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
from chain.replication.replica import Replica
from chain.transactions import Transaction
from consensus import codec, votelog
from consensus.actions import Persist, ReplaceLog
from consensus.events import ReportEquivocation, TimedOut
from consensus.rules import State
from consensus.types import BlockId, Height, Proposal, ValidatorSet, Vote, Voter
from consensus.votelog import KeptRecord, VoteRecord, decode_record, encode_record
from tests.sim import plan as plans
from tests.sim.checkers import Lock
from tests.sim.disk import Disk
from tests.sim.ledger import Ledger
from tests.sim.messages import SimMessage
from tests.sim.observer import genesis_store
from tests.sim.replicas import make_replica, state_of
from tests.sim.services import Services
from tests.sim.transactions import decoded
from tests.sim.validator import Duties
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.world import World

TICK_MS = 1_000
WORK_MS_MAX = 20
"""How long building, executing or storing a block takes at most."""
LINK_MS = 2
RECONNECT_MS = 20_000


class Crash(Exception):
    """The node's power fails here."""


class Node:
    """What the real node's shell is, with a simulated clock, network and disk."""

    honest = True

    def __init__(self, world: World, index: int) -> None:
        self.index, self.world = index, world
        self.voter = Voter(plans.voter(index))
        self.disk = Disk(genesis_store(world.genesis), world.blobs)
        self.services = Services(self, Duties(world, index))
        self.ledger: Ledger
        self._replica: Replica | None = None
        self._life = 0
        self._links: dict[int, int] = {}  # node -> the number of the connection to it
        self._locks: tuple[Lock, ...] = ()  # those that the input at hand began with, led to, and ended with
        self._freely: list[bytes] = []  # what the input at hand has made the key say, if it was no timeout
        self._checked: set[object] = set()  # own votes and proposals that were looked at in this life
        self._blames: dict[int, int] = {}
        self._skew_ms = world.rng.randint(-world.plan.clock_skew_ms_max, world.plan.clock_skew_ms_max)

    # -------------------------------------------------------------------------------------------- life and death

    def up(self) -> bool:
        return self._replica is not None

    def height(self) -> int:
        """The last height that is on the disk."""
        return self.disk.ledger.tip() or 0

    def settled_rounds(self) -> int:
        return self.ledger.settled_rounds if self.up() else 0

    def start(self) -> None:
        """Come up from what the disk holds."""
        if self.up():
            return
        self._life += 1
        self._checked = set()
        self._unsynced: list[bytes] = []  # records
        if not self.disk.durable:
            self._write_log(())
        scan = votelog.scan(self.disk.durable)
        self.disk.truncate(scan.length)
        self._salt = scan.salt
        self.ledger = Ledger(self.disk, self.world.genesis)
        log = votelog.recover(scan.records)
        self._closed = log.closed
        self._replica = make_replica(self, log, remembers=self.remembers(log, scan.records))
        if self.honest:
            self.world.checkers.stored(self.index, self.height())
        self.later(self.world.rng.randint(1, TICK_MS), self._tick)
        self._link_all()
        self.handle(Opened(tip=self._tip(), pause_ms=self.world.rng.randint(0, 200)))
        if self.up():
            self.services.started()

    def remembers(self, log: votelog.Recovered, records: Sequence[bytes]) -> bool:
        """Whether the log knows of all that this key may have signed, as chain/node_directory.py says."""
        commit = self.ledger.chain.last_commit
        forgets = bool(commit) and votelog.forgets(log, codec.decode_commit(commit), self.voter)
        return bool(records) and not forgets and not votelog.ends_in_silence(tuple(records))

    def abstains(self) -> bool:
        """Whether the key says nothing at the next height because its log is gone, or was."""
        return self._replica is not None and (self._replica.abstains or self._closed > self.height())

    def crash(self) -> None:
        """Lose power, if it is on, and come up again some time later."""
        if not self.up():
            return
        plan, rng = self.world.plan, self.world.rng
        self.disk.crash(rng)
        if self.index == plan.wiped and self.world.min_height() > 0 and self.world.chance(0.5):
            self._lose_disk()  # a log that is lost before anything is decided can't be told from a new one
        self._replica = None
        self._life += 1
        self._links = {}
        for other in self.world.others(self.index):
            self.world.after(LINK_MS, lambda other=other: self.world.peers[other].unlink(self.index))  # type: ignore[misc]
        self.world.crashes += 1
        self.world.after(rng.randint(10, plan.down_ms_max), self.start)

    def _write_log(self, records: Sequence[bytes]) -> None:
        self._salt = self.world.rng.randbytes(votelog.SALT_BYTES)
        frames = [votelog.frame(self._salt, record) for record in records]
        self.disk.replace(votelog.header(self._salt) + b"".join(frames))

    def _lose_disk(self) -> None:
        if self.world.plan.wiped_store:
            self.disk.lose_all()
            self.world.checkers.wiped(self.index)
        else:
            self.disk.lose_log()

    def maybe_crash(self) -> None:
        if self.world.chance(self.world.plan.crash):
            raise Crash

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something unless the node has died by then."""
        life = self._life
        self.world.after(delay_ms, lambda: action() if life == self._life else None)

    def _tick(self) -> None:
        self.later(TICK_MS, self._tick)
        self.services.tick()
        self.handle(Tick())

    # -------------------------------------------------------------------------------------------------- network

    def linked(self) -> list[int]:
        return sorted(self._links)

    def _link_all(self) -> None:
        for other in self.world.others(self.index):
            self.later(LINK_MS, lambda other=other: self._link_both(other))  # type: ignore[misc]

    def _link_both(self, other: int) -> None:
        if self.world.peers[other].up():
            number = self.world.next_link()
            self.link(other, number)
            self.world.peers[other].link(self.index, number)

    def link(self, other: int, number: int) -> None:
        """A new connection stands; what is on its way over an older one is lost."""
        if self.up():
            self.unlink(other)
            self._links[other] = number
            self.handle(PeerConnected(peer=plans.peer_id(other)))

    def unlink(self, other: int) -> None:
        """A connection is gone."""
        if self.up() and other in self._links:
            del self._links[other]
            self.handle(PeerGone(peer=plans.peer_id(other)))

    def tell(self, other: int, message: SimMessage) -> None:
        if other in self._links:
            self.world.send(self.index, other, message, self._links[other])

    def tell_all(self, message: SimMessage) -> None:
        for other in self.linked():
            self.tell(other, message)

    def has_link(self, other: int, number: int) -> bool:
        return self._links.get(other) == number

    def receive(self, sender: int, message: SimMessage) -> None:
        """Take a message that came over a connection that stands."""
        if not self.services.receive(sender, message):
            self.handle(Received(peer=plans.peer_id(sender), message=message))  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------ inputs and actions

    def handle(self, given: Given) -> None:
        """Feed the replica and do what it says, dying anywhere in between if so it happens."""
        if self._replica is None:
            return
        try:
            before = locks_of(state_of(self._replica))
            actions = self._replica.handle(given)
            self._locks = (*before, *kept_in(actions), *locks_of(state_of(self._replica)))
            self._freely = [] if isinstance(given, TimedOut) else [a.record for a in actions if isinstance(a, Persist)]
            for action in actions:
                self.maybe_crash()
                if isinstance(action, (Send, CommitBlock, ReplaceLog, Stop)):
                    self._sync()  # records are synced together, before what others can see
                self.perform(action)
            self.maybe_crash()
            self._sync()
        except Crash:
            self.crash()

    def _sync(self) -> None:
        self.disk.sync()
        self._unsynced = []

    def perform(self, action: Action) -> None:
        """One action of the replica's."""
        match action:
            case Persist():
                self._unsynced.append(action.record)
                self.disk.write(b"".join(votelog.batches(self._salt, self._unsynced)))
            case ReplaceLog():
                self._write_log(action.records)
            case Send():
                self.send(action)
            case StartTimer():
                self.later(action.duration_ms, lambda: self.handle(action.given))
            case Build():
                self.build(action)
            case Check():
                self._check(action)
            case CommitBlock():
                self._commit(action)
            case SendBlocks():
                self.send_blocks(action)
            case Blame():
                self._blame(action)
            case Stop():
                raise Violation(f"an honest node stops: {action.reason}")
            case ReportEquivocation():
                self.world.checkers.evidence_found(action.evidence)
                self.services.duties.evidence.append(action.evidence)
            case Decode():
                pass  # decoding is cached here

    def send(self, action: Send) -> None:
        """Send a message to some peers, after a look at what of it is this node's own word."""
        fresh = [said for said in own_words(action.message, self.voter) if said not in self._checked]
        for said in fresh:
            self._checked.add(said)
            self._look_at(said)
        for peer in action.peers:
            self.tell(peer[0] - 1, action.message)

    def _look_at(self, said: Vote | Proposal) -> None:
        if isinstance(said, Vote):
            self.world.rounds_max = max(self.world.rounds_max, said.round)
            if self._replica is not None and encode_record(VoteRecord(vote=said)) in self._freely:
                self.world.checkers.prevote_is_fair(said, state_of(self._replica), self._locks)
            self.world.checkers.vote_sent(said, self.disk)
        else:
            self.world.checkers.proposal_sent(said, self.disk)

    def _blame(self, action: Blame) -> None:
        """Cut off for a time whoever sends what no honest node sends, or is slightly to blame too often.

        An honest node is slightly to blame for what is lost on the way here, which no connection would lose: that is
        not counted.
        """
        other = action.peer[0] - 1
        if self.world.peers[other].honest:
            if action.points >= BLAME_FATAL:
                raise Violation(f"honest node {self.index} blames honest node {other}: {action.reason}")
            return
        self._blames[other] = self._blames.get(other, 0) + action.points
        if self._blames[other] < BLAME_FATAL:
            return
        self._blames[other] = 0
        self.later(0, lambda: self.unlink(other))
        self.later(RECONNECT_MS, lambda: self._link_both(other))

    # --------------------------------------------------------------------------------------------------- blocks

    def build(self, asked: Build) -> None:
        """Build a block on the tip from the pool, and answer some time later."""
        if self._has_moved_on() or self.world.chance(self.world.plan.build_failure):
            return
        prepared = self.prepare(asked)
        self.answer(Built(
            height=asked.height,
            round=asked.round,
            block_id=BlockId(prepared.hash),
            block=prepared.block,
            encoded=prepared.encoded,
            transactions=prepared.transactions,
        ))  # fmt: skip

    def prepare(self, asked: Build) -> Prepared:
        """The block that this node would propose."""
        chain = self.ledger.chain
        prepared = chain.build(
            self.ledger.candidates(),
            time_ms=self.clock_ms(),
            proposer=self.voter,
            last_commit=codec.encode_commit(asked.last_commit) if asked.last_commit else chain.last_commit,
        )
        self.world.checkers.block_made(prepared.hash, prepared.encoded)
        return prepared

    def answer(self, given: Built | Checked) -> None:
        """What a worker has done, unless the tip has moved on meanwhile."""
        height = self.height()

        def tell() -> None:
            if self.height() == height:
                self.handle(given)

        self.later(self.world.rng.randint(1, WORK_MS_MAX), tell)

    def _has_moved_on(self) -> bool:
        """Whether a block is stored of which the replica has not heard yet."""
        return self._replica is None or self._replica.tip is None or self._replica.tip.height != self.height()

    def _check(self, asked: Check) -> None:
        if self._has_moved_on():
            return
        transactions = [decoded(each) if isinstance(each, bytes) else each for each in asked.transactions]
        reason = ""
        try:
            self._execute(asked.block, transactions)
        except InvalidInput as error:
            reason = str(error)
        self.answer(Checked(block_id=asked.block_id, valid=not reason, reason=reason))

    def _execute(self, block: object, transactions: list[Transaction | None]) -> Prepared:
        if not all(transactions):
            raise InvalidInput("a block with bytes that are no transaction")
        return self.ledger.chain.check(block, transactions)  # type: ignore[arg-type]

    def _commit(self, asked: CommitBlock) -> None:
        """Store a decided block with its commit; what follows from it happens when it is synced."""
        encoded = encode_block(asked.block)
        if self.honest:
            self.world.checkers.committed(self.index, asked.commit, encoded)
        prepared = self.ledger.chain.prepared(asked.block_id)
        if prepared is None:
            try:
                prepared = self._execute(asked.block, [decoded(raw) for raw in asked.block.transactions])
            except InvalidInput as error:
                raise Violation(f"node {self.index} judges a decided block invalid: {error}") from error
        self.ledger.chain.commit(prepared, codec.encode_commit(asked.commit))
        self.maybe_crash()
        self.disk.ledger.sync()
        if self.honest:
            self.world.checkers.stored(self.index, self.height())
        self.ledger.committed(prepared.transactions)
        self._follow(prepared)
        self.later(self.world.rng.randint(0, WORK_MS_MAX), lambda: self.handle(Stored(tip=self._tip())))

    def _follow(self, prepared: Prepared) -> None:
        for receipt in prepared.execution.receipts:
            for log in receipt.logs:
                if log.topics[0] == EVENTS["RoundSettled"].topic:
                    self.ledger.settled(int.from_bytes(log.topics[2], "big"))
        self.services.act()
        self.services.pull_blobs()
        self.services.judge_next()

    def judged(self, round_number: int, record: bytes) -> None:
        if self.honest:
            self.world.checkers.judged(self.index, round_number, record)

    def send_blocks(self, asked: SendBlocks) -> None:
        """Answer a question for decided blocks from the store."""
        blocks, size = [], 0
        for height in range(asked.first, asked.first + min(asked.count, BLOCKS_MAX)):
            found = self.decided(height)
            if found is None or (blocks and size + len(found[0]) + len(found[1]) > BLOCKS_BYTES_MAX):
                break
            blocks.append(found)
            size += len(found[0]) + len(found[1])
        other = asked.peer[0] - 1
        if blocks:
            self.tell(other, Blocks(id=asked.id, first=asked.first, blocks=tuple(blocks)))
        else:
            self.tell(other, NotHeld(id=asked.id))

    def decided(self, height: int) -> tuple[bytes, bytes] | None:
        """A stored block and the commit that decided it: of the next block, or the tip's own."""
        block, after = self.disk.ledger.block(height), self.disk.ledger.block(height + 1)
        if block is None or height < 1:
            return None
        return block, decode_block(after).last_commit if after else self.ledger.chain.last_commit

    def _tip(self) -> Tip:
        chain, height = self.ledger.chain, self.height()
        members = contract.voters_of(self.disk.ledger)
        validators = ValidatorSet(members=tuple((Voter(address), power) for address, power in members))
        return Tip(
            height=Height(height),
            block_id=BlockId(chain.tip_hash),
            validators=validators,
            priorities=priorities_before(height + 1, validators, self.world.genesis.parameters.epoch_blocks),
            oldest_block=1,
            time_ms=chain.tip.time_ms,
        )

    def clock_ms(self) -> int:
        return self.world.genesis.time_ms + self.world.now_ms + (0 if self.world.quiet else self._skew_ms)


def locks_of(state: State | None) -> tuple[Lock, ...]:
    """The lock that a state holds, if any."""
    if state is None or state.locked_id is None:
        return ()
    return (Lock(height=state.height, round=state.locked_round, block_id=state.locked_id),)


def kept_in(actions: Sequence[Action]) -> tuple[Lock, ...]:
    """The blocks with a polka that actions write down: what a node may have been locked on for a moment."""
    kept = [decode_record(action.record) for action in actions if isinstance(action, Persist)]
    proposals = [record.proposal for record in kept if isinstance(record, KeptRecord)]
    return tuple(Lock(height=each.height, round=each.round, block_id=each.block_id) for each in proposals)


@lru_cache(maxsize=4096)
def own_words(message: object, voter: Voter) -> tuple[Vote | Proposal, ...]:
    """The votes and proposals of a voter in a message, in the order in which it has made them."""
    match message:
        case Votes():
            votes = (codec.decode_vote(encoded) for encoded in message.votes)
            return tuple(sorted((vote for vote in votes if vote.voter == voter), key=lambda vote: vote.slot))
        case CompactProposal() | WholeProposal():
            proposal = codec.decode_proposal(message.proposal)
            return (proposal,) if proposal.proposer == voter else ()
        case _:
            return ()
