"""Home of a node's part in deciding a height: the driver, what it is fed, and what becomes of its actions.

Votes and proposals come from vote_exchange.py and proposals.py, judged; what the driver says goes out through them.
Nothing here knows of other heights, but for the votes that come early.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

from chain.network.messages import CompactProposal, HaveProposal, Status, Votes, WholeProposal
from chain.replication.bodies import built_body, whole_body
from chain.replication.events import Action, Build, Built, Checked, CommitBlock, Send, StartTimer, Stop, Tip
from chain.replication.proposals import Proposals
from chain.replication.round_times import RoundTimes
from chain.replication.serving import Serving
from chain.replication.status import build_status, help_with
from chain.replication.vote_exchange import Recover, VoteExchange
from chain.transactions import Transaction
from consensus import actions as consensus
from consensus.driver import Driver, Sign
from consensus.events import HeightStarted, ReportEquivocation, Step, TimedOut, TimeoutKind
from consensus.rules import State
from consensus.timeouts import PaceSettings
from consensus.types import NO_ROUND, Height, Vote, Voter
from consensus.votelog import Recovered

HASTY_ROUNDS: Final = 4
"""Later rounds wait for their last timeout even where it can bring nothing: where every block gets nil at once (most
clocks are wrong, say), rounds would follow each other at the network's speed, and there are only so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """What a network, or a test of one, chooses. Milliseconds."""

    block_interval_ms: int = 1_000
    clock_ahead_ms_max: int = 10_000  # a fresh block's time beyond the own clock
    log_bytes_max: int = 16 << 20
    pace: PaceSettings = field(default_factory=PaceSettings)


