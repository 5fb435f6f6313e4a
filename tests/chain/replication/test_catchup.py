"""Decided blocks are asked of several peers, checked, kept in bounds; who does not deliver is left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.codec import encode_block
from chain.network.messages import Blocks, GetBlocks, NotHeld, Status
from chain.replication.catchup import (
    ANSWER_MS,
    BATCH_BLOCKS,
    LATE_MS,
    REQUESTS_MAX,
    REQUESTS_PER_PEER_MAX,
    WINDOW_BLOCKS,
    CatchUp,
)
from chain.replication.events import Action, Blame, Decode, PeerConnected, Send, Tick
from consensus.codec import encode_commit
from tests.chain.replication.replica_scene import block_of, chain_of, commit_of
from tests.chain.replication.replica_world import Node, World

ONE, TWO = b"1" * 20, b"2" * 20
CHAIN = chain_of(40)


def catch_up(now_ms: list[int] | None = None) -> CatchUp:
    now = now_ms if now_ms is not None else [0]
    return CatchUp(clock_ms=lambda: now[0])


def asked(actions: list[Action]) -> list[tuple[bytes, int, int]]:
    """(peer, first, count) of questions."""
    sends = [action for action in actions if isinstance(action, Send)]
    found = [(send.peers[0], send.message) for send in sends]
    return [(peer, message.first, message.count) for peer, message in found if isinstance(message, GetBlocks)]


def answer(id_: int, first: int, count: int) -> Blocks:
    rows = CHAIN[first - 1 : first - 1 + count]
    return Blocks(
        id=id_, first=first, blocks=tuple((encode_block(block), encode_commit(commit)) for block, commit in rows)
    )


def test_nothing_is_asked_by_who_is_not_behind() -> None:
    node = catch_up()
    node.heard(ONE, 1)
    assert node.plan(0) == []


def test_ranges_are_asked_of_several_peers_at_once_within_bounds() -> None:
    node = catch_up()
    node.heard(ONE, 10**9)
    node.heard(TWO, 10**9)
    first = asked(node.plan(0))
    assert len(first) == 2 * REQUESTS_PER_PEER_MAX
    assert {peer for peer, _, _ in first} == {ONE, TWO}
    assert [start for _, start, _ in first] == [1 + BATCH_BLOCKS * n for n in range(len(first))]
    for number in range(3, 20):
        node.heard(bytes([number]) * 20, 10**9)
    assert len(first) + len(asked(node.plan(0))) == REQUESTS_MAX
    assert asked(node.plan(0)) == []


def test_nobody_is_asked_for_more_than_it_claims_nor_for_what_it_has_forgotten() -> None:
    node = catch_up()
    node.heard(ONE, 5, oldest=1)
    node.heard(TWO, 50, oldest=20)
    assert asked(node.plan(0)) == [(ONE, 1, 4), (TWO, 33, 17)]


def test_not_more_is_kept_than_a_window() -> None:
    node = catch_up()
    for number in range(20):
        node.heard(bytes([number]) * 20, 10**9)
    ranges = asked(node.plan(0))
    assert max(first + count for _, first, count in ranges) <= WINDOW_BLOCKS + 2


def test_who_does_not_answer_is_blamed_and_believed_no_more() -> None:
    now = [0]
    node = catch_up(now)
    node.heard(ONE, 40)
    assert len(asked(node.plan(0))) == 2
    assert node.is_fetching()
    now[0] = ANSWER_MS
    assert not node.is_fetching()
    assert node.tick() == []
    assert node.highest() == 0
    node.heard(TWO, 40)
    assert {peer for peer, _, _ in asked(node.plan(0))} == {TWO}
    now[0] = LATE_MS
    blames = node.tick()
    assert [(action.peer, action.points) for action in blames if isinstance(action, Blame)] == [(ONE, 10)] * 2


def test_who_did_not_answer_is_asked_last_and_not_waited_for_until_it_answers() -> None:
    now = [0]
    node = catch_up(now)
    node.heard(ONE, 9)
    node.plan(0)
    now[0] = ANSWER_MS
    node.tick()
    node.heard(ONE, 9)
    node.heard(TWO, 9)
    assert asked(node.plan(0)) == [(TWO, 1, 8)]
    assert node.not_held(TWO, 2)
    assert asked(node.plan(0)) == [(ONE, 1, 8)]
    assert not node.is_fetching()
    node.take(ONE, answer(3, 1, 2))
    assert asked(node.plan(0)) == [(ONE, 3, 6)]
    assert node.is_fetching()


def test_claims_that_come_to_nothing_are_not_waited_for_again_under_another_name() -> None:
    now = [0]
    node = catch_up(now)
    node.heard(ONE, 9)
    node.plan(0)
    assert node.is_fetching()
    node.forget_peer(ONE)
    for number in range(10):
        liar = bytes([number]) * 20
        node.heard(liar, 9)
        assert asked(node.plan(0)) == [(liar, 1, 8)]
        assert not node.is_fetching()
        node.forget_peer(liar)
        now[0] += 1_000
    node.heard(TWO, 9)
    node.plan(0)
    node.take(TWO, answer(12, 1, 2))  # the last one's question
    node.plan(0)
    assert node.is_fetching()


def test_who_is_slow_is_asked_for_no_more_while_it_may_answer_yet() -> None:
    now = [0]
    node = catch_up(now)
    node.heard(ONE, 40)
    assert len(asked(node.plan(0))) == REQUESTS_PER_PEER_MAX
    now[0] = ANSWER_MS
    node.tick()
    node.heard(ONE, 40)
    assert asked(node.plan(0)) == []
    node.take(ONE, answer(1, 1, 32))
    assert asked(node.plan(0)) == [(ONE, 33, 7)]


def test_an_answer_that_comes_late_is_used() -> None:
    now = [0]
    node = catch_up(now)
    node.heard(ONE, 9)
    node.plan(0)
    now[0] = ANSWER_MS
    node.tick()
    assert node.take(ONE, answer(1, 1, 8))
    assert node.next() is not None
    now[0] = LATE_MS
    assert node.tick() == []


def test_who_has_not_what_it_claims_is_believed_no_more() -> None:
    node = catch_up()
    node.heard(ONE, 20)
    node.plan(0)
    assert node.not_held(TWO, 1) == []
    [blame] = node.not_held(ONE, 1)
    assert isinstance(blame, Blame)
    assert node.highest() == 0


def test_blocks_come_out_in_order_and_may_be_decoded_ahead() -> None:
    node = catch_up()
    node.heard(ONE, 41)
    node.plan(0)
    actions = node.take(ONE, answer(2, 33, 8))
    assert [action.block for action in actions if isinstance(action, Decode)] == [block for block, _ in CHAIN[32:]]
    assert node.next() is None
    node.take(ONE, answer(1, 1, 20))
    for height in range(1, 21):
        fetched = node.next()
        assert fetched is not None
        assert (fetched.block, fetched.commit) == CHAIN[height - 1]
        node.advanced(height)
    assert node.next() is None
    assert asked(node.plan(20)) == [(ONE, 21, 12)]  # the rest of what was asked for


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(Blocks(id=1, first=2, blocks=answer(1, 2, 1).blocks), id="other heights"),
        pytest.param(Blocks(id=1, first=1, blocks=answer(1, 2, 1).blocks), id="a block of another height"),
        pytest.param(Blocks(id=1, first=1, blocks=()), id="nothing"),
        pytest.param(Blocks(id=1, first=1, blocks=((b"\x90", b"\x90"),)), id="no block"),
        pytest.param(Blocks(id=1, first=1, blocks=((encode_block(CHAIN[0][0]), b""),)), id="no commit"),
        pytest.param(
            Blocks(
                id=1,
                first=1,
                blocks=((encode_block(replace(CHAIN[0][0], transactions=(b"x",))), encode_commit(CHAIN[0][1])),),
            ),
            id="other transactions",
        ),
    ],
)
def test_an_answer_that_is_none_is_blamed(given: Blocks) -> None:
    node = catch_up()
    node.heard(ONE, 20)
    node.plan(0)
    actions = node.take(ONE, given)
    assert [action.points for action in actions if isinstance(action, Blame)] == [100]
    assert node.next() is None


def test_unasked_answers_are_ignored() -> None:
    node = catch_up()
    node.heard(ONE, 20)
    node.plan(0)
    assert node.take(TWO, answer(1, 1, 5)) == []
    assert node.take(ONE, answer(7, 1, 5)) == []
    assert node.next() is None


# --------------------------------------------------------------------------------------------------- within a replica


def behind(world: World) -> Node:
    node = world.only(3)
    world.run(10)
    world.sent.clear()
    node.hear(0, Status(height=6, round=0, oldest_block=1, votes=(), proposals=()))
    return node


def test_a_commit_without_two_thirds_or_with_a_false_signature_is_refused_and_another_peer_asked() -> None:
    world = World(4)
    node = behind(world)
    [question] = world.heard(GetBlocks, 0)
    block = CHAIN[0][0]
    false = replace(CHAIN[0][1], signatures=commit_of(block_of(1, bytes(32), 7), 0, 1, 2).signatures)
    rows = ((encode_block(block), encode_commit(false)),)
    node.hear(0, Blocks(id=question.id, first=1, blocks=rows))
    assert [(blame.peer, blame.points) for blame in node.blames] == [(world.nodes[0].id, 100)]
    node.hear(1, Status(height=3, round=0, oldest_block=1, votes=(), proposals=()))
    [question] = world.heard(GetBlocks, 1)
    rows = ((encode_block(block), encode_commit(commit_of(block, 0, 1))),)
    node.hear(1, Blocks(id=question.id, first=1, blocks=rows))
    assert [(blame.peer, blame.points) for blame in node.blames][1:] == [(world.nodes[1].id, 100)]
    node.hear(2, Status(height=3, round=0, oldest_block=1, votes=(), proposals=()))
    [question] = world.heard(GetBlocks, 2)
    node.hear(2, answer(question.id, 1, 2))
    world.run(50)
    assert node.height == 2


def test_a_peer_that_claims_and_does_not_deliver_holds_consensus_up_only_briefly() -> None:
    world = World(4)
    liar = world.nodes[0]
    for node in world.nodes[1:]:
        node.start()
    for node in world.nodes[1:]:
        node.hear(1 if node.index != 1 else 2, Status(height=1, round=0, oldest_block=1, votes=(), proposals=()))

    def lie() -> None:
        for node in world.nodes[1:]:
            node.hear(0, Status(height=10**6, round=0, oldest_block=1, votes=(), proposals=()))
        world.after(1_000, lie)

    for node in world.nodes[1:]:
        node.handle(PeerConnected(peer=liar.id))
    lie()
    took = world.run_to(10, *world.nodes[1:])
    assert took < 60_000
    assert all(blame.peer == liar.id for node in world.nodes[1:] for blame in node.blames)


def test_peers_that_take_turns_in_lying_do_not_hold_consensus_up() -> None:
    world = World(9, validating=4)
    for node in world.nodes[:4]:
        node.start()
    world.run_to(2, *world.nodes[:4])

    def lie(liar: int) -> None:
        for node in world.nodes[:4]:
            node.hear(liar, Status(height=10**6, round=0, oldest_block=1, votes=(), proposals=()))
        world.after(100, lambda: lie(liar))

    for place, liar in enumerate(world.nodes[4:]):
        for node in world.nodes[:4]:
            node.handle(PeerConnected(peer=liar.id))
        world.after(1_300 * place, lambda index=liar.index: lie(index))  # type: ignore[misc]
    assert world.run_to(12, *world.nodes[:4]) < 30_000


def test_a_pruned_peer_says_so_and_another_is_asked() -> None:
    world = World(4)
    node = behind(world)
    [question] = world.heard(GetBlocks, 0)
    node.hear(0, NotHeld(id=question.id))
    node.handle(Tick())
    node.hear(1, Status(height=6, round=0, oldest_block=1, votes=(), proposals=()))
    assert world.heard(GetBlocks, 1)
