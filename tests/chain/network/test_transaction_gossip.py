"""Tests of transaction gossip over real sockets: everyone gets everything once, and who lies or floods gains nothing."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from chain.crypto import keccak256, sha256
from chain.network import ports, relays
from chain.network import transactions as module
from chain.network.messages import (
    HASHES_MAX,
    TRANSACTIONS_BYTES_MAX,
    GetTransactions,
    Kind,
    Message,
    NotHeld,
    TransactionHashes,
    Transactions,
)
from chain.network.recent_hashes import RecentHashes
from chain.types import COIN, GWEI
from tests.chain.ledger_world import ADDRESSES, BALANCE, transaction
from tests.chain.network.gossip_world import Member, PoolNode, running, until

TRANSFERS = [transaction(sender, nonce) for nonce in range(20) for sender in range(4)]
RAISED = {"max_fee_per_gas": 112 * GWEI, "max_priority_fee_per_gas": 2 * GWEI}


def pool_nodes(directory: Path, count: int) -> list[PoolNode]:
    return [PoolNode(directory, ordinal) for ordinal in range(count)]


class Liar(Member):
    """Tells hashes, and answers questions as it is told to."""

    def __init__(self, directory: Path, ordinal: int, answers: Any = None) -> None:
        super().__init__(directory, ordinal)
        self.asked: list[GetTransactions] = []
        self._answers = answers

    def join(self, others: Any) -> None:
        super().join(others)
        self.network.handle(TransactionHashes, lambda peer, message: None)
        self.network.answer(GetTransactions, self._answer)

    async def _answer(self, _: Any, asked: GetTransactions) -> Message:
        self.asked.append(asked)
        if self._answers is None:
            await asyncio.sleep(1000)
        answer: Message = self._answers(asked)
        return answer

    def tell(self, other: Member, *hashes: bytes) -> None:
        assert self.peer_of(other).send(TransactionHashes(hashes=hashes))

    def is_banned_by(self, other: Member) -> bool:
        return other.peer_of(self) is None


def fake_hashes(count: int, seed: int = 0) -> list[bytes]:
    return [sha256(b"%d %d" % (seed, number)) for number in range(count)]


# ------------------------------------------------------------------------------------------------- honest networks


@pytest.mark.asyncio
async def test_what_one_node_lets_in_reaches_all_others_and_crosses_the_wire_to_each_once(tmp_path: Path) -> None:
    nodes = pool_nodes(tmp_path, 4)
    async with running(*nodes):
        assert all(isinstance(each, bytes) for each in await nodes[0].submit(*TRANSFERS))
        await until(lambda: all(node.has(*TRANSFERS) for node in nodes))
        await asyncio.sleep(4 * module.BATCH_S)
        for node in nodes:
            assert sorted(node.offered) == sorted(each.raw for each in TRANSFERS)
        assert [bool(node.frames(Kind.TRANSACTIONS)) for node in nodes] == [False, True, True, True]


@pytest.mark.asyncio
async def test_transactions_submitted_everywhere_at_once_reach_everyone_once(tmp_path: Path) -> None:
    nodes = pool_nodes(tmp_path, 3)
    async with running(*nodes):
        await asyncio.gather(*(node.submit(*TRANSFERS[place::3]) for place, node in enumerate(nodes)))
        await until(lambda: all(node.has(*TRANSFERS) for node in nodes))
        await asyncio.sleep(4 * module.BATCH_S)
        for node in nodes:
            assert sorted(node.offered) == sorted(each.raw for each in TRANSFERS)


@pytest.mark.asyncio
async def test_transactions_reach_a_node_through_others(tmp_path: Path) -> None:
    """A chain of four: the one that is asked over RPC is no neighbour of the last one."""
    nodes = pool_nodes(tmp_path, 4)
    async with running(*nodes, links=[(1, 0), (2, 1), (3, 2)]):
        await nodes[0].submit(*TRANSFERS)
        await until(lambda: nodes[3].has(*TRANSFERS))
        assert nodes[0].frames(Kind.TRANSACTION_HASHES) == 0, "what a node told is not told to it"


@pytest.mark.asyncio
async def test_what_comes_from_a_peer_is_told_to_a_few_in_turns_and_what_comes_in_here_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "RELAYS_MAX", 2)
    first, middle = pool_nodes(tmp_path, 2)
    leaves = [Liar(tmp_path, 2 + number) for number in range(5)]

    def told() -> list[int]:
        return [leaf.frames(Kind.TRANSACTION_HASHES) for leaf in leaves]

    async with running(first, middle, *leaves, links=[(1, 0), *((leaf, 1) for leaf in range(2, 7))]):
        for number in range(3):
            await first.submit(TRANSFERS[4 * number])
            await until(lambda number=number: middle.has(TRANSFERS[4 * number]))
            await asyncio.sleep(4 * module.BATCH_S)
        assert sorted(told()) == [0, 0, 1, 1, 1], "one of two turns is the first node's, which needs no word"
        before = told()
        await middle.submit(TRANSFERS[1])
        await until(lambda: told() == [count + 1 for count in before])


@pytest.mark.asyncio
async def test_who_connects_is_told_what_the_pool_holds(tmp_path: Path) -> None:
    early, late = pool_nodes(tmp_path, 2)
    early.join([])
    await early.submit(*TRANSFERS)
    async with running(early, late):
        await until(lambda: late.has(*TRANSFERS))


@pytest.mark.asyncio
async def test_what_waits_for_long_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that had no room for it when it was told may have some now."""
    monkeypatch.setattr(module, "AGE_S", 0.5)
    nodes = pool_nodes(tmp_path, 2)
    nodes[1].intake.pool.limits = type(nodes[1].intake.pool.limits)(transactions_max=0)
    async with running(*nodes):
        await nodes[0].submit(TRANSFERS[0])
        await until(lambda: len(nodes[1].offered) == 1)
        assert not nodes[1].has(TRANSFERS[0])
        nodes[1].intake.pool.limits = nodes[0].intake.pool.limits
        await until(lambda: nodes[1].has(TRANSFERS[0]))


