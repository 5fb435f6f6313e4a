"""Home of the glue between the Tendermint core and a node: inputs in, actions out in the order they must be done.

The driver signs what the core decides to say, logs it, loops it back into the core (own votes and proposals take the
path of everyone's), and holds the bytes of the blocks of the current height. It has no clock, disk or socket: a
node and the simulator perform its actions, and that is all they need to do.

    driver = Driver(me, genesis, sign, timeouts)
    for action in driver.handle(HeightStarted(...)):
        match action:
            case Persist():        vote_log.append(action.record)        # returns when synced
            case SendProposal():   gossip(action.proposal, action.block)
            case SendVote():       gossip(action.vote)
            case StartTimer():     call_later(action.duration_ms, TimerFired(kind, height, round))
            case BuildBlock():     build on a worker, then handle(BlockBuilt(...)) (no answer is allowed)
            case CommitBlock():    execute and store the block with its commit, synced, then start the next height
            case ReplaceLog():     vote_log.replace(action.records)      # atomic
            case ReportEquivocation(): put the evidence into a block

Rules for whoever performs them:

- One at a time and in order; an action that fails (a full disk) ends the process, as the driver has moved on and only
  the log knows what was said. Nothing may leave the node before the `Persist` in front of it has returned.
- Only what has been verified goes in: `VoteReceived` and `ProposalReceived` carry signatures that the node has
  checked over `sign_bytes(genesis)`; whether voter and proposer may speak is checked here.
- `ProposalReceived.valid` is the objective verdict on the block (it and its parent's state); `fresh_ok` is the local
  one (its time is not too far ahead). A proposal may come late, and again, and no answer is always allowed.
- `CommitBlock` comes once a height. The node starts the next one when it likes (that is the block interval) by
  `HeightStarted`; precommits that arrive in between still join `last_commit()`.
- Messages of the next height: votes are kept (bounded); the node itself keeps a proposal until its height starts.
- Messages of another height or an outsider are ignored. `InvalidConsensus` is raised for what no honest node sends.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, assert_never

from consensus import events, tendermint
from consensus.actions import (
    Action,
    BlockBuilt,
    BuildBlock,
    CommitBlock,
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
from consensus.events import HeightStarted, ReportEquivocation, Step, TimedOut
from consensus.rules import State
from consensus.types import BlockId, Commit, Height, Proposal, Round, Vote, VoteKind, Voter
from consensus.votelog import (
    FRAME_BYTES,
    ClosedRecord,
    KeptRecord,
    ProposalRecord,
    Record,
    Recovered,
    VoteRecord,
    encode_record,
    forgets,
)

LOG_BYTES_MAX: Final = 16 << 20
"""A log longer than this is replaced by an empty one when the next height starts."""
NEXT_HEIGHT_ROUND_MAX: Final = 1
"""Votes of the next height are kept up to this round, of members of this height's set."""

Sign = Callable[[bytes], bytes]
"""Signs what `sign_bytes` gives, with the key of the driver's `me`."""