class Deliberation:
    """One node's consensus on one height after the other. Actions are appended to the list that is given."""

    def __init__(
        self,
        *,
        me: bytes | None,
        genesis: bytes,
        sign: Sign,
        log: Recovered,
        recover: Recover,
        pool_get: Callable[[bytes], Transaction | None],
        clock_ms: Callable[[], int],
        time_ms: Callable[[], int],
        settings: ReplicaSettings,
    ) -> None:
        """See chain/replication/replica.py."""
        self.driver = Driver(
            me=Voter(me) if me else None,
            genesis=genesis,
            sign=sign,
            timeouts=consensus.Timeouts(),
            log=log,
            log_bytes_max=settings.log_bytes_max,
        )
        self.votes = VoteExchange(genesis=genesis, recover=recover, turn=zlib.crc32(me or b""))
        self.proposals = Proposals(genesis=genesis, recover=recover, pool_get=pool_get, clock_ms=clock_ms)
        self.serving = Serving(self.proposals)
        self.times = RoundTimes(settings=settings.pace, clock_ms=clock_ms)
        self.peers: tuple[bytes, ...] = ()
        self.stored = 0  # the height up to which blocks are stored, or being stored
        self._me = me
        self._time_ms = time_ms
        self._settings = settings

    @property
    def state(self) -> State | None:
        """The current height's, or the last one's until the next starts."""
        return self.driver.state

    def is_at(self, height: int) -> bool:
        """Whether this height has been started, and none after it."""
        return self.state is not None and self.state.height == height

    @property
    def is_decided(self) -> bool:
        return self.state is not None and self.state.step == Step.DECIDED

    # ------------------------------------------------------------------------------------------------------- heights

    def start(self, tip: Tip, voting: bool, actions: list[Action]) -> None:
        """Begin the height after the tip."""
        height = Height(tip.height + 1)
        self.times.start_height()
        self.proposals.start_height(height)
        self.serving.start_height()
        early = self.votes.start_height(height, tip.validators)
        started = HeightStarted(height=height, validators=tip.validators, priorities=tip.priorities, voting=voting)
        self._feed(started, actions)
        for proposal, block in self.driver.proposals():
            self.proposals.remember(proposal, block)
        for vote in early:
            self._take_vote(vote, actions)

    def tick(self, actions: list[Action]) -> None:
        self.votes.tick()
        if self.state is not None and not self.is_decided:
            actions += self.proposals.tick(self.state)
            self._feed_ready(actions)

    def forget_peer(self, peer: bytes) -> None:
        self.votes.forget_peer(peer)
        self.proposals.forget_peer(peer)
        self.serving.forget_peer(peer)

    # -------------------------------------------------------------------------------------------------------- inputs

    def take_votes(self, peer: bytes, message: Votes, actions: list[Action]) -> int:
        """A peer's votes; the greatest height among them."""
        taken = self.votes.take(peer, message.votes, self.state)
        if taken.blame:
            actions.append(taken.blame)
        for vote in taken.votes:
            self._take_vote(vote, actions)
        return taken.greatest

    def _take_vote(self, vote: Vote, actions: list[Action]) -> None:
        if vote.voter == self._me and self.is_at(vote.height) and not self.driver.has_said(vote):
            self.silence(actions)  # signed elsewhere, or before the log was lost
        self._feed(consensus.VoteReceived(vote=vote), actions)

    def silence(self, actions: list[Action]) -> None:
        """Say nothing more at this height."""
        for action in self.driver.silence():
            self._perform(action, actions)

    def take_proposal(
        self, peer: bytes, message: CompactProposal | WholeProposal | HaveProposal, actions: list[Action]
    ) -> None:
        """What a peer says of a proposal of this height."""
        if self.state is None or self.is_decided:
            return
        if isinstance(message, HaveProposal):
            actions += self.proposals.take_have(peer, message.round, message.block_id, self.state)
        else:
            actions += self.proposals.take(peer, message, self.state)
            self._feed_ready(actions)

    def take_built(self, given: Built, actions: list[Action]) -> None:
        if not self.is_at(given.height):
            return
        body = built_body(given.block_id, given.block, given.encoded, given.transactions)
        self.proposals.bodies.setdefault(given.block_id, body)
        built = consensus.BlockBuilt(
            height=given.height, round=given.round, block_id=given.block_id, block=given.encoded
        )
        self._feed(built, actions)

    def take_checked(self, given: Checked, actions: list[Action]) -> None:
        self.proposals.checked(given.block_id, given.valid, given.reason)
        self._feed_ready(actions)

    def take_timeout(self, given: TimedOut, actions: list[Action]) -> None:
        self._feed(given, actions)

    def status(self, height: int, oldest_block: int) -> Status:
        """What this node has of the height that it works on."""
        return build_status(height, oldest_block, self.driver.votes(), self.state, self.proposals)

    def help(self, peer: bytes, status: Status) -> list[Action]:
        """What a peer lacks of this height."""
        if self.state is None or self.state.height != status.height:
            return []
        return help_with(peer, status, self.driver.votes(), self.state, self.serving)

    # ---------------------------------------------------------------------------------------------------- the driver

    def _feed(self, given: consensus.Given, actions: list[Action]) -> None:
        self.driver.timeouts = self.times.timeouts()
        for action in self.driver.handle(given):
            self._perform(action, actions)
        state = self.state
        if state is None:
            return
        self.times.observe(state)
        if self.is_decided:
            return
        self._stop_if_outvoted(state, actions)
        nil_power = state.book.precommits(state.round).power_for(None)
        if state.round < HASTY_ROUNDS and state.validators.is_quorum(nil_power):
            # Nothing can be decided in this round any more: what its last timeout waits for can't come.
            self._feed(TimedOut(kind=TimeoutKind.PRECOMMIT, height=state.height, round=state.round), actions)

    def _feed_ready(self, actions: list[Action]) -> None:
        """Give consensus the proposals that are judged, and tell others of them."""
        ready, self.proposals.ready = self.proposals.ready, []
        for offer in ready:
            body = self.proposals.bodies[offer.proposal.block_id]
            actions += self.serving.announce(offer, self.peers)
            self.times.proposed(offer.proposal.round)
            ahead_ms = body.header.time_ms - self._time_ms()
            received = consensus.ProposalReceived(
                proposal=offer.proposal,
                block=body.encoded() if body.valid else b"",
                valid=bool(body.valid),
                fresh_ok=offer.proposal.valid_round != NO_ROUND or ahead_ms <= self._settings.clock_ahead_ms_max,
            )
            self._feed(received, actions)

    def _perform(self, action: consensus.Action, actions: list[Action]) -> None:
        match action:
            case consensus.Persist() | consensus.ReplaceLog() | ReportEquivocation():
                actions.append(action)
            case consensus.SendVote():
                self.votes.say(action.vote)
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

    def _say_proposal(self, action: consensus.SendProposal, actions: list[Action]) -> None:
        """Round 0 names transactions, which everyone's pool should have; later ones leave nothing to chance."""
        offer = self.proposals.remember(action.proposal, action.block)
        compact = action.proposal.round == 0
        message = self.serving.compact(offer) if compact else self.serving.whole(offer)
        for peer in self.peers:
            offer.holders[peer] = None
        if self.peers:
            actions.append(Send(peers=self.peers, message=message))

    def _commit(self, action: consensus.CommitBlock, actions: list[Action]) -> None:
        commit = action.commit
        if commit.height <= self.stored:
            return  # a peer's block came first
        self.stored = commit.height
        actions += self.votes.flush(self.peers)  # before anything that takes long
        body = self.proposals.bodies.get(commit.block_id) or whole_body(action.block, commit.block_id)
        assert body.block is not None
        actions.append(CommitBlock(commit=commit, block_id=commit.block_id, block=body.block, live=True))

    def _stop_if_outvoted(self, state: State, actions: list[Action]) -> None:
        """Two thirds precommit a block only if it is valid: either they lie, or this node computes something else."""
        for (round_, block_id), offer in self.proposals.offers.items():
            body = self.proposals.bodies.get(block_id)
            power = state.book.precommits(round_).power_for(offer.proposal.block_id)
            if body is not None and body.valid is False and state.validators.is_quorum(power):
                actions.append(Stop(reason=f"two thirds have signed block {block_id.hex()}, but {body.reason}"))