@pytest.mark.asyncio
async def test_what_a_block_included_is_still_given_and_not_asked_for(tmp_path: Path) -> None:
    """The one that asks is a block behind; the one that is told has seen the block already."""
    behind, ahead, member = PoolNode(tmp_path, 0), PoolNode(tmp_path, 1), Liar(tmp_path, 2)
    async with running(behind, ahead, member, links=[(1, 0), (2, 1)]):
        await ahead.submit(TRANSFERS[0])
        ahead.block(TRANSFERS[0])
        await until(lambda: behind.has(TRANSFERS[0]))
        member.tell(ahead, TRANSFERS[0].hash, TRANSFERS[1].hash)
        await until(lambda: bool(member.asked))
        assert member.asked[0].hashes == (TRANSFERS[1].hash,)


@pytest.mark.asyncio
async def test_what_another_node_knows_a_block_early_is_let_in_after_the_block(tmp_path: Path) -> None:
    ahead, behind = pool_nodes(tmp_path, 2)
    everything = transaction(0, to=ADDRESSES[1], value=BALANCE - COIN)
    spending = transaction(1, value=BALANCE + COIN)
    async with running(ahead, behind):
        ahead.block(everything)
        assert await ahead.submit(spending) == [spending.hash]
        await until(lambda: len(behind.offered) == 1)
        assert not behind.has(spending)
        behind.block(everything)
        await until(lambda: behind.has(spending))
        assert len(behind.offered) == 1, "it is not pulled or verified again"


