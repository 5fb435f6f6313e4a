"""What the core takes, refuses and forgets: bounds on what a peer can make it hold, evidence, and restarts."""

from dataclasses import replace

import pytest

from consensus import tendermint, votes
from consensus.events import (
    Decided,
    KeepBlockAndPolka,
    Memory,
    ReportEquivocation,
    ScheduleTimeout,
    SendVote,
    Step,
    TimedOut,
    TimeoutKind,
    Voted,
)
from consensus.rules import PROPOSAL_ROUNDS_MAX, State
from consensus.tendermint import PROPOSALS_PER_ROUND_MAX
from consensus.types import (
    BlockId,
    Equivocation,
    Height,
    InvalidConsensus,
    Round,
    ValidatorSet,
    Vote,
    VoteKind,
)
from consensus.votes import AHEAD_ROUNDS_MAX, VoteBook
from tests.consensus.scene import (
    EQUAL,
    FOUR,
    HEIGHT,
    ONE,
    STRANGER,
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
    vote,
)


def hear(before: State, *given: Vote) -> State:
    for item in given:
        before, _ = tendermint.step(before, Voted(vote=item))
    return before


# ------------------------------------------------------------------------------------------------------ refusals


def test_vote_of_a_stranger_is_refused() -> None:
    with pytest.raises(InvalidConsensus, match="no validator"):
        tendermint.step(state(), Voted(vote=prevotes(0, X, STRANGER)[0]))


def test_proposal_of_another_than_the_proposer_is_refused() -> None:
    wrong = replace(proposed(0, X), proposal=replace(proposal(0, X), proposer=TWO))
    with pytest.raises(InvalidConsensus, match="its proposer is 0101"):
        tendermint.step(state(), wrong)


@pytest.mark.parametrize("valid_round", [-2, 0, 1])
def test_proposal_with_a_valid_round_that_cannot_be_is_refused(valid_round: int) -> None:
    with pytest.raises(InvalidConsensus, match="valid round"):
        tendermint.step(state(), proposed(0, X, valid_round))


@pytest.mark.parametrize("height", [6, 8])
def test_messages_of_other_heights_are_ignored(height: int) -> None:
    other = Height(height)
    for given in (
        Voted(vote=vote(VoteKind.PREVOTE, 0, X, STRANGER, other)),
        replace(proposed(0, X), proposal=proposal(0, X, height=other)),
        TimedOut(kind=TimeoutKind.PROPOSE, height=other, round=Round(0)),
    ):
        assert tendermint.step(state(), given) == (state(), ())


def test_step_changes_nothing_that_it_was_given() -> None:
    before = state(step=Step.PREVOTE, known=prevotes(0, X, ONE, FOUR), proposals=[proposed(0, X)])
    same = state(step=Step.PREVOTE, known=prevotes(0, X, ONE, FOUR), proposals=[proposed(0, X)])
    after, _ = tendermint.step(before, Voted(vote=prevotes(0, X, TWO)[0]))
    assert after != before == same


# -------------------------------------------------------------------------------------------------------- bounds


def test_voter_fills_no_more_than_its_latest_rounds_ahead() -> None:
    after = hear(state(), *(prevotes(round_, X, ONE)[0] for round_ in range(1_000)))
    kept = sorted({item.round for item in after.book.all_votes()})
    assert kept == [0, 1, *range(1_000 - AHEAD_ROUNDS_MAX, 1_000)]
    assert hear(after, *prevotes(500, X, ONE)) == after  # an earlier one does not push out a later one


def test_voter_that_is_far_ahead_still_counts_in_the_next_round() -> None:
    after = hear(state(), *(prevotes(round_, X, ONE)[0] for round_ in (8, 9, 1, 0)))
    assert sorted(item.round for item in after.book.all_votes()) == [0, 1, 8, 9]
    assert hear(after, *prevotes(2, X, ONE)) == after


def test_voter_ahead_pushes_out_nothing_of_others() -> None:
    before = hear(state(), *prevotes(5, Y, TWO))
    after = hear(before, *(prevotes(round_, X, ONE)[0] for round_ in (5, 6, 7)))
    # ONE's vote in round 5 had made a third with TWO's: the round was skipped to before the others came.
    assert after.round == 5
    assert after.book.prevotes(5).votes.keys() == {ONE, TWO}
    weighted = ValidatorSet(members=((ONE, 1), (TWO, 1), (THREE, 7)))
    book = VoteBook(validators=weighted)
    for item in (*prevotes(5, Y, TWO), *(prevotes(round_, X, ONE)[0] for round_ in (5, 6, 7))):
        book, _ = votes.add(book, item, Round(0))
    assert book.prevotes(5).votes.keys() == {TWO}
    assert book.prevotes(5).powers == {Y: 1}
    assert book.prevotes(5).total == 1


