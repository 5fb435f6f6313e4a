"""Proposals are completed from the pool and from peers, bound to their block before it is judged, and kept for others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.network.messages import (
    CompactProposal,
    GetProposal,
    GetProposalTransactions,
    HaveProposal,
    Message,
    ProposalTransactions,
    Status,
    WholeProposal,
)
from chain.replication.events import Tick
from chain.types import Block
from consensus.codec import encode_proposal
from consensus.types import VoteKind
from consensus.votelog import VoteRecord, decode_record
from tests.chain.replication.replica_scene import (
    BAD_GAS,
    block_of,
    compact,
    id_of,
    proposal_of,
    transfer,
    vote,
    votes_of,
    whole,
)
from tests.chain.replication.replica_world import Node, World

TRANSFERS = tuple(transfer(nonce) for nonce in range(4))
RAWS = tuple(transaction.raw for transaction in TRANSFERS)


def begun(world: World) -> Node:
    """The second node, in the first height, whose proposer is the first."""
    node = world.only(1)
    world.run(10)
    world.sent.clear()
    return node


def block(world: World, gas: int = 0) -> Block:
    return block_of(1, bytes(32), world.now_ms, RAWS, gas=gas)


def prevotes(node: Node) -> list[bytes | None]:
    decoded = [decode_record(record) for record in node.records]
    votes = [record.vote for record in decoded if isinstance(record, VoteRecord)]
    return [each.block_id for each in votes if each.kind is VoteKind.PREVOTE]


def held(node: Node) -> tuple[tuple[int, bytes], ...]:
    """The proposals that a node says it has."""
    node.handle(Tick())
    node.world.run(1_100)
    return node.world.heard(Status)[-1].proposals


def test_a_proposal_whose_transactions_are_in_the_pool_is_voted_for_at_once() -> None:
    world = World(4)
    node = begun(world)
    node.pool.update({transaction.hash: transaction for transaction in TRANSFERS})
    offered = block(world)
    node.hear(0, compact(offered))
    world.run(5)
    assert prevotes(node) == [id_of(offered)]
    assert not world.heard(GetProposalTransactions)


def test_what_the_pool_lacks_is_asked_of_the_sender() -> None:
    world = World(4)
    node = begun(world)
    node.pool[TRANSFERS[1].hash] = TRANSFERS[1]
    offered = block(world)
    node.hear(0, compact(offered))
    [asked] = world.heard(GetProposalTransactions, 0)
    assert asked.places == (0, 2, 3)
    raws = tuple(RAWS[place] for place in asked.places)
    node.hear(0, ProposalTransactions(block_id=id_of(offered), places=asked.places, raws=raws))
    world.run(5)
    assert prevotes(node) == [id_of(offered)]


def test_an_answer_may_come_in_parts_and_nothing_is_taken_from_others() -> None:
    world = World(4)
    node = begun(world)
    offered = block(world)
    node.hear(0, compact(offered))
    node.hear(2, ProposalTransactions(block_id=id_of(offered), places=(0, 1), raws=RAWS[2:]))
    node.hear(0, ProposalTransactions(block_id=id_of(offered), places=(0, 1), raws=RAWS[:2]))
    node.hear(0, ProposalTransactions(block_id=id_of(offered), places=(2, 3), raws=RAWS[2:]))
    world.run(5)
    assert prevotes(node) == [id_of(offered)]
    assert not node.blames


def test_another_peer_is_asked_when_the_sender_does_not_answer() -> None:
    world = World(4)
    node = begun(world)
    offered = block(world)
    node.hear(2, compact(offered))
    node.hear(3, HaveProposal(height=1, round=0, block_id=id_of(offered)))
    world.run(600)
    node.handle(Tick())
    assert [(blame.peer, blame.points) for blame in node.blames] == [(world.nodes[2].id, 1)]
    assert world.heard(GetProposal, 3) == [GetProposal(height=1, round=0, block_id=id_of(offered))]
    node.hear(2, compact(offered))  # it had its chance
    node.hear(3, compact(offered))
    assert world.heard(GetProposalTransactions, 3)
    node.hear(3, ProposalTransactions(block_id=id_of(offered), places=(0, 1, 2, 3), raws=RAWS))
    world.run(5)
    assert held(node) == ((0, id_of(offered)),)


def garbage(offered: Block) -> list[tuple[str, Message, Message | None]]:
    """What is no body of the block, as a proposal and what may follow it."""
    right, fully = compact(offered), whole(offered)
    short = replace(right, hashes=right.hashes[:-1])
    other = block_of(1, bytes(32), 5, RAWS)
    places = (0, 1, 2, 3)
    return [
        ("other header", replace(right, header=compact(other).header), None),
        ("no header", replace(right, header=b"\x90"), None),
        ("other last commit", replace(right, last_commit=b"x"), None),
        (
            "too few transactions",
            short,
            ProposalTransactions(block_id=id_of(offered), places=places[:-1], raws=RAWS[:-1]),
        ),
        (
            "other transactions",
            right,
            ProposalTransactions(block_id=id_of(offered), places=places, raws=(*RAWS[1:], RAWS[0])),
        ),
        (
            "places that do not exist",
            right,
            ProposalTransactions(block_id=id_of(offered), places=(9,), raws=RAWS[:1]),
        ),
        ("fewer than places", right, ProposalTransactions(block_id=id_of(offered), places=places, raws=RAWS[:1])),
        ("other block", replace(fully, block=whole(other).block), None),
        ("no block", replace(fully, block=b"\x93"), None),
    ]


@pytest.mark.parametrize("case", range(9))
def test_a_body_that_is_not_the_blocks_is_its_senders_fault_and_the_block_is_not_judged(case: int) -> None:
    world = World(4)
    node = begun(world)
    offered = block(world)
    _, first, then = garbage(offered)[case]
    node.hear(2, first)
    if then is not None:
        node.hear(2, then)
    world.run(5)
    assert [(blame.peer, blame.points) for blame in node.blames] == [(world.nodes[2].id, 100)]
    assert not prevotes(node)
    node.hear(0, whole(offered))
    world.run(5)
    assert prevotes(node) == [id_of(offered)]


def test_only_the_rounds_proposer_is_heard_and_only_what_it_signed() -> None:
    world = World(4)
    node = begun(world)
    offered = block(world)
    node.hear(2, compact(offered, by=2))
    unsigned = replace(proposal_of(offered), signature=proposal_of(offered, by=3).signature)
    node.hear(3, replace(whole(offered), proposal=encode_proposal(unsigned)))
    world.run(5)
    assert [blame.points for blame in node.blames] == [100, 100]
    assert not prevotes(node)


def test_an_invalid_block_gets_nil_and_is_told_to_nobody() -> None:
    world = World(4)
    node = begun(world)
    node.hear(0, whole(block(world, gas=BAD_GAS)))
    world.run(5)
    assert prevotes(node) == [None]
    assert not world.heard(HaveProposal)
    assert held(node) == ()


def test_a_valid_one_is_told_to_those_not_known_to_have_it_and_given_to_those_that_ask() -> None:
    world = World(4)
    node = begun(world)
    offered = block(world)
    node.hear(3, HaveProposal(height=1, round=0, block_id=id_of(offered)))
    assert len(world.heard(GetProposal, 3)) == 1
    node.hear(0, whole(offered))
    world.run(5)
    assert [to for _, to, message in world.sent if isinstance(message, HaveProposal)] == [2, 3]
    node.hear(2, GetProposal(height=1, round=0, block_id=id_of(offered)))
    assert world.heard(CompactProposal, 2) == [compact(offered)]
    node.hear(2, GetProposalTransactions(block_id=id_of(offered), places=(1, 3)))
    [given] = world.heard(ProposalTransactions, 2)
    assert given.raws == (RAWS[1], RAWS[3])


@pytest.mark.parametrize("places", [(4,), (1, 1), (3, 2)])
def test_asking_for_places_that_no_honest_node_asks_for_is_blamed(places: tuple[int, ...]) -> None:
    world = World(4)
    node = begun(world)
    offered = block(world)
    node.hear(0, whole(offered))
    node.hear(2, GetProposalTransactions(block_id=id_of(offered), places=places))
    assert [blame.points for blame in node.blames] == [100]


def test_a_peer_can_not_ask_for_a_block_again_and_again() -> None:
    world = World(4)
    node = begun(world)
    offered = block(world)
    node.hear(0, whole(offered))
    world.run(5)
    for _ in range(100):
        node.hear(2, GetProposal(height=1, round=0, block_id=id_of(offered)))
        node.hear(3, GetProposalTransactions(block_id=id_of(offered), places=(0, 1, 2, 3)))
    assert len(world.heard(CompactProposal, 2)) == 16
    assert len(world.heard(ProposalTransactions, 3)) == 16


def test_a_proposer_that_makes_many_blocks_gets_two_of_them_looked_at() -> None:
    world = World(4)
    node = begun(world)
    for number in range(10):
        node.hear(0, whole(block_of(1, bytes(32), world.now_ms + number)))
    world.run(5)
    assert len(held(node)) == 2


def test_a_third_block_is_taken_where_an_honest_voter_stands_behind_it() -> None:
    world = World(4)
    node = begun(world)
    blocks = [block_of(1, bytes(32), world.now_ms + number) for number in range(3)]
    for offered in blocks[:2]:
        node.hear(0, whole(offered))
    for voter in (2, 3):
        node.hear(voter, votes_of(vote(VoteKind.PREVOTE, voter, id_of(blocks[2]))))
    node.hear(2, whole(blocks[2]))
    world.run(5)
    assert (0, id_of(blocks[2])) in held(node)


def test_announcements_that_are_lies_cost_a_bounded_number_of_questions() -> None:
    world = World(4)
    node = begun(world)
    for number in range(200):
        node.hear(2, HaveProposal(height=1, round=0, block_id=number.to_bytes(32, "big")))
    assert len(world.heard(GetProposal, 2)) == 4
    world.run(600)
    node.handle(Tick())
    offered = block(world)
    node.hear(3, HaveProposal(height=1, round=0, block_id=id_of(offered)))
    assert world.heard(GetProposal, 3)


def test_a_proposal_of_the_next_height_waits_for_it() -> None:
    world = World(4)
    node = world.only(3)
    world.run(10)
    first = block(world)
    second = block_of(2, id_of(first), world.now_ms + 1)
    node.hear(2, whole(second))
    node.hear(0, whole(first))
    for voter in (0, 1, 2):
        node.hear(voter, votes_of(vote(VoteKind.PRECOMMIT, voter, id_of(first))))
    world.run(900)
    assert node.height == 1
    assert id_of(second) not in prevotes(node)
    world.run(200)
    assert prevotes(node)[-1] == id_of(second)


def test_later_rounds_are_proposed_whole() -> None:
    world = World(4)
    node = begun(world)
    for voter in (0, 2, 3):
        node.hear(voter, votes_of(vote(VoteKind.PREVOTE, voter), vote(VoteKind.PRECOMMIT, voter)))
    world.run(10)
    assert len(world.heard(WholeProposal)) == 3
    assert not world.heard(CompactProposal)


def test_a_block_that_was_given_up_as_old_is_decided_when_votes_for_it_come() -> None:
    world = World(4)
    node = world.only(1)
    block = block_of(1, bytes(32), world.now_ms)
    node.hear(0, whole(block))
    world.run(10)
    node.hear(2, votes_of(*[vote(VoteKind.PRECOMMIT, voter, None, round_=9) for voter in (2, 3)]))
    node.hear(0, votes_of(*[vote(VoteKind.PRECOMMIT, voter, id_of(block)) for voter in (0, 2, 3)]))
    assert node.replica is not None
    assert node.replica.round == 9
    world.run(2_000)
    assert node.height == 1
