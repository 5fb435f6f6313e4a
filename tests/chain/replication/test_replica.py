"""Replicas over a network that delays: they agree, go on without one, let one in again, and time their rounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from chain.crypto import address_of
from chain.network.messages import Blocks, CompactProposal, HaveProposal, Message, Status, Votes, WholeProposal
from chain.replication.deliberation import HASTY_ROUNDS
from chain.replication.events import HeightDue, PeerConnected
from consensus.types import Height, VoteKind
from consensus.votelog import ClosedRecord, VoteRecord, decode_record, encode_record, ends_in_silence
from tests.chain.replication.replica_scene import (
    BAD_GAS,
    KEYS,
    block_of,
    chain_of,
    compact,
    id_of,
    proposer_of,
    transfer,
    vote,
    votes_of,
    whole,
)
from tests.chain.replication.replica_world import Node, World


def votes_logged(node: Node) -> list[VoteRecord]:
    decoded = [decode_record(record) for record in node.records]
    return [record for record in decoded if isinstance(record, VoteRecord)]


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_validators_agree_on_a_block_each_interval(count: int) -> None:
    world = World(count)
    world.start()
    took = world.run_to(10)
    world.agree()
    assert 9_000 <= took <= 9_500
    assert all(commit.round == 0 for _, commit in world.nodes[0].blocks)


@pytest.mark.parametrize("delay_ms", [50, 150])
def test_blocks_keep_to_the_interval_when_messages_take_long(delay_ms: int) -> None:
    world = World(4, delay_ms=delay_ms)
    world.start()
    took = world.run_to(10)
    world.agree()
    assert took <= 9_000 + 5 * delay_ms
    assert all(commit.round == 0 for _, commit in world.nodes[0].blocks)


def test_with_one_of_four_dead_the_chain_goes_on_and_a_missing_proposer_costs_less_than_an_interval() -> None:
    world = World(4)
    world.start()
    world.run_to(10)
    world.nodes[2].kill()
    world.run_to(30)
    took = world.run_to(50)
    world.agree()
    assert took <= 20 * 1_000 + 5 * 600  # five turns of the dead one
    rounds = {commit.round for _, commit in world.nodes[0].blocks[30:]}
    assert rounds == {0, 1}  # the dead one's turns, and the others'
    times = world.nodes[0].committed_ms[30:]
    assert max(b - a for a, b in pairwise(times)) < 1_500


def test_with_two_of_four_dead_nothing_is_decided_until_one_is_back() -> None:
    world = World(4)
    world.start()
    world.run_to(3)
    world.nodes[1].kill()
    world.nodes[2].kill()
    world.run(20_000)
    assert max(node.height for node in world.nodes) <= 4
    world.nodes[1].start()
    world.run_to(6, *(world.nodes[index] for index in (0, 1, 3)))
    world.agree()


def test_a_partition_that_heals_loses_nothing() -> None:
    world = World(4)
    world.start()
    world.run_to(3)
    world.island = (0, 1)
    world.run(10_000)
    stuck = max(node.height for node in world.nodes)
    world.island = ()
    took = world.run_to(stuck + 3)
    world.agree()
    assert took < 20_000


def test_a_node_that_comes_late_fetches_what_it_missed_from_several_and_then_takes_part() -> None:
    world = World(5, validating=4)
    for node in world.nodes[:4]:
        node.start()
    world.run_to(150, *world.nodes[:4], limit_ms=200_000)
    late = world.nodes[4]
    world.sent.clear()
    late.start()
    assert world.run_to(150, late) < 2_000
    assert len({sender for sender, _, message in world.sent if isinstance(message, Blocks)}) > 1
    world.run_to(153)
    world.agree()
    assert late.committed_ms[-1] - world.nodes[0].committed_ms[-1] < 100  # it decides with the others


def test_a_killed_validator_goes_on_from_its_log() -> None:
    world = World(4)
    world.start()
    world.run_to(3)
    node = world.nodes[proposer_of(4)]
    world.after(1_020, node.kill)
    world.run(1_500)
    world.after(300, node.start)
    world.run_to(7)
    world.agree()
    signed = [(record.vote.slot, record.vote.block_id) for record in votes_logged(node)]
    assert len({slot for slot, _ in signed}) == len(signed)


def test_lost_messages_are_sent_again_without_progress() -> None:
    world = World(4)
    lost: list[Message] = []

    def drop(_: Node, receiver: Node, message: Message) -> bool:
        first = receiver.index in (1, 3) and isinstance(message, (Votes, CompactProposal)) and len(lost) < 60
        if first:
            lost.append(message)
        return first

    world.drop = drop
    world.start()
    world.run_to(3, limit_ms=30_000)
    world.agree()
    assert len(lost) == 60


def test_a_height_starts_with_more_than_a_third_that_has_started_it() -> None:
    world = World(4)
    node = world.only(1)
    [(block, _)] = chain_of(1)
    node.hear(0, compact(block))
    for voter in (0, 2, 3):
        node.hear(voter, votes_of(vote(VoteKind.PRECOMMIT, voter, id_of(block))))
    world.run(10)
    assert node.height == 1
    node.hear(2, votes_of(vote(VoteKind.PREVOTE, 2, None, height=2)))
    world.run(1)
    assert not started(node, 2)
    node.hear(3, votes_of(vote(VoteKind.PREVOTE, 3, None, height=2)))
    world.run(1)
    assert started(node, 2)


def started(node: Node, height: int) -> bool:
    assert node.replica is not None
    node.world.sent.clear()
    node.hear(0, Status(height=height, round=0, oldest_block=1, votes=(), proposals=()))
    return bool(node.world.heard(Votes))  # votes of a height that runs are sent to whoever lacks them


def test_rounds_do_not_race_while_every_block_is_refused_at_once() -> None:
    world = World(4)
    world.clock_ahead_ms = 60_000
    world.start()
    world.run(30_000)
    rounds = [node.replica.round for node in world.nodes if node.replica]
    assert all(HASTY_ROUNDS < round_ < 40 for round_ in rounds), rounds
    world.clock_ahead_ms = 0
    world.run_to(2, limit_ms=20_000)
    world.agree()


def test_a_block_too_far_ahead_of_the_clock_gets_no_prevote_but_is_no_less_valid() -> None:
    world = World(4)
    node = world.only(1)
    world.run(10)
    ahead = block_of(1, bytes(32), world.now_ms + 10_100)
    node.hear(0, compact(ahead))
    world.run(10)
    [prevote] = [record.vote for record in votes_logged(node)]
    assert prevote.block_id is None
    for voter in (0, 2, 3):
        node.hear(voter, votes_of(vote(VoteKind.PREVOTE, voter, id_of(ahead))))
    world.run(1)
    assert [record.vote.block_id for record in votes_logged(node)] == [None, id_of(ahead)]


def test_a_node_stops_when_two_thirds_sign_what_it_judges_invalid() -> None:
    world = World(4)
    node = world.only(1)
    world.run(10)
    bad = block_of(1, bytes(32), world.now_ms, gas=BAD_GAS)
    node.hear(0, compact(bad))
    world.run(10)
    assert [record.vote.block_id for record in votes_logged(node)] == [None]
    for voter in (0, 2, 3):
        assert not node.stopped
        node.hear(voter, votes_of(vote(VoteKind.PRECOMMIT, voter, id_of(bad))))
    assert "height 1: gas_used" in node.stopped


def test_evidence_is_reported_of_verified_votes_only() -> None:
    world = World(4)
    node = world.only(1)
    world.run(10)
    first, second = vote(VoteKind.PREVOTE, 0, b"x" * 32), vote(VoteKind.PREVOTE, 0, b"y" * 32)
    forged = vote(VoteKind.PREVOTE, 2, b"x" * 32, key=KEYS[3])
    node.hear(2, votes_of(first))
    node.hear(3, votes_of(second, forged))
    assert [(report.evidence.first, report.evidence.second) for report in node.evidence] == [(first, second)]
    assert [blame.points for blame in node.blames] == [100]


def test_a_transfer_that_all_pools_hold_crosses_the_network_by_its_hash() -> None:
    world = World(4)
    sent = transfer(0)
    for node in world.nodes:
        node.pool[sent.hash] = sent
    world.start()
    world.run_to(1)
    assert all(node.blocks[0][0].transactions == (sent.raw,) for node in world.nodes)
    assert not any(world.heard(kind) for kind in (WholeProposal, Blocks))
    assert world.heard(HaveProposal)


# --------------------------------------------------------------------------------------------- keys without their log


def test_a_key_without_its_log_votes_again_after_one_height_that_it_saw_decided_and_the_next() -> None:
    world = World(4)
    world.start()
    world.run_to(5)
    node = world.nodes[3]
    node.kill()
    node.records.clear()
    node.start()
    first = node.height + 1
    world.run_to(first + 4)
    world.agree()
    heights = sorted({record.vote.height for record in votes_logged(node)})
    assert heights[0] == first + 2
    closed = [record.height for record in map(decode_record, node.records) if isinstance(record, ClosedRecord)]
    assert first + 1 in closed


def test_a_key_whose_disk_was_wiped_says_nothing_before_it_has_caught_up() -> None:
    world = World(4)
    world.start()
    world.run_to(40)
    node = world.nodes[proposer_of(1)]
    node.kill()
    node.records.clear()
    node.blocks.clear()
    world.run(3_000)
    node.start()
    world.run_to(50)
    world.agree()
    assert min(record.vote.height for record in votes_logged(node)) > 42
    assert not any(other.evidence for other in world.nodes)


def test_a_restart_does_not_end_an_abstention() -> None:
    world = World(4)
    world.start()
    world.run_to(5)
    node = world.nodes[3]
    node.kill()
    node.records.clear()
    node.start()
    first = node.height + 1
    world.run(100)
    node.kill()
    node.start()
    world.run_to(first + 4)
    assert min(record.vote.height for record in votes_logged(node)) == first + 2


def test_old_heights_that_are_replayed_to_a_key_without_its_log_do_not_make_it_vote_again() -> None:
    world = World(4)
    world.start()
    world.run_to(12)
    node = world.nodes[3]
    node.kill()
    history = list(node.blocks)
    node.records.clear()
    del node.blocks[5:]
    world.run(1_000)
    world.island = (3,)
    node.start()
    node.handle(PeerConnected(peer=world.nodes[0].id))  # who is somebody else
    world.run(1_500)
    for block, commit in history[5:]:
        height = block.header.height
        node.hear(0, whole(block, round_=commit.round))
        world.run(20)
        said = [
            vote(kind, voter, id_of(block), height=height, round_=commit.round)
            for kind in VoteKind
            for voter in range(3)
        ]
        node.hear(0, votes_of(*said))
        world.run(1_100)
    assert node.height == len(history)
    assert not votes_logged(node)


def test_an_empty_log_begins_the_first_height_only_after_somebody_said_that_it_is_the_first() -> None:
    world = World(4)
    node = world.only(0, remembers=False)
    node.handle(HeightDue(height=1))
    world.run(1_500)
    assert not node.records
    node.hear(1, Status(height=1, round=0, oldest_block=1, votes=(), proposals=()))
    world.run(100)
    assert node.records


def test_a_key_that_speaks_elsewhere_too_falls_silent_for_that_height() -> None:
    world = World(4)
    node = world.only(1)
    world.run(10)
    node.hear(0, votes_of(vote(VoteKind.PREVOTE, 1, b"z" * 32)))
    node.hear(0, compact(block_of(1, bytes(32), world.now_ms)))
    world.run(2_000)
    assert not votes_logged(node)
    assert [decode_record(record) for record in node.records] == [ClosedRecord(height=1)]


def behind_by(heights: int, log: list[bytes]) -> Node:
    """The last node of a world, some blocks behind the others with whom it decided them, started with some other log."""
    world = World(4)
    world.start()
    world.run_to(6)
    node = world.nodes[3]
    node.kill()
    assert node.key
    assert any(address_of(node.key) in dict(commit.signatures) for _, commit in node.blocks[-heights:])
    del node.blocks[-heights:]
    node.records[:] = log
    node.start(remembers=True)
    return node


def test_a_key_abstains_once_a_fetched_commit_has_a_vote_that_its_old_log_lacks() -> None:
    node = behind_by(4, [encode_record(ClosedRecord(height=Height(2)))])
    while node.height < 6:
        node.world.run(50)
    assert node.replica is not None
    assert node.replica.abstains
    assert not votes_logged(node)
    assert ends_in_silence(tuple(node.records))
    node.world.run(10_000)
    assert not node.replica.abstains
    assert votes_logged(node)


def test_a_key_whose_log_is_ahead_of_its_store_goes_on() -> None:
    node = behind_by(4, [encode_record(ClosedRecord(height=Height(6)))])
    while node.height < 6:
        node.world.run(50)
    assert node.replica is not None
    assert not node.replica.abstains