@pytest.mark.asyncio
async def test_more_than_a_frame_holds_is_pulled_in_several(tmp_path: Path) -> None:
    nodes = pool_nodes(tmp_path, 2)
    large = [
        transaction(sender, nonce, data=bytes(100_000), gas_limit=1_000_000, max_fee_per_gas=GWEI)
        for sender in range(4)
        for nonce in range(4)
    ]
    assert sum(len(each.raw) for each in large) > 3 * TRANSACTIONS_BYTES_MAX
    async with running(*nodes):
        assert all(isinstance(each, bytes) for each in await nodes[0].submit(*large))
        await until(lambda: nodes[1].has(*large))
        assert nodes[1].frames(Kind.TRANSACTIONS) >= 4
        assert nodes[1].peer_of(nodes[0]) is not None


# ---------------------------------------------------------------------------------------------------------- liars


@pytest.mark.asyncio
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "not held"])
async def test_what_one_does_not_give_another_is_asked_for_and_the_liar_is_blamed_until_it_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(module, "PULL_S", 0.2)
    monkeypatch.setattr(ports, "PAUSE_MAX_S", 0.0)
    honest, asking = pool_nodes(tmp_path, 2)
    liar = Liar(tmp_path, 2, None if silent else lambda asked: NotHeld(id=asked.id))
    async with running(honest, asking, liar):
        liar.tell(asking, *[each.hash for each in TRANSFERS])
        await until(lambda: bool(liar.asked))
        await honest.submit(*TRANSFERS)
        await until(lambda: asking.has(*TRANSFERS))
        for seed in range(40):
            told = asking.frames(Kind.TRANSACTION_HASHES)
            liar.tell(asking, *fake_hashes(10, seed))
            await until(lambda: asking.frames(Kind.TRANSACTION_HASHES) > told)  # noqa: B023
            await until(lambda: not asking.gossip._asked)
            await asyncio.sleep(0.01)
            if liar.is_banned_by(asking):
                break
        assert liar.is_banned_by(asking)
        assert asking.peer_of(honest) is not None


@pytest.mark.asyncio
async def test_nobody_is_cut_off_for_transactions_that_their_sender_replaced_at_once(tmp_path: Path) -> None:
    """Whoever sends one and then its replacement could else make honest nodes ban each other."""
    honest, asking = pool_nodes(tmp_path, 2)
    async with running(honest, asking):
        for first in TRANSFERS[:24]:
            latest = transaction(ADDRESSES.index(first.sender), first.nonce, **RAISED)
            assert await honest.submit(first) == [first.hash]
            honest.gossip._tell_fresh()
            assert await honest.submit(latest) == [latest.hash]  # before it is asked for the first
            await until(lambda: asking.has(latest))  # noqa: B023
        assert not asking.has(TRANSFERS[0])
        assert asking.peer_of(honest) is not None


