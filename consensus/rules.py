"""Home of a height's state and of the rules: each "upon" of Algorithm 1 as a function of what is known.

Line numbers are those of Algorithm 1 in arXiv 1807.04938; tendermint.py says how it is read where it leaves a choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from consensus.events import (
    BuildValue,
    Decided,
    Effect,
    KeepBlockAndPolka,
    Proposed,
    ScheduleTimeout,
    SendProposal,
    SendVote,
    Step,
    TimeoutKind,
)
from consensus.proposer import Priorities, proposer
from consensus.types import (
    NO_ROUND,
    BlockId,
    Commit,
    Height,
    Proposal,
    Round,
    ValidatorSet,
    Vote,
    VoteKind,
    Voter,
)
from consensus.votes import VoteBook

PROPOSAL_ROUNDS_MAX: Final = 8
"""Proposals of so many latest rounds are kept; older ones while they are locked, valid or may yet be decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One node's place in one height; names as in the paper, values by their ids."""

    me: Voter | None
    voting: bool
    height: Height
    validators: ValidatorSet
    priorities: Priorities
    round: Round
    step: Step
    locked_round: int = NO_ROUND
    locked_id: BlockId | None = None
    valid_round: int = NO_ROUND
    valid_id: BlockId | None = None
    book: VoteBook
    proposals: Mapping[Round, tuple[Proposed, ...]] = field(default_factory=dict)
    proposed: bool = False
    """Whether this round's proposal has been sent by us."""
    prevote_timer: bool = False
    """Whether this round's rule of line 34 has been applied ("for the first time"); likewise the two below."""
    polka_seen: bool = False
    precommit_timer: bool = False
    decided: Commit | None = None


Outcome = tuple[State, tuple[Effect, ...]]


# ------------------------------------------------------------------------- rules: what follows from what is known


def settle(state: State, effects: tuple[Effect, ...]) -> Outcome:
    """Apply the rules until none applies. Each one advances a round, a step or a "first time", so this ends."""
    while state.step != Step.DECIDED:
        for rule in _RULES:
            outcome = rule(state)
            if outcome is not None:
                state, more = outcome
                effects += more
                break
        else:
            return state, effects
    return state, effects


def _decide(state: State) -> Outcome | None:
    """Lines 49 to 54, for any round."""
    for round_, known in state.proposals.items():
        for given in known:
            block_id = given.proposal.block_id
            tally = state.book.precommits(round_)
            if given.valid and state.validators.is_quorum(tally.power_for(block_id)):
                signatures = tuple((vote.voter, vote.signature) for vote in tally.votes_for(block_id))
                commit = Commit(height=state.height, round=round_, block_id=block_id, signatures=signatures)
                return replace(state, step=Step.DECIDED, decided=commit), (Decided(commit=commit),)
    return None


def _skip_rounds(state: State) -> Outcome | None:
    """Lines 55 and 56. One vote makes a third in one round only, so there is one such round at a time."""
    for round_ in state.book.rounds_after(state.round):
        if state.validators.is_one_third(state.book.power_in(round_)):
            return start_round(state, round_)
    return None


def _prevote_fresh(state: State) -> Outcome | None:
    """Lines 22 to 27: a fresh proposal gets a prevote if we are not locked on another block."""
    given = _first_proposal(state)
    if given is None or given.proposal.valid_round != NO_ROUND or state.step != Step.PROPOSE:
        return None
    block_id = given.proposal.block_id
    unlocked = state.locked_round == NO_ROUND or state.locked_id == block_id
    return prevote(state, block_id if given.valid and given.fresh_ok and unlocked else None)


def _prevote_again(state: State) -> Outcome | None:
    """Lines 28 to 33: a block proposed again gets a prevote if its polka is no older than our lock."""
    given = _first_proposal(state)
    if given is None or given.proposal.valid_round == NO_ROUND or state.step != Step.PROPOSE:
        return None
    block_id, valid_round = given.proposal.block_id, given.proposal.valid_round
    if not state.book.has_polka(valid_round, block_id):
        return None
    unlocked = state.locked_round <= valid_round or state.locked_id == block_id
    return prevote(state, block_id if given.valid and unlocked else None)


def _lock(state: State) -> Outcome | None:
    """Lines 36 to 43: a polka for a valid block makes it the valid value, and in step prevote our lock."""
    if state.step < Step.PREVOTE or state.polka_seen:
        return None
    for given in state.proposals.get(state.round, ()):
        block_id = given.proposal.block_id
        if given.valid and state.book.has_polka(state.round, block_id):
            polka = state.book.prevotes(state.round).votes_for(block_id)
            state = replace(state, polka_seen=True, valid_id=block_id, valid_round=state.round)
            keep = KeepBlockAndPolka(proposal=given.proposal, polka=polka)
            if state.step != Step.PREVOTE:
                return state, (keep,)
            state, effects = precommit(replace(state, locked_id=block_id, locked_round=state.round), block_id)
            return state, (keep, *effects)
    return None


