"""Votes go round: checked once, sent to those that lack them, bounded, and never lost for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chain.network.messages import KnownVotes, Status, Votes
from chain.network.relays import CALLED_MAX, RELAYS_MAX
from chain.replication.events import Tick
from chain.replication.vote_exchange import CHECKS_BESIDE_SET, VoteExchange
from consensus.codec import encode_vote
from consensus.types import VoteKind
from tests.chain.replication import replica_world
from tests.chain.replication.replica_scene import (
    GENESIS,
    KEYS,
    block_of,
    compact,
    id_of,
    recover,
    validators,
    vote,
    votes_of,
)
from tests.chain.replication.replica_world import Node, World

NIL = KnownVotes(round=0, kind=1, block_id=b"", voters=b"\0")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The signatures that were recovered."""
    found: list[bytes] = []

    def counting(signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
        found.extend(signature for _, signature in signed)
        return recover(signed)

    monkeypatch.setattr(replica_world, "recover", counting)
    return found


def begun(world: World) -> Node:
    """The second node, in the first height, whose proposer is the first."""
    node = world.only(1)
    world.run(10)
    world.sent.clear()
    return node


def test_a_vote_is_checked_once_and_goes_to_all_but_those_that_have_it(checked: list[bytes]) -> None:
    world = World(5)
    node = begun(world)
    prevote = vote(VoteKind.PREVOTE, 0)
    node.hear(0, votes_of(prevote))
    node.hear(2, votes_of(prevote))
    node.hear(3, votes_of(prevote, prevote))
    assert checked == [prevote.signature]
    assert [(to, message) for _, to, message in world.sent] == [(to, votes_of(prevote)) for to in (2, 3, 4)]


def test_votes_that_come_together_leave_together() -> None:
    world = World(4)
    node = begun(world)
    both = [vote(VoteKind.PREVOTE, 2), vote(VoteKind.PREVOTE, 3)]
    node.hear(2, votes_of(*both))
    sent = world.heard(Votes, 0)
    own = vote(VoteKind.PREVOTE, 1)
    assert [message.votes for message in sent] == [tuple(encode_vote(each) for each in both)]
    assert encode_vote(own) not in sent[0].votes


@pytest.mark.parametrize(
    ("given", "blamed"),
    [
        pytest.param(votes_of(vote(VoteKind.PREVOTE, 2, key=KEYS[3])), True, id="signed by another"),
        pytest.param(votes_of(vote(VoteKind.PREVOTE, 6)), False, id="no validator"),
        pytest.param(Votes(votes=(b"\x96",)), True, id="no vote at all"),
        pytest.param(votes_of(vote(VoteKind.PREVOTE, 6, height=2)), False, id="no validator yet"),
        pytest.param(votes_of(vote(VoteKind.PREVOTE, 2, height=3)), False, id="of a later height"),
        pytest.param(votes_of(vote(VoteKind.PREVOTE, 2, round_=9)), False, id="of a later round"),
    ],
)
def test_only_what_no_honest_node_sends_is_blamed(given: Votes, blamed: bool) -> None:
    world = World(4)
    node = begun(world)
    node.hear(2, given)
    assert [blame.points for blame in node.blames] == ([100] if blamed else [])


@pytest.mark.parametrize("height", [0, 3, 10**9])
def test_votes_of_other_heights_cost_no_signature(checked: list[bytes], height: int) -> None:
    node = begun(World(4))
    node.hear(2, votes_of(*(vote(VoteKind.PREVOTE, 2, height=height, round_=round_) for round_ in range(5))))
    assert not checked


def test_a_peer_gets_so_many_signatures_checked_between_ticks_and_no_more(checked: list[bytes]) -> None:
    world = World(4)
    node = begun(world)
    most = CHECKS_BESIDE_SET + 8 * 4
    unsigned = vote(VoteKind.PREVOTE, 3)
    for index in range(most + 50):
        forged = Votes(votes=(encode_vote(unsigned)[:-1] + bytes([index % 7 + 2]),))
        node.hear(2, forged)
    assert len(checked) == most
    node.handle(Tick())
    node.hear(2, votes_of(unsigned))
    assert len(checked) == most + 1


def test_of_forged_votes_few_are_looked_at(checked: list[bytes]) -> None:
    node = begun(World(4))
    checked.clear()
    forged = [replace(vote(VoteKind.PREVOTE, n % 4, bytes([n]) * 32), signature=b"\1" * 65) for n in range(200)]
    node.hear(2, votes_of(*forged))
    assert len(checked) == 1
    assert node.blames


def test_a_voter_that_contradicts_itself_is_passed_on_a_few_times_only(checked: list[bytes]) -> None:
    world = World(4)
    node = begun(world)
    lies = [vote(VoteKind.PREVOTE, 2, bytes([n]) * 32) for n in range(40)]
    node.hear(2, votes_of(*lies[:20]))
    node.hear(2, votes_of(*lies[20:]))
    assert len(checked) == 20
    assert len([raw for message in world.heard(Votes, 3) for raw in message.votes]) == 3
    assert len(node.evidence) == 1


def test_a_voter_fills_nothing_with_rounds_to_come(checked: list[bytes]) -> None:
    node = begun(World(4))
    for round_ in range(2, 60):
        node.hear(3, votes_of(vote(VoteKind.PREVOTE, 2, round_=round_)))
    assert len(checked) == 8


def test_votes_of_rounds_that_consensus_had_no_room_for_are_fed_again_when_they_come_again() -> None:
    world = World(4)
    node = begun(world)
    early = [vote(VoteKind.PREVOTE, 2, round_=round_) for round_ in (2, 3, 4)]  # the first one makes room
    node.hear(2, votes_of(*early))
    node.hear(2, Status(height=1, round=4, oldest_block=1, votes=(), proposals=()))
    assert encode_vote(early[0]) not in [raw for message in world.heard(Votes, 2) for raw in message.votes]
    # More than a third reaches round 1, and in time round 2, where the vote is wanted again.
    node.hear(0, votes_of(*(vote(VoteKind.PRECOMMIT, 0, round_=round_) for round_ in (0, 1))))
    node.hear(2, votes_of(*(vote(VoteKind.PRECOMMIT, 2, round_=round_) for round_ in (0, 1))))
    node.hear(3, votes_of(*(vote(VoteKind.PRECOMMIT, 3, round_=round_) for round_ in (0, 1))))
    node.hear(2, votes_of(early[0]))
    world.run(1_100)
    world.sent.clear()
    node.hear(3, Status(height=1, round=2, oldest_block=1, votes=(), proposals=()))
    assert encode_vote(early[0]) in [raw for message in world.heard(Votes, 3) for raw in message.votes]


def test_votes_of_the_next_height_wait_for_it() -> None:
    world = World(4)
    node = begun(world)
    block = block_of(1, bytes(32), world.now_ms)
    early = vote(VoteKind.PREVOTE, 3, height=2)
    node.hear(3, votes_of(early))
    node.hear(0, compact(block))
    for voter in (0, 2, 3):
        node.hear(voter, votes_of(vote(VoteKind.PRECOMMIT, voter, id_of(block))))
    world.run(1_100)
    world.sent.clear()
    node.hear(2, Status(height=2, round=0, oldest_block=1, votes=(), proposals=()))
    assert encode_vote(early) in [raw for message in world.heard(Votes, 2) for raw in message.votes]


def test_status_names_votes_by_block_and_what_it_does_not_name_is_sent() -> None:
    world = World(4)
    node = begun(world)
    x, y = vote(VoteKind.PREVOTE, 0, b"x" * 32), vote(VoteKind.PREVOTE, 2, b"y" * 32)
    node.hear(3, votes_of(x, y))
    world.sent.clear()
    known = KnownVotes(round=0, kind=1, block_id=b"x" * 32, voters=b"\x01")
    node.hear(2, Status(height=1, round=0, oldest_block=1, votes=(known,), proposals=()))
    assert [message.votes for message in world.heard(Votes, 2)] == [(encode_vote(y),)]
    node.hear(2, Status(height=1, round=0, oldest_block=1, votes=(), proposals=()))
    assert len(world.heard(Votes, 2)) == 1, "once between ticks"


@pytest.mark.parametrize("voters", [b"", b"\xff" * 125, b"\0"])
def test_a_status_may_say_what_it_likes_of_its_votes(voters: bytes) -> None:
    node = begun(World(4))
    node.hear(0, votes_of(vote(VoteKind.PREVOTE, 0)))
    known = KnownVotes(round=0, kind=1, block_id=b"", voters=voters)
    node.hear(2, Status(height=1, round=2**60, oldest_block=2**60, votes=(known, NIL), proposals=((7, b"z" * 32),)))
    assert not node.blames


def test_a_vote_goes_to_all_from_its_voter_and_to_a_few_in_turns_from_everyone_else() -> None:
    peers = tuple(bytes([number]) * 20 for number in range(40))
    votes = VoteExchange(genesis=GENESIS, recover=recover, turn=5)
    votes.start_height(1, validators(4))
    for peer in peers[20:]:
        votes.met_peer(peer, called=True)
    votes.say(vote(VoteKind.PREVOTE, 0))
    assert receivers(votes, peers) == [set(peers)]
    told = []
    for voter in (1, 2, 3):
        votes.take(peers[0], [encode_vote(vote(VoteKind.PREVOTE, voter))], None)
        (to,) = receivers(votes, peers)
        assert len(to) == RELAYS_MAX
        assert len(to & set(peers[20:])) == CALLED_MAX
        assert peers[0] not in to
        told.append(to)
    assert not told[0] & told[1]
    assert receivers(votes, peers) == []
    for peer in peers[20:]:
        votes.forget_peer(peer)
    votes.take(peers[0], [encode_vote(vote(VoteKind.PRECOMMIT, 1))], None)
    assert receivers(votes, peers[: RELAYS_MAX + 1]) == [set(peers[1 : RELAYS_MAX + 1])]


def receivers(votes: VoteExchange, peers: tuple[bytes, ...]) -> list[set[bytes]]:
    return [set(send.peers) for send in votes.flush(peers)]