def test_round_holds_few_proposals() -> None:
    before = state(step=Step.PREVOTE)
    for n in range(10):
        before, _ = tendermint.step(before, proposed(0, BlockId(bytes([n]) * 32)))
    assert len(before.proposals[Round(0)]) == PROPOSALS_PER_ROUND_MAX


def test_round_takes_one_more_proposal_with_honest_support() -> None:
    junk = [proposed(0, BlockId(bytes([n]) * 32)) for n in range(PROPOSALS_PER_ROUND_MAX)]
    before = state(step=Step.PRECOMMIT, proposals=junk, known=precommits(0, X, ONE, TWO, THREE))
    _, effects = tendermint.step(before, proposed(0, X))
    assert [type(effect) for effect in effects] == [Decided]


def test_proposals_beyond_the_next_round_wait_for_it() -> None:
    before = state()
    assert tendermint.step(before, proposed(2, X)) == (before, ())
    after, _ = tendermint.step(before, proposed(1, X))
    assert list(after.proposals) == [1]


def test_old_proposals_are_forgotten_but_for_those_that_matter() -> None:
    rounds = [proposed(round_, BlockId(bytes([round_]) * 32)) for round_ in range(PROPOSAL_ROUNDS_MAX + 2)]
    before = state(
        round_=PROPOSAL_ROUNDS_MAX + 1,
        step=Step.PRECOMMIT,
        proposals=rounds,
        known=precommits(1, BlockId(b"\x01" * 32), ONE, TWO),
        locked_round=0,
        locked_id=BlockId(bytes(32)),
    )
    after, _ = tendermint.step(before, TimedOut(kind=TimeoutKind.PRECOMMIT, height=HEIGHT, round=before.round))
    # Round 0 is locked, round 1 has the precommits of two; of the others the latest are kept.
    assert list(after.proposals) == [0, 1, *range(3, PROPOSAL_ROUNDS_MAX + 2)]


# ------------------------------------------------------------------------------------------------ contradictions


def test_equivocation_is_reported_once_and_the_first_vote_counts() -> None:
    first, second, third = (prevotes(0, block_id, ONE)[0] for block_id in (X, Y, None))
    before = hear(state(step=Step.PREVOTE), first)
    after, effects = tendermint.step(before, Voted(vote=second))
    assert effects == (ReportEquivocation(evidence=Equivocation(first=first, second=second)),)
    assert after.book.prevotes(0).powers == {X: 1}
    assert tendermint.step(after, Voted(vote=third)) == (after, ())


def test_same_vote_twice_counts_once() -> None:
    before = hear(state(step=Step.PREVOTE), *prevotes(0, X, ONE, TWO))
    assert tendermint.step(before, Voted(vote=prevotes(0, X, TWO)[0])) == (before, ())


def test_contradictory_vote_counts_for_a_block_that_honest_voters_support() -> None:
    """Others may have counted it: without it, a liar could keep us from a decision that they have seen."""
    before = state(round_=1, known=[*precommits(0, None, ONE), *precommits(0, X, TWO)], proposals=[proposed(0, X)])
    lied, _ = tendermint.step(before, Voted(vote=precommits(0, X, ONE)[0]))
    assert lied.book.precommits(0).powers == {None: 1, X: 1}  # TWO alone may be a liar as well
    told = hear(lied, *precommits(0, X, THREE))
    assert told.step == Step.PROPOSE
    once = hear(told, *precommits(0, Y, ONE))
    assert once.book == told.book  # nobody stands behind Y
    after, effects = tendermint.step(told, Voted(vote=precommits(0, X, ONE)[0]))
    assert [type(effect) for effect in effects] == [Decided]
    assert after.decided is not None
    assert [voter for voter, _ in after.decided.signatures] == [ONE, TWO, THREE]
    assert after.book.precommits(0).total == 3