def _precommit_nil(state: State) -> Outcome | None:
    """Lines 44 to 46."""
    if state.step != Step.PREVOTE or not state.book.has_polka(state.round, None):
        return None
    return precommit(state, None)


def _time_prevotes(state: State) -> Outcome | None:
    """Lines 34 and 35."""
    prevotes = state.book.prevotes(state.round)
    if state.step != Step.PREVOTE or state.prevote_timer or not state.validators.is_quorum(prevotes.total):
        return None
    return replace(state, prevote_timer=True), (schedule(state, TimeoutKind.PREVOTE),)


def _time_precommits(state: State) -> Outcome | None:
    """Lines 47 and 48."""
    precommits = state.book.precommits(state.round)
    if state.precommit_timer or not state.validators.is_quorum(precommits.total):
        return None
    return replace(state, precommit_timer=True), (schedule(state, TimeoutKind.PRECOMMIT),)


# A decision ends everything, a skipped round all of its round; a vote is tried before the timer that would force one.
_RULES: Final = (
    _decide,
    _skip_rounds,
    _prevote_fresh,
    _prevote_again,
    _lock,
    _precommit_nil,
    _time_prevotes,
    _time_precommits,
)


# ---------------------------------------------------------------------------------------- parts of the rules above


def start_round(state: State, round_: Round) -> Outcome:
    """Lines 11 to 21, and a nil precommit for the round before where there is none yet (tendermint.py says why)."""
    last = Round(round_ - 1)
    has_precommitted = round_ == 0 or (state.round == last and state.step >= Step.PRECOMMIT)
    late = () if has_precommitted else _vote(replace(state, round=last), VoteKind.PRECOMMIT, None)
    state, effects = _begin_round(state, round_)
    return state, (*late, *effects)


def _begin_round(state: State, round_: Round) -> Outcome:
    state = replace(
        state,
        round=round_,
        step=Step.PROPOSE,
        proposed=False,
        prevote_timer=False,
        polka_seen=False,
        precommit_timer=False,
    )
    state = replace(state, proposals=_recent_proposals(state))
    timeout = schedule(state, TimeoutKind.PROPOSE)
    if not state.voting or proposer(state.validators, state.priorities, round_) != state.me:
        return state, (timeout,)
    if state.valid_id is None:
        return state, (BuildValue(height=state.height, round=round_), timeout)
    return propose(state, state.valid_id, state.valid_round)


def propose(state: State, block_id: BlockId, valid_round: int) -> Outcome:
    assert state.me is not None
    proposal = Proposal(
        height=state.height,
        round=state.round,
        block_id=block_id,
        valid_round=valid_round,
        proposer=state.me,
    )
    return replace(state, proposed=True), (SendProposal(proposal=proposal),)


def prevote(state: State, block_id: BlockId | None) -> Outcome:
    return replace(state, step=Step.PREVOTE), _vote(state, VoteKind.PREVOTE, block_id)


def precommit(state: State, block_id: BlockId | None) -> Outcome:
    return replace(state, step=Step.PRECOMMIT), _vote(state, VoteKind.PRECOMMIT, block_id)


def _vote(state: State, kind: VoteKind, block_id: BlockId | None) -> tuple[Effect, ...]:
    if not state.voting:
        return ()
    assert state.me is not None
    vote = Vote(height=state.height, round=state.round, kind=kind, block_id=block_id, voter=state.me)
    return (SendVote(vote=vote),)


def schedule(state: State, kind: TimeoutKind) -> ScheduleTimeout:
    return ScheduleTimeout(kind=kind, height=state.height, round=state.round)


def _first_proposal(state: State) -> Proposed | None:
    known = state.proposals.get(state.round, ())
    return known[0] if known else None


def is_recent(state: State, proposal: Proposal) -> bool:
    return (
        proposal.round > state.round - PROPOSAL_ROUNDS_MAX
        or proposal.block_id in (state.locked_id, state.valid_id)
        or state.book.is_supported(proposal.round, proposal.block_id)
    )


def _recent_proposals(state: State) -> Mapping[Round, tuple[Proposed, ...]]:
    """The proposals worth their blocks' memory: an older one that is needed after all comes again."""
    kept = {r: tuple(g for g in known if is_recent(state, g.proposal)) for r, known in state.proposals.items()}
    return {round_: known for round_, known in kept.items() if known}
