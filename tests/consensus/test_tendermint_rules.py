"""Each rule of Algorithm 1 as a row: a state, an input, and the effects and changes that must come of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from consensus import tendermint, votes
from consensus.events import (
    BuildValue,
    Decided,
    Effect,
    Input,
    KeepBlockAndPolka,
    Proposed,
    ScheduleTimeout,
    SendProposal,
    SendVote,
    Step,
    TimedOut,
    TimeoutKind,
    ValueBuilt,
    Voted,
)
from consensus.rules import State
from consensus.types import ROUND_MAX, BlockId, Commit, Height, Proposal, Round, Vote, VoteKind
from tests.consensus.scene import (
    FOUR,
    HEIGHT,
    ONE,
    THREE,
    TWO,
    X,
    Y,
    begin,
    precommits,
    prevotes,
    proposal,
    proposed,
    state,
)


@dataclass(frozen=True)
class Row:
    """`changes` are those beside the input's own message becoming known."""

    rule: str
    before: State
    given: Input
    effects: Sequence[Effect] = ()
    changes: dict[str, Any] = field(default_factory=dict)


def timer(kind: TimeoutKind, round_: int) -> ScheduleTimeout:
    return ScheduleTimeout(kind=kind, height=HEIGHT, round=Round(round_))


def fired(kind: TimeoutKind, round_: int, height: Height = HEIGHT) -> TimedOut:
    return TimedOut(kind=kind, height=height, round=Round(round_))


def say(kind: VoteKind, round_: int, block_id: BlockId | None) -> SendVote:
    return SendVote(vote=Vote(height=HEIGHT, round=Round(round_), kind=kind, block_id=block_id, voter=FOUR))


def prevote(round_: int, block_id: BlockId | None) -> SendVote:
    return say(VoteKind.PREVOTE, round_, block_id)


def precommit(round_: int, block_id: BlockId | None) -> SendVote:
    return say(VoteKind.PRECOMMIT, round_, block_id)


def keep(round_: int, block_id: BlockId, *voters: Any) -> KeepBlockAndPolka:
    return KeepBlockAndPolka(proposal=proposal(round_, block_id), polka=tuple(prevotes(round_, block_id, *voters)))


def propose(me: Any, round_: int, block_id: BlockId, valid_round: int) -> SendProposal:
    return SendProposal(
        proposal=Proposal(height=HEIGHT, round=Round(round_), block_id=block_id, valid_round=valid_round, proposer=me)
    )


PREVOTED, PRECOMMITTED = {"step": Step.PREVOTE}, {"step": Step.PRECOMMIT}
LOCKED_X0 = {"locked_round": 0, "locked_id": X, "valid_round": 0, "valid_id": X}
ROUND_1 = {"round": 1, "step": Step.PROPOSE}
DECIDED_X0 = Commit(
    height=HEIGHT,
    round=Round(0),
    block_id=X,
    signatures=tuple((voter, b"s" + voter) for voter in (ONE, TWO, THREE)),
)


def voted(vote: Vote) -> Voted:
    return Voted(vote=vote)