def test_contradictory_vote_counts_once_however_often_it_comes() -> None:
    five = ValidatorSet(members=tuple((voter, 1) for voter in (ONE, TWO, THREE, FOUR, STRANGER)))
    book = VoteBook(validators=five)
    lie = precommits(0, X, ONE)[0]
    for item in (*precommits(0, None, ONE), *precommits(0, X, TWO, THREE), lie, lie):
        book, _ = votes.add(book, item, Round(0))
    assert book.precommits(0).power_for(X) == 3
    assert book.precommits(0).total == 3


def test_voter_that_is_pushed_out_of_a_round_leaves_nothing_in_it() -> None:
    """A decided height no longer skips rounds, so that a round ahead may gather support and contradictions."""
    lies = [*prevotes(5, None, ONE), *prevotes(5, X, TWO, THREE), *prevotes(5, X, ONE)]
    before = hear(state(step=Step.DECIDED), *lies)
    assert before.book.prevotes(5).powers == {None: 1, X: 3}
    after = hear(before, *prevotes(6, X, ONE), *prevotes(7, X, ONE))
    assert after.book.prevotes(5) == hear(state(step=Step.DECIDED), *prevotes(5, X, TWO, THREE)).book.prevotes(5)


def test_late_precommits_are_counted_after_the_decision() -> None:
    before = hear(state(proposals=[proposed(0, X)]), *precommits(0, X, ONE, TWO, THREE))
    assert before.step == Step.DECIDED
    after, effects = tendermint.step(before, Voted(vote=precommits(0, X, FOUR)[0]))
    assert (after.book.precommits(0).total, effects) == (4, ())


# ------------------------------------------------------------------------------------------------------ restarts


def test_restart_goes_on_in_its_round_and_step_with_its_lock() -> None:
    memory = Memory(
        round=Round(2),
        step=Step.PRECOMMIT,
        locked_round=1,
        locked_id=X,
        valid_round=2,
        valid_id=Y,
        votes=(*precommits(1, X, FOUR), *precommits(2, None, FOUR), *prevotes(2, Y, ONE, TWO, THREE)),
        proposals=(proposal(1, X), proposal(2, Y)),
    )
    after, effects = tendermint.start(FOUR, begin(memory=memory))
    assert effects == ()
    assert (after.round, after.step) == (2, Step.PRECOMMIT)
    assert (after.locked_round, after.locked_id, after.valid_round, after.valid_id) == (1, X, 2, Y)
    assert after.book.has_polka(2, Y)
    assert {round_: [g.proposal.block_id for g in row] for round_, row in after.proposals.items()} == {1: [X], 2: [Y]}


def test_restart_between_polka_and_precommit_precommits() -> None:
    memory = Memory(
        round=Round(0),
        step=Step.PREVOTE,
        valid_round=0,
        valid_id=X,
        votes=(*prevotes(0, X, ONE, TWO, FOUR),),
        proposals=(proposal(0, X),),
    )
    after, effects = tendermint.start(FOUR, begin(memory=memory))
    assert [type(effect) for effect in effects] == [KeepBlockAndPolka, SendVote]
    assert (after.step, after.locked_id) == (Step.PRECOMMIT, X)


def test_restart_after_an_own_proposal_prevotes_it_and_proposes_nothing_else() -> None:
    memory = Memory(round=Round(0), step=Step.PROPOSE, proposals=(proposal(0, X),))
    after, effects = tendermint.start(ONE, begin(memory=memory))
    assert [type(effect) for effect in effects] == [ScheduleTimeout, SendVote]
    assert after.proposed


def test_restart_decides_with_what_it_remembers() -> None:
    alone = ValidatorSet(members=((ONE, 5),))
    memory = Memory(
        round=Round(0),
        step=Step.PRECOMMIT,
        locked_round=0,
        locked_id=X,
        valid_round=0,
        valid_id=X,
        votes=(*prevotes(0, X, ONE), *precommits(0, X, ONE)),
        proposals=(proposal(0, X),),
    )
    _, effects = tendermint.start(ONE, begin(alone, memory=memory))
    assert [type(effect) for effect in effects] == [Decided]


def test_node_outside_the_set_follows_in_silence() -> None:
    after, _ = tendermint.start(STRANGER, begin())
    assert not after.voting
    after, effects = tendermint.step(after, proposed(0, X))
    assert (after.step, effects) == (Step.PREVOTE, ())
    assert EQUAL.power(STRANGER) == 0
