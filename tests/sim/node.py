"""Home of a simulated honest node: the shell around the real driver and the real vote log."""

from collections.abc import Callable

from consensus import proposer, votelog
from consensus.driver import (
    Action,
    BlockBuilt,
    BuildBlock,
    CommitBlock,
    Driver,
    Given,
    Persist,
    ProposalReceived,
    ReplaceLog,
    SendProposal,
    SendVote,
    StartTimer,
    Timeouts,
    VoteReceived,
)
from consensus.events import HeightStarted, ReportEquivocation, TimedOut
from consensus.types import BlockId, Commit, Height, InvalidConsensus, Vote
from tests.sim import blocks, plan
from tests.sim.checkers import Violation
from tests.sim.disk import Disk
from tests.sim.messages import Decision, Message, Offer, Status, is_signed, sign
from tests.sim.world import World

BLOCK_INTERVAL_MS = 300
STATUS_MS = 1_000
OFFERS_WAITING_MAX = 8


class Crash(Exception):
    """The node's power fails here."""


class Node:
    """What the real node's shell is, with a simulated clock, network, disk and ledger."""

    def __init__(self, world: World, index: int) -> None:
        self.index = index
        self.disk = Disk()
        self.driver: Driver | None = None
        self._world = world
        self._life = 0
        self._waiting: list[tuple[int, Offer]] = []
        self._skew_ms = world.rng.randint(-world.plan.clock_skew_ms_max, world.plan.clock_skew_ms_max)

    # -------------------------------------------------------------------------------------------- life and death

    def start(self) -> None:
        """Come up from what the disk holds."""
        self._life += 1
        if not self.disk.durable:
            self.disk.replace(votelog.header(self._world.rng.randbytes(votelog.SALT_BYTES)))
        scan = votelog.scan(self.disk.durable)
        self.disk.truncate(scan.length)
        self._salt = scan.salt
        self.driver = Driver(
            me=plan.address(self.index),
            genesis=blocks.GENESIS,
            sign=lambda data: sign(plan.address(self.index), data),
            timeouts=Timeouts(propose_ms=600, prevote_ms=200, precommit_ms=200, propose_step_ms=200),
            log=votelog.recover(scan.records),
            log_bytes_max=self._world.plan.log_bytes_max,
        )
        self._waiting = []
        self._world.checkers.stored(self.index, self.height())
        self._later(STATUS_MS, self._tell_status)
        self._start_height()

    def height(self) -> int:
        """The last height that is on the disk."""
        return len(self.disk.blocks)

    def crash(self) -> None:
        """Lose power, if it is on, and come up again some time later."""
        if self.driver is None:
            return
        self.disk.crash(self._world.rng)
        self.driver = None
        self._life += 1
        self._world.crashes += 1
        left_ms = max(self._world.plan.quiet_at_ms - self._world.now_ms, 0)
        self._world.after(min(self._world.rng.randint(10, self._world.plan.down_ms_max), left_ms), self.start)

    def _maybe_crash(self) -> None:
        if self._world.chance(self._world.plan.crash):
            raise Crash

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something unless the node has died by then."""
        life = self._life
        self._world.after(delay_ms, lambda: action() if life == self._life else None)

    # ------------------------------------------------------------------------------------------ inputs and actions

    def handle(self, given: Given) -> None:
        """Feed the driver and do what it says, dying anywhere in between if so it happens."""
        assert self.driver is not None
        try:
            for action in self.driver.handle(given):
                self._maybe_crash()
                self._perform(action)
        except Crash:
            self.crash()
        except InvalidConsensus as error:
            raise Violation(f"an honest node was blamed: {error}") from error

    def _perform(self, action: Action) -> None:
        match action:
            case Persist():
                self.disk.append(votelog.frame(self._salt, action.record))
                self._maybe_crash()
                self.disk.sync()
            case ReplaceLog():
                self._salt = self._world.rng.randbytes(votelog.SALT_BYTES)
                frames = [votelog.frame(self._salt, record) for record in action.records]
                self.disk.replace(votelog.header(self._salt) + b"".join(frames))
            case SendProposal():
                self._world.checkers.proposal_sent(action.proposal, action.block, self.disk)
                self._world.broadcast(self.index, Offer(proposal=action.proposal, block=action.block))
            case SendVote():
                self._world.rounds_max = max(self._world.rounds_max, action.vote.round)
                self._world.checkers.vote_sent(action.vote, self.disk)
                self._world.broadcast(self.index, action.vote)
            case StartTimer():
                fired = TimedOut(kind=action.kind, height=action.height, round=action.round)
                self._later(action.duration_ms, lambda: self.handle(fired))
            case BuildBlock():
                self._build(action)
            case CommitBlock():
                self._commit(action.commit, action.block)
            case ReportEquivocation():
                first, second = action.evidence.first, action.evidence.second
                if not (is_signed(first) and is_signed(second) and self._world.plan.liar and first.voter[0] == 1):
                    raise Violation(f"evidence against an honest voter: {action.evidence}")

    def _build(self, asked: BuildBlock) -> None:
        if self._world.chance(self._world.plan.build_failure):
            return
        block = blocks.build(
            height=asked.height,
            parent=self._tip(),
            time_ms=self._clock_ms(),
            nonce=self._world.rng.getrandbits(64),
            right=True,
        )
        self._world.checkers.block_made(block)
        block_id = blocks.block_id(block)
        built = BlockBuilt(height=asked.height, round=asked.round, block_id=block_id, block=block)
        self._later(self._world.rng.randint(1, 30), lambda: self.handle(built))

    def _commit(self, commit: Commit, block: bytes) -> None:
        self._world.checkers.committed(commit, block)
        if commit.height != self.height() + 1:
            raise Violation(f"height {commit.height} was decided after {self.height()}")
        self.disk.put_block(block, commit)
        self._maybe_crash()
        self.disk.sync_blocks()
        self._world.checkers.stored(self.index, self.height())
        self._later(BLOCK_INTERVAL_MS, self._start_height)

    def _start_height(self) -> None:
        height = self.height() + 1
        if self.driver is None or (self.driver.state is not None and self.driver.state.height >= height):
            return
        validators = self._world.plan.validators(height)
        into_epoch = (height - 1) % plan.EPOCH_HEIGHTS
        priorities = proposer.after(validators, into_epoch)
        life = self._life
        self.handle(HeightStarted(height=Height(height), validators=validators, priorities=priorities))
        waiting, self._waiting = self._waiting, []
        for sender, offer in waiting:
            if life == self._life:
                self.receive(sender, offer)

    # -------------------------------------------------------------------------------------------------- network

    def receive(self, sender: int, message: Message) -> None:
        """Take a message as the real node would: verify, judge, then feed the driver."""
        if self.driver is None or self.driver.state is None:
            return
        match message:
            case Vote():
                if is_signed(message):
                    self.handle(VoteReceived(vote=message))
            case Offer():
                self._take_offer(sender, message)
            case Decision():
                self._catch_up(message)
            case Status():
                self._help(sender, message)

    def _take_offer(self, sender: int, offer: Offer) -> None:
        assert self.driver is not None
        assert self.driver.state is not None
        proposal, here = offer.proposal, self.driver.state.height
        if not is_signed(proposal) or blocks.block_id(offer.block) != proposal.block_id:
            return
        if proposal.height == here + 1 and len(self._waiting) < OFFERS_WAITING_MAX:
            self._waiting.append((sender, offer))
        if proposal.height != here or self.height() != here - 1:
            return
        verdict = blocks.judge(offer.block, height=here, parent=self._tip(), clock_ms=self._clock_ms())
        self.handle(
            ProposalReceived(proposal=proposal, block=offer.block, valid=verdict.valid, fresh_ok=verdict.fresh_ok)
        )

    def _catch_up(self, decision: Decision) -> None:
        commit = decision.commit
        if commit.height != self.height() + 1:
            return
        validators = self._world.plan.validators(commit.height)
        if not validators.is_quorum(commit.power(validators)) or not all(map(is_signed, commit.votes())):
            raise Violation(f"a commit without two thirds was passed on: {commit}")
        self._world.checkers.committed(commit, decision.block)
        self.disk.put_block(decision.block, commit)
        self.disk.sync_blocks()
        self._world.checkers.stored(self.index, self.height())
        self._start_height()

    def _tell_status(self) -> None:
        assert self.driver is not None
        self._later(STATUS_MS, self._tell_status)
        votes = frozenset((v.round, int(v.kind), v.voter, v.block_id) for v in self.driver.votes())
        known = frozenset((p.round, p.block_id) for p, _ in self.driver.proposals())
        self._world.broadcast(self.index, Status(height=self.height() + 1, votes=votes, proposals=known))

    def _help(self, receiver: int, status: Status) -> None:
        """Send what the other lacks: the decision of its height, or proposals and votes of a common one."""
        assert self.driver is not None
        assert self.driver.state is not None
        if status.height <= self.height():
            block, commit = self.disk.blocks[status.height - 1]
            assert isinstance(commit, Commit)
            self._world.send(self.index, receiver, Decision(block=block, commit=commit))
        if status.height != self.driver.state.height:
            return
        for proposal, block in self.driver.proposals():
            if (proposal.round, proposal.block_id) not in status.proposals:
                self._world.send(self.index, receiver, Offer(proposal=proposal, block=block))
        for vote in self.driver.votes():
            if (vote.round, int(vote.kind), vote.voter, vote.block_id) not in status.votes:
                self._world.send(self.index, receiver, vote)

    def _tip(self) -> BlockId:
        return blocks.block_id(self.disk.blocks[-1][0]) if self.disk.blocks else blocks.GENESIS

    def _clock_ms(self) -> int:
        return self._world.now_ms + (0 if self._world.quiet else self._skew_ms)