ROWS = [
    Row(
        "lines 14-19: the proposer sends the block that was built",
        state(me=ONE),
        ValueBuilt(height=HEIGHT, round=Round(0), block_id=X),
        [propose(ONE, 0, X, -1)],
        {"proposed": True},
    ),
    Row(
        "lines 14-19: a block that was built for another round is dropped",
        state(me=ONE, round_=4),
        ValueBuilt(height=HEIGHT, round=Round(0), block_id=X),
    ),
    Row(
        "lines 14-19: a second block for the round is dropped",
        state(me=ONE, proposed=True),
        ValueBuilt(height=HEIGHT, round=Round(0), block_id=Y),
    ),
    Row(
        "lines 15-16: a proposer with a valid value proposes it again",
        state(me=TWO, step=Step.PRECOMMIT, proposals=[proposed(0, X)], **LOCKED_X0),
        fired(TimeoutKind.PRECOMMIT, 0),
        [propose(TWO, 1, X, 0)],
        {**ROUND_1, "proposed": True},
    ),
    Row(
        "line 18: a proposer without one asks for a block",
        state(me=TWO, step=Step.PRECOMMIT),
        fired(TimeoutKind.PRECOMMIT, 0),
        [BuildValue(height=HEIGHT, round=Round(1)), timer(TimeoutKind.PROPOSE, 1)],
        ROUND_1,
    ),
    Row(
        "lines 22-24: a valid fresh proposal gets a prevote",
        state(),
        proposed(0, X),
        [prevote(0, X)],
        PREVOTED,
    ),
    Row(
        "line 26: an invalid one gets nil",
        state(),
        proposed(0, X, valid=False),
        [prevote(0, None)],
        PREVOTED,
    ),
    Row(
        "line 26: one against a local condition gets nil",
        state(),
        proposed(0, X, fresh_ok=False),
        [prevote(0, None)],
        PREVOTED,
    ),
    Row(
        "line 26: one for another block than the lock gets nil",
        state(round_=1, proposals=[proposed(0, X)], **LOCKED_X0),
        proposed(1, Y),
        [prevote(1, None)],
        PREVOTED,
    ),
    Row(
        "line 23: a fresh one for the locked block gets a prevote",
        state(round_=1, proposals=[proposed(0, X)], **LOCKED_X0),
        proposed(1, X),
        [prevote(1, X)],
        PREVOTED,
    ),
    Row(
        "lines 22: a proposal outside step propose gets none",
        state(step=Step.PREVOTE),
        proposed(0, X),
    ),
    Row(
        "lines 28-30: a block with a polka at or after the lock gets a prevote",
        state(
            round_=2,
            known=prevotes(1, Y, ONE, TWO, THREE),
            proposals=[proposed(0, X)],
            **LOCKED_X0,
        ),
        proposed(2, Y, 1),
        [prevote(2, Y)],
        PREVOTED,
    ),
    Row(
        "line 29: the same with a local condition against it, which must not matter",
        state(
            round_=2,
            known=prevotes(1, Y, ONE, TWO, THREE),
            proposals=[proposed(0, X)],
            **LOCKED_X0,
        ),
        proposed(2, Y, 1, fresh_ok=False),
        [prevote(2, Y)],
        PREVOTED,
    ),
    Row(
        "line 29: a polka in the very round of the lock opens it",
        state(round_=2, known=prevotes(0, Y, ONE, TWO, THREE), proposals=[proposed(0, X)], **LOCKED_X0),
        proposed(2, Y, 0),
        [prevote(2, Y)],
        PREVOTED,
    ),
    Row(
        "line 32: a polka before the lock does not open it",
        state(
            round_=2,
            known=prevotes(0, Y, ONE, TWO, THREE),
            proposals=[proposed(1, X)],
            locked_round=1,
            locked_id=X,
            valid_round=1,
            valid_id=X,
        ),
        proposed(2, Y, 0),
        [prevote(2, None)],
        PREVOTED,
    ),
    Row(
        "line 32: an invalid block gets nil whatever its polka",
        state(round_=1, known=prevotes(0, Y, ONE, TWO, THREE)),
        proposed(1, Y, 0, valid=False),
        [prevote(1, None)],
        PREVOTED,
    ),
    Row(
        "line 28: without the polka that it names, a proposal waits",
        state(round_=1, known=prevotes(0, Y, ONE, TWO)),
        proposed(1, Y, 0),
    ),
    Row(
        "line 28: the polka may come after the proposal",
        state(round_=1, known=prevotes(0, Y, ONE, TWO), proposals=[proposed(1, Y, 0)]),
        voted(prevotes(0, Y, THREE)[0]),
        [prevote(1, Y)],
        PREVOTED,
    ),
    Row(
        "lines 34-35: prevotes of two thirds for anything start the timer",
        state(step=Step.PREVOTE, known=[*prevotes(0, X, ONE), *prevotes(0, None, FOUR)]),
        voted(prevotes(0, Y, TWO)[0]),
        [timer(TimeoutKind.PREVOTE, 0)],
        {"prevote_timer": True},
    ),
    Row(
        "line 34: once",
        state(step=Step.PREVOTE, known=[*prevotes(0, X, ONE, TWO), *prevotes(0, None, FOUR)], prevote_timer=True),
        voted(prevotes(0, Y, THREE)[0]),
    ),
    Row(
        "line 34: two of four are not more than two thirds",
        state(step=Step.PREVOTE, known=prevotes(0, None, FOUR)),
        voted(prevotes(0, None, ONE)[0]),
    ),
    Row(
        "lines 36-43: a polka locks, and is kept before the precommit",
        state(step=Step.PREVOTE, known=prevotes(0, X, ONE, FOUR), proposals=[proposed(0, X)]),
        voted(prevotes(0, X, TWO)[0]),
        [keep(0, X, ONE, TWO, FOUR), precommit(0, X)],
        {**LOCKED_X0, **PRECOMMITTED, "polka_seen": True},
    ),
    Row(
        "line 36: the proposal may come after the polka",
        state(step=Step.PREVOTE, known=prevotes(0, X, ONE, TWO, THREE), prevote_timer=True),
        proposed(0, X),
        [keep(0, X, ONE, TWO, THREE), precommit(0, X)],
        {**LOCKED_X0, **PRECOMMITTED, "polka_seen": True},
    ),
    Row(
        "line 36: no local condition holds it up",
        state(step=Step.PREVOTE, known=prevotes(0, X, ONE, TWO, THREE), prevote_timer=True),
        proposed(0, X, fresh_ok=False),
        [keep(0, X, ONE, TWO, THREE), precommit(0, X)],
        {**LOCKED_X0, **PRECOMMITTED, "polka_seen": True},
    ),
    Row(
        "line 36: an invalid block is never locked",
        state(step=Step.PREVOTE, known=prevotes(0, X, ONE, TWO, THREE), prevote_timer=True),
        proposed(0, X, valid=False),
    ),
    Row(
        "lines 42-43: after the precommit a polka is the valid value and no lock",
        state(step=Step.PRECOMMIT, known=prevotes(0, X, ONE, TWO), proposals=[proposed(0, X)]),
        voted(prevotes(0, X, THREE)[0]),
        [keep(0, X, ONE, TWO, THREE)],
        {"valid_round": 0, "valid_id": X, "polka_seen": True},
    ),
    Row(
        "lines 44-46: two thirds for nil get a precommit for nil",
        state(step=Step.PREVOTE, known=prevotes(0, None, ONE, FOUR)),
        voted(prevotes(0, None, TWO)[0]),
        [precommit(0, None)],
        PRECOMMITTED,
    ),
    Row(
        "line 44: only in step prevote",
        state(known=prevotes(0, None, ONE, TWO)),
        voted(prevotes(0, None, THREE)[0]),
    ),
    Row(
        "lines 47-48: precommits of two thirds for anything start the timer",
        state(step=Step.PRECOMMIT, known=[*precommits(0, X, ONE), *precommits(0, None, TWO)]),
        voted(precommits(0, Y, THREE)[0]),
        [timer(TimeoutKind.PRECOMMIT, 0)],
        {"precommit_timer": True},
    ),
    Row(
        "line 47: in any step, once",
        state(known=precommits(0, None, ONE, TWO, THREE), precommit_timer=True),
        voted(precommits(0, None, FOUR)[0]),
    ),
    Row(
        "lines 49-51: precommits of two thirds for a valid block decide it",
        state(step=Step.PRECOMMIT, known=precommits(0, X, ONE, THREE), proposals=[proposed(0, X)]),
        voted(precommits(0, X, TWO)[0]),
        [Decided(commit=DECIDED_X0)],
        {"step": Step.DECIDED, "decided": DECIDED_X0},
    ),
    Row(
        "line 49: in a round that has passed, when the proposal comes late",
        state(round_=3, step=Step.PREVOTE, known=precommits(0, X, ONE, TWO, THREE)),
        proposed(0, X, fresh_ok=False),
        [Decided(commit=DECIDED_X0)],
        {"step": Step.DECIDED, "decided": DECIDED_X0},
    ),
    Row(
        "line 50: an invalid block is never decided",
        state(step=Step.PRECOMMIT, known=precommits(0, X, ONE, TWO), proposals=[proposed(0, X, valid=False)]),
        voted(precommits(0, X, THREE)[0]),
        [timer(TimeoutKind.PRECOMMIT, 0)],
        {"precommit_timer": True},
    ),
    Row(
        "lines 55-56: votes of a third in a later round begin it",
        state(step=Step.PREVOTE, known=prevotes(2, X, ONE)),
        voted(precommits(2, None, TWO)[0]),
        [precommit(1, None), timer(TimeoutKind.PROPOSE, 2)],
        {"round": 2, "step": Step.PROPOSE},
    ),
    Row(
        "line 55: who has precommitted in the round before starts the next without another word",
        state(step=Step.PRECOMMIT, known=prevotes(1, X, ONE)),
        voted(precommits(1, None, TWO)[0]),
        [timer(TimeoutKind.PROPOSE, 1)],
        ROUND_1,
    ),
    Row(
        "line 55: two votes of one voter are one",
        state(step=Step.PREVOTE, known=prevotes(2, X, ONE)),
        voted(precommits(2, X, ONE)[0]),
    ),
    Row(
        "lines 57-60: without a proposal in time, nil",
        state(),
        fired(TimeoutKind.PROPOSE, 0),
        [prevote(0, None)],
        PREVOTED,
    ),
    Row(
        "line 58: not after the prevote",
        state(step=Step.PREVOTE),
        fired(TimeoutKind.PROPOSE, 0),
    ),
    Row(
        "lines 61-64: without a polka in time, nil",
        state(step=Step.PREVOTE),
        fired(TimeoutKind.PREVOTE, 0),
        [precommit(0, None)],
        PRECOMMITTED,
    ),
    Row(
        "line 62: not after the precommit",
        state(step=Step.PRECOMMIT),
        fired(TimeoutKind.PREVOTE, 0),
    ),
    Row(
        "lines 65-67: without a decision in time, the next round",
        state(step=Step.PRECOMMIT, proposed=True, prevote_timer=True, polka_seen=True, precommit_timer=True),
        fired(TimeoutKind.PRECOMMIT, 0),
        [timer(TimeoutKind.PROPOSE, 1)],
        {**ROUND_1, "proposed": False, "prevote_timer": False, "polka_seen": False, "precommit_timer": False},
    ),
    Row(
        "line 67: who has not precommitted yet does so, for nil",
        state(step=Step.PREVOTE, known=precommits(0, None, ONE, TWO, THREE), precommit_timer=True),
        fired(TimeoutKind.PRECOMMIT, 0),
        [precommit(0, None), timer(TimeoutKind.PROPOSE, 1)],
        {**ROUND_1, "precommit_timer": False},
    ),
    Row(
        "line 67: the last round that there can be has none after it",
        state(round_=ROUND_MAX, step=Step.PRECOMMIT),
        fired(TimeoutKind.PRECOMMIT, ROUND_MAX),
    ),
    Row(
        "line 66: a timeout of another round is late",
        state(round_=1),
        fired(TimeoutKind.PRECOMMIT, 0),
    ),
    Row(
        "line 66: a timeout of another height is late",
        state(),
        fired(TimeoutKind.PROPOSE, 0, Height(6)),
    ),
    Row(
        "line 67: the lock outlives the round",
        state(step=Step.PRECOMMIT, proposals=[proposed(0, X)], **LOCKED_X0),
        fired(TimeoutKind.PRECOMMIT, 0),
        [timer(TimeoutKind.PROPOSE, 1)],
        {**ROUND_1, **LOCKED_X0},
    ),
]