class Driver:
    """One node's consensus: feed `handle`, perform what it returns. Deterministic, no I/O, not thread-safe."""

    def __init__(
        self,
        *,
        me: Voter | None,
        genesis: bytes,
        sign: Sign,
        timeouts: Timeouts,
        log: Recovered,
        log_bytes_max: int = LOG_BYTES_MAX,
    ) -> None:
        """`log` is votelog.recover of the vote log's records at start; `me` is None for a node without a key."""
        self.state: State | None = None
        self._me = me
        self._genesis = genesis
        self._sign = sign
        self.timeouts = timeouts
        """May be changed at any time, as the network does."""
        self._log = log
        self._log_bytes = log.bytes_used
        self._log_bytes_max = log_bytes_max
        self._signed_votes: dict[tuple[Round, VoteKind], Vote] = {}
        self._signed_proposals: dict[Round, Proposal] = {}
        self._blocks: dict[BlockId, bytes] = {}
        self._logged_blocks: set[BlockId] = set()
        self._next_votes: dict[tuple[Voter, Round, VoteKind], Vote] = {}
        self._commit: Commit | None = None

    def handle(self, given: Given) -> list[Action]:
        """What is to be done about an input, in order. InvalidConsensus for what no honest node sends."""
        actions: list[Action] = []
        if isinstance(given, HeightStarted):
            self._start(given, actions)
        elif self.state is not None:
            self._take(self.state, given, actions)
        self._drop_blocks()
        return actions

    def last_commit(self) -> Commit | None:
        """The commit of the last decided height with every precommit since; None: the stored one is all there is."""
        return _fullest(self.state) or self._commit

    def votes(self) -> tuple[Vote, ...]:
        """Every vote of this height that counts here, to be sent to peers that lack it."""
        return self.state.book.all_votes() if self.state else ()

    def proposals(self) -> tuple[tuple[Proposal, bytes], ...]:
        """The valid proposals of this height with their blocks, to be sent to peers that lack them."""
        known = [given for row in self.state.proposals.values() for given in row] if self.state else []
        return tuple((given.proposal, self._blocks[given.proposal.block_id]) for given in known if given.valid)

    def has_said(self, vote: Vote) -> bool:
        """Whether a vote of this key at this height is one that this driver, or its log, knows of."""
        said = self._signed_votes.get((vote.round, vote.kind))
        return said is not None and said.block_id == vote.block_id

    def forgets(self, commit: Commit) -> bool:
        """Whether the key signed a commit, of this height or a later one, and neither driver nor log knows of that."""
        here = self.state is not None and self.state.height == commit.height
        said = here and all(self.has_said(vote) for vote in commit.votes() if vote.voter == self._me)
        return self._me is not None and not said and forgets(self._log, commit, self._me)

    def silence(self) -> list[Action]:
        """Say nothing more at this height: the key has said what nobody here remembers."""
        actions: list[Action] = []
        if self.state is not None and self.state.voting:
            self.state = replace(self.state, voting=False)
            self._persist(ClosedRecord(height=self.state.height), actions)
        return actions

    # -------------------------------------------------------------------------------------------------- inputs

    def _start(self, given: HeightStarted, actions: list[Action]) -> None:
        self._commit = _fullest(self.state) if self.state and self.state.height == given.height - 1 else None
        resumed = given.height == self._log.height
        self._begin_log(given, actions)
        self._signed_votes, self._signed_proposals, self._blocks, self._logged_blocks = {}, {}, {}, set()
        if resumed:
            self._resend(actions)
        voting = given.voting and given.height >= self._log.height
        memory = self._log.memory if resumed else None
        self.state, effects = tendermint.start(self._me, replace(given, voting=voting, memory=memory))
        self._loop(effects, actions)
        waiting = [vote for vote in self._next_votes.values() if vote.height == given.height]
        self._next_votes = {}
        for vote in waiting:
            if given.validators.power(vote.voter):
                self._feed(events.Voted(vote=vote), actions)

    def _begin_log(self, given: HeightStarted, actions: list[Action]) -> None:
        """Forget a log that has grown long, and write down an abstention before anything else happens."""
        if given.height > self._log.height and self._log_bytes > self._log_bytes_max:
            record = encode_record(ClosedRecord(height=Height(given.height - 1)))
            self._log_bytes = FRAME_BYTES + len(record)
            actions.append(ReplaceLog(records=(record,)))
        if self._me is not None and not given.voting and given.height >= self._log.height:
            self._persist(ClosedRecord(height=given.height), actions)

    def _resend(self, actions: list[Action]) -> None:
        self._blocks = dict(self._log.blocks)
        self._logged_blocks = set(self._blocks)
        self._signed_votes = {(vote.round, vote.kind): vote for vote in self._log.votes}
        self._signed_proposals = {proposal.round: proposal for proposal in self._log.proposals}
        proposals = [(proposal, self._blocks[proposal.block_id]) for proposal in self._log.proposals]
        actions.extend(SendProposal(proposal=proposal, block=block) for proposal, block in proposals)
        actions.extend(SendVote(vote=vote) for vote in self._log.votes)

    def _take(self, state: State, given: Given, actions: list[Action]) -> None:
        match given:
            case ProposalReceived():
                self._blocks.setdefault(given.proposal.block_id, given.block)
                proposed = events.Proposed(proposal=given.proposal, valid=given.valid, fresh_ok=given.fresh_ok)
                self._feed(proposed, actions)
            case VoteReceived():
                self._take_vote(state, given.vote, actions)
            case BlockBuilt():
                self._blocks.setdefault(given.block_id, given.block)
                built = events.ValueBuilt(height=given.height, round=given.round, block_id=given.block_id)
                self._feed(built, actions)
            case TimedOut() | HeightStarted():
                self._feed(given, actions)
            case _:
                assert_never(given)

    def _take_vote(self, state: State, vote: Vote, actions: list[Action]) -> None:
        if vote.height != state.height + 1:
            return self._feed(events.Voted(vote=vote), actions)
        if vote.round <= NEXT_HEIGHT_ROUND_MAX and state.validators.power(vote.voter):
            self._next_votes.setdefault((vote.voter, vote.round, vote.kind), vote)
        return None

    # ------------------------------------------------------------------------------------------------- effects

    def _feed(self, given: events.Input, actions: list[Action]) -> None:
        assert self.state is not None
        self.state, effects = tendermint.step(self.state, given)
        self._loop(effects, actions)

    def _loop(self, effects: tuple[events.Effect, ...], actions: list[Action]) -> None:
        """Turn effects into actions; what the node says itself goes back into the core like everyone's."""
        assert self.state is not None
        own: deque[events.Input] = deque()
        while True:
            for effect in effects:
                self._perform(effect, actions, own)
            if not own:
                return
            self.state, effects = tendermint.step(self.state, own.popleft())

    def _perform(self, effect: events.Effect, actions: list[Action], own: deque[events.Input]) -> None:
        match effect:
            case events.SendVote():
                own.append(self._say_vote(effect.vote, actions))
            case events.SendProposal():
                own.append(self._say_proposal(effect.proposal, actions))
            case events.KeepBlockAndPolka():
                self._keep(effect, actions)
            case events.ScheduleTimeout(kind=kind, height=height, round=round_):
                duration_ms = self.timeouts.duration_ms(kind, round_)
                actions.append(StartTimer(kind=kind, height=height, round=round_, duration_ms=duration_ms))
            case events.BuildValue():
                actions.append(BuildBlock(height=effect.height, round=effect.round))
            case events.Decided():
                block = self._blocks[effect.commit.block_id]
                actions.append(CommitBlock(commit=effect.commit, block=block))
            case ReportEquivocation():
                actions.append(effect)
            case _:
                assert_never(effect)

    def _say_vote(self, vote: Vote, actions: list[Action]) -> events.Voted:
        earlier = self._signed_votes.get((vote.round, vote.kind))
        if earlier is not None:  # the last line of defence: also under python -O
            raise AssertionError(f"about to sign {vote} after {earlier}")
        signed = replace(vote, signature=self._sign(vote.sign_bytes(self._genesis)))
        self._signed_votes[vote.round, vote.kind] = signed
        self._persist(VoteRecord(vote=signed), actions)
        actions.append(SendVote(vote=signed))
        return events.Voted(vote=signed)

    def _say_proposal(self, proposal: Proposal, actions: list[Action]) -> events.Proposed:
        earlier = self._signed_proposals.get(proposal.round)
        if earlier is not None:
            raise AssertionError(f"about to sign {proposal} after {earlier}")
        signed = replace(proposal, signature=self._sign(proposal.sign_bytes(self._genesis)))
        self._signed_proposals[proposal.round] = signed
        self._persist(ProposalRecord(proposal=signed, block=self._unlogged(proposal.block_id)), actions)
        actions.append(SendProposal(proposal=signed, block=self._blocks[proposal.block_id]))
        return events.Proposed(proposal=signed, valid=True)

    def _keep(self, effect: events.KeepBlockAndPolka, actions: list[Action]) -> None:
        assert self.state is not None
        if not self.state.voting:
            return
        block = self._unlogged(effect.proposal.block_id)
        self._persist(KeptRecord(proposal=effect.proposal, polka=effect.polka, block=block), actions)

    def _persist(self, record: Record, actions: list[Action]) -> None:
        encoded = encode_record(record)
        self._log_bytes += FRAME_BYTES + len(encoded)
        actions.append(Persist(record=encoded))

    def _unlogged(self, block_id: BlockId) -> bytes:
        """The block's bytes for a record, empty where the log has them."""
        if block_id in self._logged_blocks:
            return b""
        self._logged_blocks.add(block_id)
        return self._blocks[block_id]

    def _drop_blocks(self) -> None:
        """Keep the blocks that the core still knows of, so that they are bounded as its proposals are."""
        if self.state is None:
            return
        known = {given.proposal.block_id for row in self.state.proposals.values() for given in row}
        self._blocks = {block_id: block for block_id, block in self._blocks.items() if block_id in known}


def _fullest(state: State | None) -> Commit | None:
    if state is None or state.step != Step.DECIDED or state.decided is None:
        return None
    votes = state.book.precommits(state.decided.round).votes_for(state.decided.block_id)
    return replace(state.decided, signatures=tuple((vote.voter, vote.signature) for vote in votes))
