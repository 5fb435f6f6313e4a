"""Home of one node's consensus over a network, without I/O: inputs in, actions out in the order they must be done.

It holds the driver (consensus/driver.py) and what it takes to feed it: votes that go round (chain/vote_exchange.py),
proposals that are completed and judged (chain/proposals.py), decided blocks that are fetched (chain/catchup.py). The
node's shell (chain/node.py) and the simulator perform its actions.

    replica = Replica(...)
    for action in replica.handle(Opened(tip=...)): perform(action)

Rules for whoever performs them: those of the driver. One at a time and in order; nothing leaves before the Persist in
front of it is synced; an action that fails ends the process. Build, Check, CommitBlock and SendBlocks are answered
later, and nothing need wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, assert_never

from chain.bodies import built_body, whole_body
from chain.catchup import CatchUp, require_commit
from chain.network.messages import (
    Blocks,
    CompactProposal,
    GetBlocks,
    GetProposal,
    GetProposalTransactions,
    HaveProposal,
    NotHeld,
    ProposalTransactions,
    Status,
    Votes,
    WholeProposal,
)
from chain.proposals import Offer, Proposals
from chain.replica_events import (
    BLAME_FATAL,
    Action,
    Blame,
    Build,
    Built,
    Checked,
    CommitBlock,
    Given,
    HeightDue,
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
from chain.round_times import RoundTimes
from chain.status import build_status, help_with
from chain.transactions import Transaction
from chain.vote_exchange import Recover, VoteExchange
from consensus import actions as consensus
from consensus import codec
from consensus.driver import Driver, Sign
from consensus.events import HeightStarted, ReportEquivocation, Step, TimedOut, TimeoutKind
from consensus.rules import State
from consensus.timeouts import PaceSettings
from consensus.types import NO_ROUND, ROUND_MAX, Height, InvalidConsensus, Round, Vote, Voter
from consensus.votelog import ClosedRecord, Recovered, encode_record

MESSAGES: Final = (
    CompactProposal,
    WholeProposal,
    Votes,
    Status,
    GetProposalTransactions,
    ProposalTransactions,
    HaveProposal,
    GetProposal,
    GetBlocks,
    Blocks,
    NotHeld,
)
"""The kinds of messages that a replica takes."""
LATER_PER_PEER_MAX: Final = 2
LATER_MAX: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """What a network, or a test of one, chooses. Milliseconds."""

    block_interval_ms: int = 1_000
    clock_ahead_ms_max: int = 10_000  # a fresh block's time beyond the own clock
    log_bytes_max: int = 16 << 20
    pace: PaceSettings = field(default_factory=PaceSettings)


class Replica:
    """One node's consensus. Deterministic, no I/O, not thread-safe."""

    def __init__(
        self,
        *,
        me: bytes | None,
        genesis: bytes,
        sign: Sign,
        log: Recovered,
        remembers: bool,
        recover: Recover,
        pool_get: Callable[[bytes], Transaction | None],
        clock_ms: Callable[[], int],
        time_ms: Callable[[], int],
        settings: ReplicaSettings,
    ) -> None:
        """`me` is the vote key's address, None for a node that only follows; `log` its recovered vote log.

        `remembers` is false where the log may lack votes of this key: it abstains until it has seen a height decided
        live, and at the one after. `clock_ms` never goes back and has any origin, `time_ms` is Unix time.
        """
        self.tip: Tip | None = None
        self.driver = Driver(
            me=Voter(me) if me else None,
            genesis=genesis,
            sign=sign,
            timeouts=consensus.Timeouts(),
            log=log,
            log_bytes_max=settings.log_bytes_max,
        )
        self._me = me
        self._genesis = genesis
        self._recover = recover
        self._clock_ms = clock_ms
        self._time_ms = time_ms
        self._settings = settings
        self._votes = VoteExchange(genesis=genesis, recover=recover)
        self._proposals = Proposals(genesis=genesis, recover=recover, pool_get=pool_get, clock_ms=clock_ms)
        self._catch_up = CatchUp(clock_ms=clock_ms)
        self._times = RoundTimes(settings=settings.pace, clock_ms=clock_ms)
        self._peers: tuple[bytes, ...] = ()
        self._later: dict[bytes, list[CompactProposal | WholeProposal | HaveProposal]] = {}
        self._later_height = 0
        self._told: dict[bytes, None] = {}  # peers that got a Status, or help, since the last tick
        self._heard_status = False
        self._remembers = remembers
        self._abstain_until: int | None = None  # the last height at which a key without its log abstains
        self._due = False
        self._committing = 0  # the height whose block is being stored
        self._height_started_ms = 0
        self._progress: object = None

    # ------------------------------------------------------------------------------------------------- what is known

    @property
    def height(self) -> int:
        """The height that this node works on."""
        assert self.tip is not None
        return max(self.tip.height + 1, self.driver.state.height if self.driver.state else 0)

    @property
    def height_started_ms(self) -> int:
        """When consensus on the current height began, by `clock_ms`."""
        return self._height_started_ms

    @property
    def is_behind(self) -> bool:
        """Whether peers say that there are decided blocks beyond the next one."""
        return self.tip is not None and self._catch_up.highest() > self.tip.height + 2

    @property
    def highest(self) -> int:
        """The greatest height that a peer says to work on, at least the own one."""
        return max(self.height, self._catch_up.highest())

    @property
    def abstains(self) -> bool:
        """Whether the own key says nothing because its log is gone."""
        return self._me is not None and not self._remembers

    # ---------------------------------------------------------------------------------------------------- the inputs

    def handle(self, given: Given) -> list[Action]:
        """What is to be done about an input, in order."""
        return self.handle_all((given,))

    def handle_all(self, given: Iterable[Given]) -> list[Action]:
        """The same for inputs that came together: what they make the node say shares frames and syncs."""
        actions: list[Action] = []
        for item in given:
            self._take(item, actions)
            if self.tip is not None:
                self._go_on(actions)
        actions += self._votes.flush(self._peers)
        return actions

    def _take(self, given: Given, actions: list[Action]) -> None:
        match given:
            case Opened():
                self._open(given, actions)
            case PeerConnected():
                self._peers = tuple(sorted({*self._peers, given.peer}))
                self._tell_status((given.peer,), actions)
            case PeerGone():
                self._forget_peer(given.peer)
            case Received():
                if given.peer in self._peers and self.tip is not None:
                    self._receive(given, actions)
            case Tick():
                self._tick(actions)
            case HeightDue():
                self._due = self._due or (self.tip is not None and given.height == self.tip.height + 1)
            case TimedOut():
                self._feed(given, actions)
            case Built():
                self._take_built(given, actions)
            case Checked():
                self._proposals.checked(given.block_id, given.valid, given.reason)
                self._feed_ready(actions)
            case Stored():
                self._take_stored(given.tip, actions)
            case _:
                assert_never(given)

    def _open(self, given: Opened, actions: list[Action]) -> None:
        self.tip = given.tip
        self._catch_up.advanced(given.tip.height)
        self._votes.start_height(given.tip.height, given.tip.validators)
        due = HeightDue(height=Height(given.tip.height + 1))
        actions.append(StartTimer(given=due, duration_ms=given.pause_ms))
        self._tell_status(self._peers, actions)

    def _forget_peer(self, peer: bytes) -> None:
        self._peers = tuple(other for other in self._peers if other != peer)
        self._later.pop(peer, None)
        self._told.pop(peer, None)
        self._votes.forget_peer(peer)
        self._proposals.forget_peer(peer)
        self._catch_up.forget_peer(peer)

    def _take_built(self, given: Built, actions: list[Action]) -> None:
        state = self.driver.state
        if state is None or state.height != given.height:
            return
        body = built_body(given.block_id, given.block, given.encoded, given.transactions)
        self._proposals.bodies.setdefault(given.block_id, body)
        built = consensus.BlockBuilt(
            height=given.height, round=given.round, block_id=given.block_id, block=given.encoded
        )
        self._feed(built, actions)

    def _take_stored(self, tip: Tip, actions: list[Action]) -> None:
        assert self.tip is not None
        assert tip.height == self.tip.height + 1
        state = self.driver.state
        worked = state is not None and state.height == tip.height
        decided = state is not None and worked and state.step == Step.DECIDED
        self.tip, self._committing, self._due = tip, 0, False
        self._catch_up.advanced(tip.height)
        self._remember_again(tip.height, decided)
        if self._votes.height == tip.height:
            self._votes.next_validators = tip.validators
        else:
            self._votes.start_height(tip.height, tip.validators)
        wait_ms = self._height_started_ms + self._settings.block_interval_ms - self._clock_ms() if worked else 0
        due = HeightDue(height=Height(tip.height + 1))
        actions.append(StartTimer(given=due, duration_ms=max(0, wait_ms)))

    def _remember_again(self, height: int, decided_live: bool) -> None:
        """A key without its log has seen a height decided, and one more: it has said nothing at later ones."""
        if self._remembers:
            return
        if self._abstain_until is not None and height >= self._abstain_until:
            self._remembers = True
        elif decided_live and self._abstain_until is None and not self.is_behind:
            self._abstain_until = height + 1

    # --------------------------------------------------------------------------------------------------- the messages

    def _receive(self, given: Received, actions: list[Action]) -> None:
        peer, message = given.peer, given.message
        state = self.driver.state
        match message:
            case Votes():
                self._take_votes(peer, message, actions)
            case CompactProposal() | WholeProposal():
                self._take_proposal(peer, message, actions)
            case HaveProposal() if state is not None and message.height == state.height:
                actions += self._proposals.take_have(peer, message.round, message.block_id, state)
            case HaveProposal():
                self._keep_for_later(peer, message, message.height, actions)
            case GetProposal():
                actions += self._proposals.answer(peer, message)
            case GetProposalTransactions():
                actions += self._proposals.answer_transactions(peer, message)
            case ProposalTransactions():
                actions += self._proposals.take_transactions(peer, message)
            case Status():
                self._take_status(peer, message, actions)
            case GetBlocks():
                actions.append(SendBlocks(peer=peer, id=message.id, first=message.first, count=message.count))
            case Blocks():
                actions += self._catch_up.take(peer, message)
            case NotHeld():
                actions += self._catch_up.not_held(peer, message.id)
            case _:
                raise AssertionError(f"{type(message).__name__} is no message for a replica")

    def _take_votes(self, peer: bytes, message: Votes, actions: list[Action]) -> None:
        round_ = self.driver.state.round if self.driver.state else 0
        votes, greatest, blame = self._votes.take(peer, message.votes, Round(round_))
        if blame:
            actions.append(blame)
        if greatest > self.height + 1:
            self._catch_up.heard(peer, greatest - 1)
        for vote in votes:
            if self._is_forgotten(vote):
                actions += self._translated(self.driver.silence())
            self._feed(consensus.VoteReceived(vote=vote), actions)

    def _is_forgotten(self, vote: Vote) -> bool:
        """Whether the own key has signed this elsewhere, or before its log was lost."""
        state = self.driver.state
        ours = vote.voter == self._me and state is not None and vote.height == state.height
        return ours and not self.driver.has_said(vote)

    def _take_proposal(self, peer: bytes, message: CompactProposal | WholeProposal, actions: list[Action]) -> None:
        try:
            height = codec.decode_proposal(message.proposal).height
        except InvalidConsensus as error:
            actions.append(Blame(peer=peer, points=BLAME_FATAL, reason=f"a proposal that is none: {error}"))
            return
        state = self.driver.state
        if self.tip is not None and height <= self.tip.height:
            return  # decided meanwhile: the ledger can't judge it any more
        if state is not None and height == state.height:
            actions += self._proposals.take(peer, message, state)
            self._feed_ready(actions)
        else:
            self._keep_for_later(peer, message, height, actions)

    def _keep_for_later(
        self, peer: bytes, message: CompactProposal | WholeProposal | HaveProposal, height: int, actions: list[Action]
    ) -> None:
        """What is of the next height waits until that starts, the last few of each peer."""
        state = self.driver.state
        coming = state.height + 1 if state is not None else self.height
        if height > coming:
            self._catch_up.heard(peer, height)
        if height != coming:
            return
        if self._later_height != coming:
            self._later, self._later_height = {}, coming
        if peer in self._later or len(self._later) < LATER_MAX:
            self._later[peer] = [*self._later.get(peer, []), message][-LATER_PER_PEER_MAX:]

    def _take_status(self, peer: bytes, message: Status, actions: list[Action]) -> None:
        self._heard_status = True
        self._catch_up.heard(peer, message.height, message.oldest_block)
        if peer in self._told:
            return
        state = self.driver.state
        if state is not None and message.height == state.height:
            help_ = help_with(peer, message, self.driver.votes(), state, self._proposals)
            if help_:
                self._told[peer] = None
                actions += help_
        elif message.height < self.height:
            self._told[peer] = None
            self._tell_status((peer,), actions)

    def _tell_status(self, peers: tuple[bytes, ...], actions: list[Action]) -> None:
        if peers and self.tip is not None:
            state = self.driver.state
            votes = self.driver.votes()
            status = build_status(self.height, self.tip.oldest_block, votes, state, self._proposals)
            actions.append(Send(peers=peers, message=status))

    def _tick(self, actions: list[Action]) -> None:
        self._votes.tick()
        self._told = {}
        state = self.driver.state
        if self.tip is None:
            return
        if state is not None:
            actions += self._proposals.tick(state)
        actions += self._catch_up.tick()
        progress = self._progress_made()
        waits = state is not None and state.height == self.tip.height  # for its block interval
        if progress == self._progress and not waits:
            self._tell_status(self._peers, actions)
        self._progress = progress

    def _progress_made(self) -> object:
        state = self.driver.state
        if state is None:
            return self._catch_up.progress()
        proposals = sum(len(row) for row in state.proposals.values())
        return self._catch_up.progress(), state.height, state.round, state.step, len(self.driver.votes()), proposals

    # ------------------------------------------------------------------------------------------------- going on

    def _go_on(self, actions: list[Action]) -> None:
        """Store what is decided, fetch what is missing, start the next height: whatever has become possible."""
        assert self.tip is not None
        actions += self._catch_up.plan(self._committing)
        while not self._committing and (fetched := self._catch_up.next()) is not None:
            try:
                require_commit(fetched.commit, self.tip.validators, self._genesis, self._recover)
            except InvalidConsensus as error:
                actions += self._catch_up.reject(fetched, str(error))
                continue
            self._committing = fetched.commit.height
            actions += self._votes.flush(self._peers)
            actions.append(
                CommitBlock(commit=fetched.commit, block_id=fetched.commit.block_id, block=fetched.block, live=False)
            )
        if self._may_start(self.tip):
            self._start_height(self.tip, actions)

    def _may_start(self, tip: Tip) -> bool:
        started = self.driver.state is not None and self.driver.state.height > tip.height
        if self._committing or started or self._catch_up.is_fetching():
            return False
        alone = len(tip.validators.members) == 1
        if self.abstains and tip.height == 0 and not alone and not self._heard_status:
            return False  # others may be far ahead of a log that is empty: it must not begin anew
        return self._due or tip.validators.is_one_third(self._votes.next_power(tip.validators))

    def _start_height(self, tip: Tip, actions: list[Action]) -> None:
        height = Height(tip.height + 1)
        self._due = False
        self._height_started_ms = self._clock_ms()
        self.driver.timeouts = self._times.start_height()
        self._votes.start_height(height, tip.validators)
        self._proposals.start_height(height)
        voting = self._remembers or self._may_begin(tip)
        if self._me is not None and not voting and tip.validators.power(Voter(self._me)):
            # Across a restart too, nothing is said at the next height either.
            actions.append(consensus.Persist(record=encode_record(ClosedRecord(height=Height(height + 1)))))
        started = HeightStarted(height=height, validators=tip.validators, priorities=tip.priorities, voting=voting)
        self._feed(started, actions)
        for vote in self._votes.of_height():  # they are told once only
            self._feed(consensus.VoteReceived(vote=vote), actions)
        for proposal, block in self.driver.proposals():
            self._proposals.remember(proposal, block)
        later, self._later = self._later, {}
        for peer, messages in later.items():
            for message in messages if self._later_height == height else ():
                self._receive(Received(peer=peer, message=message), actions)

    def _may_begin(self, tip: Tip) -> bool:
        """At the first height nobody has voted before, as far as anyone who was heard says."""
        if tip.height == 0 and self._catch_up.highest() <= 1:
            self._remembers = True
        return self._remembers

    # -------------------------------------------------------------------------------------------------- the driver

    def _feed(self, given: consensus.Given, actions: list[Action]) -> None:
        for action in self.driver.handle(given):
            self._perform(action, actions)
        state = self.driver.state
        if state is None:
            return
        self._times.observe(state)
        self._stop_if_outvoted(state, actions)
        nil_power = state.book.precommits(state.round).power_for(None)
        if state.step != Step.DECIDED and state.round < ROUND_MAX and state.validators.is_quorum(nil_power):
            # Nothing can be decided in this round any more: what its last timeout waits for can't come.
            self._feed(TimedOut(kind=TimeoutKind.PRECOMMIT, height=state.height, round=state.round), actions)

    def _feed_ready(self, actions: list[Action]) -> None:
        """Give consensus the proposals that are judged, and tell others of them."""
        ready, self._proposals.ready = self._proposals.ready, []
        for offer in ready:
            body = self._proposals.bodies[offer.proposal.block_id]
            actions += self._proposals.announce(offer, self._peers)
            self._times.proposed(offer.proposal.round)
            ahead_ms = body.header.time_ms - self._time_ms()
            fresh_ok = offer.proposal.valid_round != NO_ROUND or ahead_ms <= self._settings.clock_ahead_ms_max
            received = consensus.ProposalReceived(
                proposal=offer.proposal,
                block=body.encoded() if body.valid else b"",
                valid=bool(body.valid),
                fresh_ok=fresh_ok,
            )
            self._feed(received, actions)

    def _perform(self, action: consensus.Action, actions: list[Action]) -> None:
        match action:
            case consensus.Persist() | consensus.ReplaceLog() | ReportEquivocation():
                actions.append(action)
            case consensus.SendVote():
                self._votes.say(action.vote)
            case consensus.SendProposal():
                self._say_proposal(action, actions)
            case consensus.StartTimer():
                fired = TimedOut(kind=action.kind, height=action.height, round=action.round)
                actions.append(StartTimer(given=fired, duration_ms=action.duration_ms))
            case consensus.BuildBlock():
                last_commit = self.driver.last_commit()
                actions.append(Build(height=action.height, round=action.round, last_commit=last_commit))
            case consensus.CommitBlock():
                self._commit(action, actions)
            case _:
                assert_never(action)

    def _translated(self, given: list[consensus.Action]) -> list[Action]:
        actions: list[Action] = []
        for action in given:
            self._perform(action, actions)
        return actions

    def _say_proposal(self, action: consensus.SendProposal, actions: list[Action]) -> None:
        offer: Offer = self._proposals.remember(action.proposal, action.block)
        fresh = action.proposal.round == 0
        message = self._proposals.compact(offer) if fresh else self._proposals.whole(offer)
        for peer in self._peers:
            offer.holders[peer] = None
        if self._peers:
            actions.append(Send(peers=self._peers, message=message))

    def _commit(self, action: consensus.CommitBlock, actions: list[Action]) -> None:
        commit = action.commit
        assert self.tip is not None
        if commit.height <= max(self._committing, self.tip.height):
            return  # a peer's block came first
        self._committing = commit.height
        actions += self._votes.flush(self._peers)
        body = self._proposals.bodies.get(commit.block_id) or whole_body(action.block, commit.block_id)
        assert body.block is not None
        actions.append(CommitBlock(commit=commit, block_id=commit.block_id, block=body.block, live=True))

    def _stop_if_outvoted(self, state: State, actions: list[Action]) -> None:
        """Two thirds precommit a block only if it is valid: either they lie, or this node computes something else."""
        if state.step == Step.DECIDED:
            return
        for (round_, block_id), offer in self._proposals.offers.items():
            body = self._proposals.bodies.get(block_id)
            power = state.book.precommits(round_).power_for(offer.proposal.block_id)
            if body is not None and body.valid is False and state.validators.is_quorum(power):
                actions.append(Stop(reason=f"two thirds have signed block {block_id.hex()}, but {body.reason}"))