def with_message(before: State, given: Input) -> State:
    match given:
        case Voted():
            return replace(before, book=votes.add(before.book, given.vote, before.round)[0])
        case Proposed():
            round_ = given.proposal.round
            return replace(before, proposals={**before.proposals, round_: (*before.proposals.get(round_, ()), given)})
        case _:
            return before


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_rule(row: Row) -> None:
    after, effects = tendermint.step(row.before, row.given)
    assert effects == tuple(row.effects)
    assert after == replace(with_message(row.before, row.given), **row.changes)


@pytest.mark.parametrize("row", [row for row in ROWS if row.before.me == FOUR], ids=lambda row: row.rule)
def test_rule_is_silent_without_a_vote(row: Row) -> None:
    """The same steps, locks and decisions, but nothing is signed or built."""
    after, effects = tendermint.step(replace(row.before, voting=False), row.given)
    assert effects == tuple(effect for effect in row.effects if not isinstance(effect, SendVote))
    assert after == replace(with_message(row.before, row.given), voting=False, **row.changes)


def test_height_starts_at_round_0() -> None:
    """Lines 10 to 21."""
    assert tendermint.start(FOUR, begin()) == (state(), (timer(TimeoutKind.PROPOSE, 0),))
    build = BuildValue(height=HEIGHT, round=Round(0))
    assert tendermint.start(ONE, begin()) == (state(me=ONE), (build, timer(TimeoutKind.PROPOSE, 0)))


def test_height_does_not_start_twice() -> None:
    with pytest.raises(AssertionError):
        tendermint.step(state(), begin())


def test_height_starts_anew_after_a_decision() -> None:
    """Lines 52 to 54: nothing of the height before is left."""
    before = state(step=Step.DECIDED, known=precommits(0, X, ONE, TWO, THREE), decided=DECIDED_X0, **LOCKED_X0)
    following = replace(begin(), height=Height(HEIGHT + 1))
    assert tendermint.step(before, following) == tendermint.start(FOUR, following)