@pytest.mark.asyncio
async def test_a_peer_that_does_not_answer_is_asked_ever_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it holds up little of what others tell after it."""
    monkeypatch.setattr(module, "PULL_S", 0.05)
    monkeypatch.setattr(ports, "PAUSE_FIRST_S", 0.2)
    node, liar = PoolNode(tmp_path, 0), Liar(tmp_path, 1)
    async with running(node, liar):
        for seed in range(100):
            liar.tell(node, *fake_hashes(1, seed))
            await asyncio.sleep(0.02)
        assert 3 <= node.gossip._links[liar.network.id].failures <= 5
        assert node.peer_of(liar) is not None


@pytest.mark.asyncio
async def test_who_gives_what_is_no_transaction_is_banned(tmp_path: Path) -> None:
    node = PoolNode(tmp_path, 0)
    raw = b"\x02 no transaction"
    liar = Liar(tmp_path, 1, lambda asked: Transactions(id=asked.id, raws=(raw,)))
    async with running(node, liar):
        liar.tell(node, keccak256(raw))
        await until(lambda: liar.is_banned_by(node))


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [1, 2])
async def test_who_gives_what_was_not_asked_for_is_banned(tmp_path: Path, count: int) -> None:
    node = PoolNode(tmp_path, 0)
    raws = tuple(each.raw for each in TRANSFERS[1 : 1 + count])
    liar = Liar(tmp_path, 1, lambda asked: Transactions(id=asked.id, raws=raws))
    async with running(node, liar):
        liar.tell(node, TRANSFERS[0].hash)
        await until(lambda: liar.is_banned_by(node))


@pytest.mark.asyncio
async def test_nobody_is_blamed_for_what_this_pool_refuses_and_it_is_not_asked_for_again(tmp_path: Path) -> None:
    node = PoolNode(tmp_path, 0)
    poor = [transaction(0, nonce, value=2 * BALANCE) for nonce in range(50)]
    raws = {each.hash: each.raw for each in poor}
    member = Liar(
        tmp_path, 1, lambda asked: Transactions(id=asked.id, raws=tuple(raws[hash_] for hash_ in asked.hashes))
    )
    async with running(node, member):
        for _ in range(3):
            member.tell(node, *raws)
            await until(lambda: len(node.offered) == len(poor))
        await asyncio.sleep(0.2)
        assert len(member.asked) == 1
        assert node.peer_of(member) is not None


@pytest.mark.asyncio
async def test_a_flood_of_unknown_hashes_is_bounded_and_holds_up_nobody_else(tmp_path: Path) -> None:
    """The flooding peer answers nothing: what it told takes bounded memory, and others' transactions pass."""
    honest, node = pool_nodes(tmp_path, 2)
    liar = Liar(tmp_path, 2)
    async with running(honest, node, liar):
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for seed in range(20):
            if not liar.is_banned_by(node):
                liar.tell(node, *fake_hashes(HASHES_MAX, seed))
        await until(lambda: node.frames(Kind.TRANSACTION_HASHES) > 10)
        link = node.gossip._links[liar.network.id]
        assert len(link.waiting) <= module.WAITING_MAX
        assert len(link.known) <= 2 * (module.KNOWN_MAX + HASHES_MAX)
        await honest.submit(*TRANSFERS)
        await until(lambda: node.has(*TRANSFERS), 3.0)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 32 << 20


def test_what_is_remembered_of_a_peer_takes_less_than_three_mebibytes() -> None:
    """So that as many peers as a node has slots for do not fill its memory, whatever they tell."""
    tracemalloc.start()
    known = RecentHashes(module.KNOWN_MAX)
    for seed in range(4 * module.KNOWN_MAX // HASHES_MAX + 1):
        known.add(fake_hashes(HASHES_MAX, seed))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20


@pytest.mark.asyncio
async def test_what_a_peer_told_is_forgotten_when_it_goes(tmp_path: Path) -> None:
    node, liar = PoolNode(tmp_path, 0), Liar(tmp_path, 1)
    async with running(node, liar):
        liar.tell(node, *fake_hashes(100))
        await until(lambda: len(node.gossip._asked) == 100)
        liar.peer_of(node).cut("it goes")
        await until(lambda: not node.gossip._asked and not node.gossip._links)


# ------------------------------------------------------------------------------------------------------ recent hashes


def test_recent_hashes_remember_at_least_as_many_as_they_say_and_at_most_twice_as_many() -> None:
    recent = RecentHashes(100)
    hashes = fake_hashes(1000)
    for place, hash_ in enumerate(hashes):
        recent.add([hash_])
        assert all(each in recent for each in hashes[max(0, place - 98) : place + 1])
        assert len(recent) <= 200
    assert recent.unknown(hashes[:10] + hashes[-10:]) == hashes[:10]


def test_what_was_not_met_again_is_forgotten_with_its_generation() -> None:
    recent = RecentHashes(100)
    recent.add(fake_hashes(10))
    recent.age()
    recent.add(fake_hashes(5))
    recent.age()
    assert recent.unknown(fake_hashes(10)) == fake_hashes(10)[5:]
