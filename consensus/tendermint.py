"""Home of the Tendermint algorithm: one function, `step`, with one rule for each "upon" of Algorithm 1.

The paper is "The latest gossip on BFT consensus" (arXiv 1807.04938); line numbers below are its Algorithm 1's. A
message stays known once it has come, so after each input the rules are tried until none applies. Where the paper
leaves a choice, it is this:

- a proposer that has to build a block has a propose timeout too, so that one that is never built does not stop it;
- a proposal counts from when its block is at hand and judged; of two for one round the first is voted on, while
  either may be locked or decided (lines 36 and 49), as others may have seen only the other;
- a node without a vote (no member, or told to be silent) takes the same steps without a word;
- rounds are skipped (line 55) on votes alone;
- who starts a round precommits nil in the one before, unless it has precommitted there (CometBFT does so as well). The
  paper's nodes pass on all they have heard, for ever. Ours may crash and forget the votes that led them on, one of a
  faulty voter among them that nobody else was sent: the others would wait in the old round for a quorum of
  precommits. This way all correct nodes precommit in every round that one of them has left, and are quorum enough. A
  nil precommit locks nothing, and who has left a round never helps to decide it afterwards.

Votes and proposals leave here unsigned.
"""

from dataclasses import replace
from typing import Final, assert_never

from consensus import votes
from consensus.events import (
    Effect,
    HeightStarted,
    Input,
    Memory,
    Proposed,
    ReportEquivocation,
    Step,
    TimedOut,
    TimeoutKind,
    ValueBuilt,
    Voted,
)
from consensus.proposer import proposer
from consensus.rules import Outcome, State, is_recent, precommit, prevote, propose, schedule, settle, start_round
from consensus.types import (
    NO_ROUND,
    ROUND_MAX,
    InvalidConsensus,
    Round,
    Vote,
    Voter,
)
from consensus.votes import VoteBook

PROPOSALS_PER_ROUND_MAX: Final = 2


def start(me: Voter | None, given: HeightStarted) -> Outcome:
    """The state in which a height begins, and its first effects (lines 10 and 52 to 54)."""
    member = me is not None and given.validators.power(me) > 0
    state = State(
        me=me,
        voting=given.voting and member,
        height=given.height,
        validators=given.validators,
        priorities=given.priorities,
        round=Round(0),
        step=Step.PROPOSE,
        book=VoteBook(validators=given.validators),
    )
    if given.memory is None:
        return settle(*start_round(state, Round(0)))
    return settle(*_resume(state, given.memory))


def step(state: State, given: Input) -> Outcome:
    """The state and effects, in the order to be performed, that an input leads to.

    Inputs of other heights are ignored. InvalidConsensus where no honest node at this height would send the message.
    """
    match given:
        case HeightStarted():
            assert given.height > state.height
            return start(state.me, given)
        case Proposed():
            return _on_proposed(state, given)
        case Voted():
            return _on_voted(state, given.vote)
        case ValueBuilt():
            return _on_value_built(state, given)
        case TimedOut():
            return _on_timed_out(state, given)
        case _:
            assert_never(given)


# --------------------------------------------------------------------------------- inputs: what is known grows


def _on_proposed(state: State, given: Proposed) -> Outcome:
    proposal = given.proposal
    if proposal.height != state.height or state.step == Step.DECIDED or proposal.round > state.round + 1:
        return state, ()
    expected = proposer(state.validators, state.priorities, proposal.round)
    if proposal.proposer != expected or not NO_ROUND <= proposal.valid_round < proposal.round:
        raise InvalidConsensus(
            f"proposal of height {proposal.height}, round {proposal.round} (valid round {proposal.valid_round})"
            f" is by {proposal.proposer.hex()}: its proposer is {expected.hex()}"
        )
    known = state.proposals.get(proposal.round, ())
    if any(other.proposal.block_id == proposal.block_id for other in known):
        return state, ()
    supported = state.book.is_supported(proposal.round, proposal.block_id)
    if not supported and (len(known) >= PROPOSALS_PER_ROUND_MAX or not is_recent(state, proposal)):
        return state, ()
    proposals = {**state.proposals, proposal.round: (*known, given)}
    return settle(replace(state, proposals=proposals), ())


def _on_voted(state: State, vote: Vote) -> Outcome:
    if vote.height != state.height:
        return state, ()
    if not state.validators.power(vote.voter):
        raise InvalidConsensus(f"{vote.voter.hex()} voted at height {vote.height} and is no validator of it")
    book, evidence = votes.add(state.book, vote, state.round)
    effects: tuple[Effect, ...] = (ReportEquivocation(evidence=evidence),) if evidence else ()
    if book is state.book:
        return state, effects
    return settle(replace(state, book=book), effects)


def _on_value_built(state: State, given: ValueBuilt) -> Outcome:
    """Lines 18 and 19, when the block is there; too late for its round, it is dropped."""
    ours = proposer(state.validators, state.priorities, state.round) == state.me
    current = given.height == state.height and given.round == state.round
    if not (state.voting and ours and current and state.step == Step.PROPOSE and not state.proposed):
        return state, ()
    return propose(state, given.block_id, NO_ROUND)


def _on_timed_out(state: State, given: TimedOut) -> Outcome:
    """Lines 57 to 67."""
    if given.height != state.height or given.round != state.round or state.step == Step.DECIDED:
        return state, ()
    match given.kind:
        case TimeoutKind.PROPOSE if state.step == Step.PROPOSE:  # lines 57 to 60
            return settle(*prevote(state, None))
        case TimeoutKind.PREVOTE if state.step == Step.PREVOTE:  # lines 61 to 64
            return settle(*precommit(state, None))
        case TimeoutKind.PRECOMMIT if state.round < ROUND_MAX:  # lines 65 to 67
            return settle(*start_round(state, Round(state.round + 1)))
        case _:
            return state, ()


def _resume(state: State, memory: Memory) -> Outcome:
    """The state as the log tells it: a node that never stopped, but has heard only what the log holds."""
    book = state.book
    for vote in memory.votes:
        if state.validators.power(vote.voter):
            book, _ = votes.add(book, vote, memory.round)
    proposals: dict[Round, tuple[Proposed, ...]] = {}
    for proposal in memory.proposals:
        known = proposals.get(proposal.round, ())
        proposals[proposal.round] = (*known, Proposed(proposal=proposal, valid=True))
    ours = [given.proposal.proposer == state.me for given in proposals.get(memory.round, ())]
    state = replace(
        state,
        round=memory.round,
        step=memory.step,
        locked_round=memory.locked_round,
        locked_id=memory.locked_id,
        valid_round=memory.valid_round,
        valid_id=memory.valid_id,
        book=book,
        proposals=proposals,
        proposed=any(ours),
        polka_seen=memory.step == Step.PRECOMMIT and memory.valid_round == memory.round,
    )
    return state, (schedule(state, TimeoutKind.PROPOSE),) if memory.step == Step.PROPOSE else ()
