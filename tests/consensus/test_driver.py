"""The driver signs, logs before it sends, loops its own words back, and never signs against its log."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import votelog
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
from consensus.driver import Driver
from consensus.events import HeightStarted, ReportEquivocation, Step, TimedOut, TimeoutKind
from consensus.types import BlockId, Commit, Height, InvalidConsensus, Round, ValidatorSet, Vote, VoteKind, Voter
from consensus.votelog import ClosedRecord, KeptRecord, ProposalRecord, Record, Recovered, VoteRecord, decode_record
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
)

GENESIS = b"g" * 32
ALONE = ValidatorSet(members=((ONE, 5),))
BUILT = BlockBuilt(height=HEIGHT, round=Round(0), block_id=X, block=b"block x")


def sign(data: bytes) -> bytes:
    return b"signed" + data[-6:]


def driver(me: Voter | None = FOUR, log: Recovered | None = None, log_bytes_max: int = 1 << 20) -> Driver:
    return Driver(
        me=me, genesis=GENESIS, sign=sign, timeouts=Timeouts(), log=log or Recovered(), log_bytes_max=log_bytes_max
    )


def offered(round_: int, block_id: BlockId, valid: bool = True) -> ProposalReceived:
    return ProposalReceived(proposal=proposal(round_, block_id), block=b"block " + block_id[:1], valid=valid)


def hear(node: Driver, *votes: Vote) -> list[Action]:
    return [action for vote in votes for action in node.handle(VoteReceived(vote=vote))]


def records(actions: list[Action]) -> list[Record]:
    return [decode_record(action.record) for action in actions if isinstance(action, Persist)]


def signed(vote: Vote) -> Vote:
    return replace(vote, signature=sign(replace(vote, signature=b"").sign_bytes(GENESIS)))


def following(height: int = HEIGHT + 1, validators: ValidatorSet = EQUAL, voting: bool = True) -> HeightStarted:
    return replace(begin(validators), height=Height(height), voting=voting)


def test_single_validator_decides_through_the_path_of_all() -> None:
    node = driver(ONE)
    kinds = [type(action) for action in node.handle(begin(ALONE))]
    assert kinds == [BuildBlock, StartTimer]
    actions = node.handle(BUILT)
    said = [Persist, SendProposal, Persist, SendVote, Persist, Persist, SendVote, CommitBlock]
    assert [type(action) for action in actions] == said
    assert [type(record) for record in records(actions)] == [ProposalRecord, VoteRecord, KeptRecord, VoteRecord]
    vote = signed(precommits(0, X, ONE)[0])
    commit = Commit(height=HEIGHT, round=Round(0), block_id=X, signatures=((ONE, vote.signature),))
    assert actions[-1] == CommitBlock(commit=commit, block=b"block x")
    assert node.last_commit() == commit


def test_vote_is_signed_and_logged_before_it_is_sent() -> None:
    node = driver()
    node.handle(begin())
    vote = signed(prevotes(0, X, FOUR)[0])
    persist, send = node.handle(offered(0, X))
    assert isinstance(persist, Persist)
    assert decode_record(persist.record) == VoteRecord(vote=vote)
    assert send == SendVote(vote=vote)
    assert vote in node.votes()


def test_block_and_polka_are_logged_before_the_precommit() -> None:
    node = driver()
    node.handle(begin())
    node.handle(offered(0, X))
    actions = hear(node, *prevotes(0, X, ONE, TWO))
    assert [type(action) for action in actions] == [Persist, Persist, SendVote]
    kept, vote = records(actions)
    polka = (*prevotes(0, X, ONE, TWO), signed(prevotes(0, X, FOUR)[0]))
    assert kept == KeptRecord(proposal=proposal(0, X), polka=polka, block=b"block x")
    assert vote == VoteRecord(vote=signed(precommits(0, X, FOUR)[0]))


def test_own_block_is_logged_once() -> None:
    node = driver(ONE)
    node.handle(begin(ALONE))
    made, _, kept, _ = records(node.handle(BUILT))
    assert isinstance(made, ProposalRecord)
    assert isinstance(kept, KeptRecord)
    assert (made.block, kept.block) == (b"block x", b"")


def test_timers_grow_with_the_round() -> None:
    timeouts = Timeouts(propose_ms=10, propose_step_ms=1, prevote_ms=20, prevote_step_ms=2)
    assert timeouts.duration_ms(TimeoutKind.PROPOSE, Round(3)) == 13
    assert timeouts.duration_ms(TimeoutKind.PREVOTE, Round(3)) == 26
    assert timeouts.duration_ms(TimeoutKind.PRECOMMIT, Round(3)) == 1_000 + 3 * 500
    (timer,) = driver().handle(begin())
    assert timer == StartTimer(kind=TimeoutKind.PROPOSE, height=HEIGHT, round=Round(0), duration_ms=3_000)


def test_messages_before_the_first_height_are_ignored() -> None:
    node = driver()
    assert hear(node, *prevotes(0, X, ONE)) + node.handle(offered(0, X)) == []


def test_message_that_no_honest_node_sends_is_refused_and_changes_nothing() -> None:
    node = driver()
    node.handle(begin())
    before = node.state
    for wrong in (
        VoteReceived(vote=prevotes(0, X, STRANGER)[0]),
        replace(offered(0, X), proposal=replace(proposal(0, X), proposer=TWO)),
    ):
        with pytest.raises(InvalidConsensus):
            node.handle(wrong)
    assert node.state == before


def test_equivocation_is_passed_on() -> None:
    node = driver()
    node.handle(begin())
    (report,) = hear(node, *prevotes(0, X, ONE), *prevotes(0, Y, ONE))
    assert isinstance(report, ReportEquivocation)
    assert report.evidence.second == prevotes(0, Y, ONE)[0]


def test_votes_of_the_next_height_wait_for_it() -> None:
    node = driver()
    node.handle(begin())
    later = [replace(vote, height=Height(HEIGHT + 1)) for vote in prevotes(0, X, ONE, TWO, STRANGER)]
    later += [replace(vote, height=Height(HEIGHT + 1)) for r in (1, 2) for vote in prevotes(r, X, TWO)]
    assert hear(node, *later, *later) == []
    assert node.votes() == ()
    node.handle(following())
    assert set(node.votes()) == {*later[:2], later[3]}  # not a stranger's, and not beyond the next round


def test_votes_that_waited_for_a_height_in_which_their_voter_has_none_are_dropped() -> None:
    node = driver()
    node.handle(begin())
    hear(node, *(replace(vote, height=Height(HEIGHT + 1)) for vote in prevotes(0, X, ONE, TWO)))
    node.handle(following(validators=ValidatorSet(members=((TWO, 1), (FOUR, 1)))))
    assert [vote.voter for vote in node.votes()] == [TWO]


def test_late_precommits_join_the_last_commit() -> None:
    node = driver()
    node.handle(begin())
    node.handle(offered(0, X))
    actions = hear(node, *precommits(0, X, ONE, TWO, THREE))
    commit = actions[-1].commit if isinstance(actions[-1], CommitBlock) else None
    assert commit is not None
    assert commit == node.last_commit()
    hear(node, *precommits(0, X, FOUR))
    fuller = node.last_commit()
    assert fuller is not None
    assert [voter for voter, _ in fuller.signatures] == [ONE, TWO, THREE, FOUR]
    node.handle(following())
    assert node.last_commit() == fuller
    node.handle(following(HEIGHT + 5))  # caught up by blocks: what is stored is all there is
    assert node.last_commit() is None


def test_proposals_are_offered_to_others_only_when_valid() -> None:
    node = driver()
    node.handle(begin())
    node.handle(offered(0, Y, valid=False))
    node.handle(offered(0, X))
    assert node.proposals() == ((proposal(0, X), b"block x"),)


def test_blocks_are_held_no_longer_than_their_proposals() -> None:
    node = driver()
    node.handle(begin())
    for n in range(40):
        node.handle(offered(0, BlockId(bytes([n]) * 32)))
    assert len(node._blocks) == 2
    node.handle(following())
    assert node._blocks == {}


# -------------------------------------------------------------------------------------------- the log over time


def test_log_that_has_grown_is_replaced_when_a_height_starts() -> None:
    node = driver(ONE, log_bytes_max=300)
    node.handle(begin(ALONE))
    node.handle(BUILT)
    replaced, *_ = node.handle(following(validators=ALONE))
    assert isinstance(replaced, ReplaceLog)
    assert [decode_record(record) for record in replaced.records] == [ClosedRecord(height=HEIGHT)]
    assert not any(isinstance(action, ReplaceLog) for action in node.handle(following(HEIGHT + 2, ALONE)))


def test_node_that_is_told_to_abstain_writes_it_down_first_and_stays_silent_after_a_restart() -> None:
    node = driver()
    first, *_ = node.handle(replace(begin(), voting=False))
    assert isinstance(first, Persist)
    assert decode_record(first.record) == ClosedRecord(height=HEIGHT)
    assert node.handle(offered(0, X)) == []
    again = driver(log=votelog.recover((first.record,)))
    again.handle(begin())
    assert again.handle(offered(0, X)) == []
    again.handle(following())
    vote_next = replace(offered(0, X), proposal=proposal(0, X, height=Height(HEIGHT + 1)))
    assert [type(action) for action in again.handle(vote_next)] == [Persist, SendVote]


def test_node_whose_log_is_ahead_of_its_blocks_is_silent_until_it_has_caught_up() -> None:
    log = votelog.recover((votelog.encode_record(VoteRecord(vote=signed(prevotes(0, X, FOUR)[0]))),))
    node = driver(log=log)
    node.handle(following(HEIGHT - 1))
    before = replace(offered(0, Y), proposal=proposal(0, Y, height=Height(HEIGHT - 1)))
    assert node.handle(before) == []
    assert SendVote(vote=signed(prevotes(0, X, FOUR)[0])) in node.handle(begin())


def test_long_log_is_kept_while_its_height_goes_on() -> None:
    log = votelog.recover((votelog.encode_record(VoteRecord(vote=signed(prevotes(0, X, FOUR)[0]))),))
    assert log.bytes_used > 20
    for height, replaced in ((HEIGHT - 1, False), (HEIGHT, False), (HEIGHT + 1, True)):
        actions = driver(log=log, log_bytes_max=20).handle(following(height))
        assert any(isinstance(action, ReplaceLog) for action in actions) == replaced


def test_words_of_a_height_that_is_over_are_not_sent_again() -> None:
    log = votelog.recover((votelog.encode_record(VoteRecord(vote=signed(prevotes(0, X, FOUR)[0]))),))
    assert [type(action) for action in driver(log=log).handle(following())] == [StartTimer]


def test_node_may_be_told_to_abstain_in_the_middle_of_a_height() -> None:
    log = votelog.recover((votelog.encode_record(VoteRecord(vote=signed(prevotes(0, X, FOUR)[0]))),))
    closed, *_ = driver(log=log).handle(replace(begin(), voting=False))
    assert isinstance(closed, Persist)
    assert decode_record(closed.record) == ClosedRecord(height=HEIGHT)


def test_node_without_a_vote_logs_nothing_and_still_commits() -> None:
    for me in (None, STRANGER):
        node = driver(me)
        node.handle(begin())
        node.handle(offered(0, X))
        actions = hear(node, *prevotes(0, X, ONE, TWO, THREE), *precommits(0, X, ONE, TWO, THREE))
        assert [type(action) for action in actions] == [CommitBlock]


def test_restarted_node_sends_its_words_again_and_goes_on() -> None:
    node = driver(ONE)
    node.handle(begin())
    actions = node.handle(BUILT)
    hear(node, *prevotes(0, X, TWO))
    written = tuple(action.record for action in actions if isinstance(action, Persist))
    again = driver(ONE, votelog.recover(written))
    resent = again.handle(begin())
    assert resent == [action for action in actions if isinstance(action, (SendProposal, SendVote))]
    precommitted = hear(again, *prevotes(0, X, TWO, THREE))
    assert [type(action) for action in precommitted] == [Persist, Persist, SendVote]


def test_key_is_never_used_against_the_log() -> None:
    """Even if the core asked for it."""
    node = driver(log=votelog.recover((votelog.encode_record(VoteRecord(vote=signed(prevotes(0, X, FOUR)[0]))),)))
    node.handle(begin())
    assert node.state is not None
    node.state = replace(node.state, step=Step.PROPOSE)
    with pytest.raises(AssertionError, match="about to sign"):
        node.handle(TimedOut(kind=TimeoutKind.PROPOSE, height=HEIGHT, round=Round(0)))
    node = driver(ONE)
    node.handle(begin())
    node.handle(BUILT)
    assert node.state is not None
    node.state = replace(node.state, step=Step.PROPOSE, proposed=False)
    with pytest.raises(AssertionError, match="about to sign"):
        node.handle(replace(BUILT, block_id=Y))


inputs = st.lists(
    st.one_of(
        st.builds(
            lambda kind, round_, block_id, voter: VoteReceived(
                vote=(prevotes if kind == VoteKind.PREVOTE else precommits)(round_, block_id, voter)[0]
            ),
            st.sampled_from(VoteKind),
            st.integers(0, 3),
            st.sampled_from([X, Y, None]),
            st.sampled_from([ONE, TWO, THREE, FOUR]),
        ),
        st.builds(offered, st.integers(0, 3), st.sampled_from([X, Y])),
        st.builds(
            lambda kind, round_: TimedOut(kind=kind, height=HEIGHT, round=Round(round_)),
            st.sampled_from(TimeoutKind),
            st.integers(0, 3),
        ),
        st.builds(
            lambda round_, block_id: BlockBuilt(
                height=HEIGHT, round=Round(round_), block_id=block_id, block=b"block " + block_id[:1]
            ),
            st.integers(0, 3),
            st.sampled_from([X, Y]),
        ),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=250)
@given(st.sampled_from([ONE, FOUR]), inputs, st.lists(st.integers(0, 60), max_size=4))
def test_no_order_of_inputs_and_restarts_makes_a_node_contradict_itself(
    me: Voter, items: list[Given], stops: list[int]
) -> None:
    written: list[bytes] = []
    said: dict[object, BlockId | None] = {}
    node = driver(me)

    def perform(actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Persist):
                written.append(action.record)
            if isinstance(action, SendVote):
                assert votelog.encode_record(VoteRecord(vote=action.vote)) in written
                assert said.setdefault(action.vote.slot, action.vote.block_id) == action.vote.block_id
            if isinstance(action, SendProposal):
                key = ("proposal", action.proposal.round)
                assert said.setdefault(key, action.proposal.block_id) == action.proposal.block_id

    perform(node.handle(begin()))
    for index, item in enumerate(items):
        if index in stops:
            node = driver(me, votelog.recover(tuple(written)))
            perform(node.handle(begin()))
        if not (isinstance(item, VoteReceived) and item.vote.voter == me):
            perform(node.handle(item))


def test_one_that_a_liar_led_into_a_round_and_that_crashed_leaves_nobody_behind() -> None:
    """FOUR lies: its precommit reaches THREE alone, which starts round 1, says so, and forgets why."""
    nodes = {me: driver(me) for me in (ONE, TWO, THREE)}
    for node in nodes.values():
        node.handle(begin())
    said = [action.vote for me in (ONE, TWO) for action in give_up(nodes[me], 0) if isinstance(action, SendVote)]
    hear(nodes[THREE], *said, *precommits(0, None, FOUR))
    written = nodes[THREE].handle(TimedOut(kind=TimeoutKind.PRECOMMIT, height=HEIGHT, round=Round(0)))
    written += nodes[THREE].handle(TimedOut(kind=TimeoutKind.PROPOSE, height=HEIGHT, round=Round(1)))
    log = votelog.recover(tuple(action.record for action in written if isinstance(action, Persist)))
    nodes[THREE] = driver(THREE, log=log)
    again = [action.vote for action in nodes[THREE].handle(begin()) if isinstance(action, SendVote)]
    for me in (ONE, TWO):
        timers = [action.kind for action in hear(nodes[me], *said, *again) if isinstance(action, StartTimer)]
        assert timers == [TimeoutKind.PRECOMMIT]  # which leads to round 1


def give_up(node: Driver, round_: int) -> list[Action]:
    """Nothing comes: nil twice."""
    fired = [
        TimedOut(kind=kind, height=HEIGHT, round=Round(round_)) for kind in (TimeoutKind.PROPOSE, TimeoutKind.PREVOTE)
    ]
    return [action for given in fired for action in node.handle(given)]
