"""Tests of `--sync snap` over sockets: a node takes the state of the newest checkpoint from several peers at once,
believes nothing forged, and begins anew after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import light
from chain.executor import Chain
from chain.light_blocks import decode_light_block, encode_light_block
from chain.merkle import verify
from chain.network.messages import (
    SNAPSHOTS_MAX,
    GetLightBlock,
    GetSnapshotBlock,
    GetSnapshotChunk,
    GetSnapshots,
    LightBlockOf,
    Message,
    NotHeld,
    SnapshotBlock,
    SnapshotChunk,
    Snapshots,
)
from chain.network.network import Network
from chain.network.peer import Peer, RequestTimedOut
from chain.network.snapshots import SnapshotServer
from chain.state import KIND_ACCOUNT
from chain.storage.store import Store
from chain.sync import snapshot_pull, snapshot_sync
from chain.sync.snapshot import BITS_MAX, Place, decode_items, encode_items
from chain.sync.snapshot_files import SnapshotFiles
from chain.sync.snapshot_pull import Pieces
from chain.sync.snapshot_sync import SnapshotRefused, SnapshotSync
from tests.chain.ledger_world import ADDRESSES, STRANGER
from tests.chain.network.network_world import World, connect, over_sockets, until
from tests.chain.sync.snapshot_world import CHECKPOINT, GENESIS, add, follow, grow, open_chain, small_chunks, state_of

__all__ = ["small_chunks"]
pytestmark = pytest.mark.usefixtures("small_chunks")

HEIGHT = 2 * CHECKPOINT
TIP = HEIGHT + 2


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Chain]:
    """A chain of TIP blocks with snapshots at CHECKPOINT and HEIGHT."""
    chain = open_chain(tmp_path / "source")
    grow(chain, TIP)
    for height in (CHECKPOINT, HEIGHT):
        SnapshotFiles(tmp_path / "source", chain).make(height)
    yield chain
    chain.store.close()


class Giver:
    """A node that gives snapshots; `change` may forge what it answers."""

    def __init__(
        self, network: Network, chain: Chain, change: Callable[[Message], Message] = lambda message: message
    ) -> None:
        self.answered: list[Message] = []
        self.lied = False
        answer = network.answer

        def forging(kind: type, answerer: Callable[[Peer, Any], Any]) -> None:
            async def changed(peer: Peer, asked: Any) -> Message:
                true = await answerer(peer, asked)
                self.answered.append(change(true))
                self.lied = self.lied or self.answered[-1] != true
                return self.answered[-1]

            answer(kind, changed)

        network.answer = forging  # type: ignore[method-assign]
        self.network = network
        self.server = SnapshotServer(network, chain, SnapshotFiles(chain.store.path, chain))

    @property
    def chunks(self) -> list[SnapshotChunk]:
        return [answer for answer in self.answered if isinstance(answer, SnapshotChunk)]


async def givers(world: World, *made: tuple[Chain, Callable[[Message], Message]] | Chain) -> list[Giver]:
    return await givers_from(world, 0, *made)


async def givers_from(
    world: World, first: int, *made: tuple[Chain, Callable[[Message], Message]] | Chain
) -> list[Giver]:
    """The same with other node keys."""
    found = []
    for number, each in enumerate(made, first):
        network = world.make(number, genesis=GENESIS.hash)
        found.append(Giver(network, each) if isinstance(each, Chain) else Giver(network, *each))
        await network.start()
        await world.adopt(network)
    return found


async def newcomer(world: World, among: Sequence[Giver]) -> Network:
    network = await world.node(50, *(giver.network for giver in among), genesis=GENESIS.hash)
    await connect(*((network, giver.network) for giver in among))
    return network


def sync(network: Network, store: Store, source: Chain, **options: Any) -> SnapshotSync:
    chosen: dict[str, Any] = {"trust": None, "now_ms": lambda: source.tip.time_ms, "patience_s": 3.0} | options
    return SnapshotSync(network.peers, store, GENESIS, **chosen)


def new_store(world: World, name: str = "new") -> Store:
    return Store.open(world.folder / name, create=True, genesis=GENESIS.hash)


def assert_is_source(store: Store, source: Chain) -> None:
    """The store is at HEIGHT as the source was then, and goes on, also after a restart."""
    assert store.tip() == HEIGHT == store.oldest_block == store.oldest_height
    path = store.path
    with source.store.freeze(HEIGHT) as frozen:
        assert dict(store.items()) == dict(frozen.items())
    chain = Chain(store, GENESIS)
    for height in (0, HEIGHT):
        assert store.header(height) == source.store.header(height)
        assert store.block(height) == source.store.block(height)
        assert store.receipts(height) == source.store.receipts(height)
    assert store.block(HEIGHT - 1) is None
    assert chain.light_block(HEIGHT) == source.light_block(HEIGHT)
    follow(chain, source)
    add(chain)
    store.close()
    again = open_chain(path)
    assert again.tip.height == TIP + 1
    assert again.store.oldest_block == HEIGHT
    assert again.tree.root == again.tip.state_root
    key = KIND_ACCOUNT + STRANGER
    for height in range(HEIGHT, TIP + 2):
        proof, header = again.prove(key, height), again.store.header(height)
        assert proof is not None, height
        assert header is not None
        assert verify(again.light_block(height).header.state_root, key, again.store.value_at(key, height), proof)  # type: ignore[union-attr]
    again.store.close()


# ----------------------------------------------------------------------------------------------------------- honest


@over_sockets
async def test_a_newcomer_takes_the_state_from_all_peers_at_once(world: World, source: Chain) -> None:
    among = await givers(world, source, source, source)
    network, store = await newcomer(world, among), new_store(world)
    told: list[tuple[int, float, int]] = []
    assert await sync(network, store, source, told=lambda *each: told.append(each)).run() == HEIGHT
    assert all(giver.chunks for giver in among), "every peer gave some"
    total = sum(len(giver.chunks) for giver in among)
    assert len(told) <= total < 1.5 * len(told), "hardly anything came twice"
    assert [part for _, part, _ in told] == sorted(part for _, part, _ in told)
    assert told[-1][:2] == (HEIGHT, 1.0)
    assert_is_source(store, source)


@over_sockets
async def test_a_ledger_with_genesis_alone_is_filled_too_and_one_with_blocks_is_left_alone(
    world: World, source: Chain
) -> None:
    among = await givers(world, source)
    network = await newcomer(world, among)
    fresh = open_chain(world.folder / "fresh")
    assert await sync(network, fresh.store, source).run() == HEIGHT
    assert_is_source(fresh.store, source)
    begun = open_chain(world.folder / "begun")
    add(begun)
    before = state_of(begun)
    assert await sync(network, begun.store, source).run() is None
    assert (state_of(begun), begun.store.tip()) == (before, 1)
    begun.store.close()


@over_sockets
async def test_without_any_snapshot_the_ledger_stays_empty(world: World, source: Chain) -> None:
    young = open_chain(world.folder / "young")
    grow(young, 2)
    network, store = await newcomer(world, await givers(world, young)), new_store(world)
    assert await sync(network, store, young, patience_s=1.5).run() is None
    assert Chain(store, GENESIS).tip.height == 0
    store.close()
    young.store.close()


@over_sockets
async def test_who_offers_much_and_answers_nothing_holds_up_for_one_question_only(
    world: World, source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sync, "ANSWER_SECONDS", 1.0)
    network, store = await newcomer(world, await givers(world, source)), new_store(world)
    silent = _Silent()
    start = asyncio.get_running_loop().time()
    syncing = sync(network, store, source)
    syncing._peers = lambda: [silent, *network.peers()]
    assert await syncing.run() == HEIGHT
    assert silent.questions == 1
    assert asyncio.get_running_loop().time() - start < 10
    assert_is_source(store, source)


class _Silent:
    """A peer that offers snapshots and is asked for their blocks in vain."""

    questions = 0

    async def request(self, message: Message, timeout_s: float) -> Message:
        if isinstance(message, GetSnapshots):
            return Snapshots(id=0, heights=tuple(range(1000, 1000 + SNAPSHOTS_MAX)))
        self.questions += 1
        await asyncio.sleep(timeout_s)
        raise RequestTimedOut("no answer")

    def blame(self, points: int, reason: str) -> None:
        raise AssertionError(reason)


@pytest.mark.parametrize("height", [2, HEIGHT, TIP])
@over_sockets
async def test_a_named_block_below_at_or_above_the_snapshot_is_agreed_with(
    world: World, source: Chain, height: int
) -> None:
    network, store = await newcomer(world, await givers(world, source)), new_store(world)
    trust = (height, _hash(source, height))
    assert await sync(network, store, source, trust=trust).run() == HEIGHT
    assert_is_source(store, source)


def _hash(chain: Chain, height: int) -> bytes:
    header = chain.store.header(height + 1)
    light = chain.light_block(height)
    assert light is not None
    if header is None:
        return chain.tip_hash
    following = chain.light_block(height + 1)
    assert following is not None
    return following.header.parent


class _Lone:
    """The only peer, asked through this: counts questions for light blocks, leaves the first ones unanswered."""

    def __init__(self, network: Network, unanswered: int = 0) -> None:
        self._network, self._unanswered = network, unanswered
        self.questions = 0
        self.blamed: list[str] = []

    async def request(self, message: Message, timeout_s: float) -> Message:
        if isinstance(message, GetLightBlock):
            self.questions += 1
            if self.questions <= self._unanswered:
                raise RequestTimedOut("no answer")
        return await self._network.peers()[0].request(message, timeout_s)

    def blame(self, points: int, reason: str) -> None:
        self.blamed.append(reason)


async def _lone(world: World, source: Chain, unanswered: int = 0, **options: Any) -> tuple[_Lone, SnapshotSync, Store]:
    network, store = await newcomer(world, await givers(world, source)), new_store(world)
    syncing, lone = sync(network, store, source, **options), _Lone(network, unanswered)
    syncing._peers = lambda: [lone]
    return lone, syncing, store


@over_sockets
async def test_a_lone_peer_that_was_too_slow_twice_is_asked_again(
    world: World, source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sync, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(snapshot_sync, "POLL_SECONDS", 0.1)
    lone, syncing, store = await _lone(world, source, unanswered=2)
    assert await syncing.run() == HEIGHT
    assert lone.questions > 2
    assert_is_source(store, source)


@pytest.mark.parametrize("named", [False, True])
@over_sockets
async def test_who_is_ahead_of_this_clock_is_neither_blamed_nor_called_another_chain(
    world: World, source: Chain, caplog: pytest.LogCaptureFixture, named: bool
) -> None:
    trust = (2, _hash(source, 2)) if named else None
    lone, syncing, store = await _lone(world, source, now_ms=lambda: 0, trust=trust, patience_s=0.5)
    assert await syncing.run() is None
    assert not lone.blamed
    assert "is this machine's clock right?" in caplog.text
    store.close()


@over_sockets
async def test_a_walk_that_is_too_long_is_given_up_without_blame(
    world: World, source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light, "WALK_BLOCKS_MAX", 0)
    lone, syncing, store = await _lone(world, source, trust=(2, _hash(source, 2)), patience_s=0.5)
    assert await syncing.run() is None
    assert (lone.questions, lone.blamed) == (1, [])
    store.close()


@over_sockets
async def test_the_way_down_from_the_named_block_is_bounded(
    world: World, source: Chain, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshot_sync, "DESCENT_BLOCKS_MAX", 1)
    far = HEIGHT + 2 * CHECKPOINT + 1  # snapshots are that far apart anyway
    lone, syncing, store = await _lone(world, source, trust=(far, bytes(32)), patience_s=0.5)
    assert await syncing.run() is None
    assert (lone.questions, lone.blamed) == (0, [])
    assert "name an older block" in caplog.text
    store.close()


# ------------------------------------------------------------------------------------------------------------ refused


@over_sockets
async def test_a_chain_without_the_named_block_is_refused(world: World, source: Chain) -> None:
    network, store = await newcomer(world, await givers(world, source)), new_store(world)
    with pytest.raises(SnapshotRefused, match="no peer's chain agrees"):
        await sync(network, store, source, trust=(3, bytes(32)), patience_s=1.5).run()
    assert store.tip() is None
    store.close()


@over_sockets
async def test_a_named_block_that_is_too_old_is_refused(world: World, source: Chain) -> None:
    network, store = await newcomer(world, await givers(world, source)), new_store(world)
    later = source.tip.time_ms + 10**12
    with pytest.raises(SnapshotRefused, match="newer block"):
        await sync(network, store, source, trust=(2, _hash(source, 2)), now_ms=lambda: later).run()
    store.close()


@over_sockets
async def test_two_signed_chains_need_a_person_to_choose(world: World, source: Chain) -> None:
    other = open_chain(world.folder / "other")
    grow(other, TIP, value=2)
    SnapshotFiles(world.folder / "other", other).make(HEIGHT)
    network, store = await newcomer(world, await givers(world, source, other)), new_store(world)
    with pytest.raises(SnapshotRefused, match="2 blocks of height 10"):
        await sync(network, store, source).run()
    assert await sync(network, store, source, trust=(3, _hash(other, 3))).run() == HEIGHT
    assert store.tip_hash() == _hash(other, HEIGHT)
    store.close()
    other.store.close()


def _change_chunk(message: Message) -> Message:
    if isinstance(message, SnapshotChunk) and message.start:
        items = decode_items(message.items)
        rich = tuple((key, value[:-1] + bytes([value[-1] ^ 1])) for key, value in items)
        return replace(message, items=encode_items(rich))
    return message


def _leave_out(message: Message) -> Message:
    if isinstance(message, SnapshotChunk) and message.start:
        return replace(message, items=encode_items(decode_items(message.items)[1:]))
    return message


def _other_place(message: Message) -> Message:
    return replace(message, start=message.start ^ (1 << 63)) if isinstance(message, SnapshotChunk) else message


def _no_chunk(message: Message) -> Message:
    return replace(message, bits=2**64 - 1) if isinstance(message, SnapshotChunk) else message


def _other_header(message: Message) -> Message:
    if not isinstance(message, LightBlockOf):
        return message
    light = decode_light_block(message.block)
    return replace(message, block=encode_light_block(replace(light, header=replace(light.header, gas_used=7))))


def _garbage(message: Message) -> Message:
    return replace(message, block=b"\xc1") if isinstance(message, LightBlockOf) else message


def _other_receipts(message: Message) -> Message:
    return replace(message, receipts=encode_items(())) if isinstance(message, SnapshotBlock) else message


FORGERIES = [_change_chunk, _leave_out, _other_place, _no_chunk, _other_header, _garbage, _other_receipts]


@pytest.mark.parametrize("change", FORGERIES)
@over_sockets
async def test_a_forger_is_cut_off_and_others_give_what_it_did_not(
    world: World, source: Chain, change: Callable[[Message], Message]
) -> None:
    among = await givers(world, (source, change), source)
    network, store = await newcomer(world, among), new_store(world)
    assert await sync(network, store, source).run() == HEIGHT
    assert among[0].lied or change is _other_receipts  # one peer alone is asked for the block
    await until(lambda: network.peer(among[0].network.id) is None or not among[0].lied)
    assert network.peer(among[1].network.id) is not None
    assert_is_source(store, source)


@pytest.mark.parametrize("kind", [GetSnapshotChunk, GetLightBlock, GetSnapshotBlock])
@over_sockets
async def test_a_peer_that_no_longer_has_it_is_not_blamed(world: World, source: Chain, kind: type) -> None:
    lacking = {GetSnapshotChunk: SnapshotChunk, GetLightBlock: LightBlockOf, GetSnapshotBlock: SnapshotBlock}[kind]

    def change(message: Message) -> Message:
        return NotHeld(id=message.id) if isinstance(message, lacking) else message  # type: ignore[union-attr]

    among = await givers(world, (source, change), source)
    network, store = await newcomer(world, among), new_store(world)
    assert await sync(network, store, source).run() == HEIGHT
    assert network.peer(among[0].network.id) is not None
    assert_is_source(store, source)


@over_sockets
async def test_silent_peers_hold_up_a_newcomer_once_only(
    world: World, source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sync, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(snapshot_pull, "CHUNK_SECONDS", 0.3)
    silent = await givers(world, source)
    for kind in (GetLightBlock, GetSnapshotChunk):
        silent[0].network._delivery._answerers[kind] = _never
    among = [*silent, *await givers_from(world, 1, source)]
    network, store = await newcomer(world, among), new_store(world)
    assert await sync(network, store, source).run() == HEIGHT
    assert not silent[0].chunks
    assert_is_source(store, source)


async def _never(peer: Peer, asked: Any) -> Message:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits so long")


@pytest.mark.parametrize("change", FORGERIES)
@over_sockets
async def test_only_a_forger_leads_nowhere(world: World, source: Chain, change: Callable[[Message], Message]) -> None:
    among = await givers(world, (source, change))
    network, store = await newcomer(world, among), new_store(world)
    assert await sync(network, store, source, patience_s=0.5).run() is None
    assert among[0].lied
    await until(lambda: network.peer(among[0].network.id) is None)
    assert dict(store.items()) == {}
    chain, fresh = Chain(store, GENESIS), open_chain(world.folder / "fresh")
    assert state_of(chain) == state_of(fresh)  # nothing of what was taken before is left in it
    follow(chain, source)
    for each in (chain, fresh):
        each.store.close()


# ------------------------------------------------------------------------------------------------------------ crashes


@pytest.mark.parametrize("chunks", [0, 1, 7])
@over_sockets
async def test_after_a_crash_in_between_the_ledger_is_empty_and_syncs_anew(
    world: World, source: Chain, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, store = await newcomer(world, await givers(world, source)), new_store(world)
    put, came = store.put_snapshot, asyncio.Event()
    loop = asyncio.get_running_loop()
    count = 0

    def counted(items: Any) -> None:
        nonlocal count
        if count == chunks:
            loop.call_soon_threadsafe(came.set)
            raise OSError("killed")
        put(items)
        count += 1

    monkeypatch.setattr(store, "put_snapshot", counted)
    with pytest.raises(OSError, match="killed"):
        await sync(network, store, source).run()
    await came.wait()
    store.close()
    for _ in range(2):
        again = new_store(world)
        assert again.tip() is None
        assert dict(again.items()) == {}
        again.close()
    filled = new_store(world)
    assert await sync(network, filled, source).run() == HEIGHT
    assert_is_source(filled, source)


@over_sockets
async def test_after_a_crash_in_between_a_chain_can_begin_at_genesis_instead(world: World, source: Chain) -> None:
    fresh = open_chain(world.folder / "fresh")
    fresh.store.begin_snapshot()
    fresh.store.put_snapshot([(KIND_ACCOUNT + ADDRESSES[0], b"half")])
    fresh.store.close()
    again = open_chain(world.folder / "fresh")
    assert again.tip.height == 0
    follow(again, source)
    assert state_of(again) == state_of(source)
    again.store.close()
    assert open_chain(world.folder / "fresh").tip.height == TIP


# -------------------------------------------------------------------------------------------------------------- pieces


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_whatever_comes_in_whatever_order_pieces_know_what_is_missing(data: st.DataObject) -> None:
    """Against plain sets of keys, of which there are 16."""
    pieces, there = Pieces(), set[int]()
    unit = (1 << BITS_MAX) // 16
    for _ in range(data.draw(st.integers(0, 20))):
        bits = data.draw(st.integers(0, 4))
        start = data.draw(st.integers(0, (1 << bits) - 1)) * (16 >> bits)
        keys = set(range(start, start + (16 >> bits)))
        assert pieces.put(Place(start=start * unit, bits=bits)) == bool(keys - there)
        there |= keys
        assert pieces.covered == len(there) * unit
        assert pieces.complete == (len(there) == 16)
        for key in range(16):
            missing = next((later for later in range(key, 16) if later not in there), 16)
            expected = key * unit + 1 if key not in there else missing * unit
            assert pieces.missing_from(key * unit + 1) == expected


@settings(deadline=None, max_examples=50)
@given(start=st.integers(0, (1 << BITS_MAX) - 1), bits=st.integers(0, BITS_MAX))
def test_a_divided_piece_is_given_out_whole(start: int, bits: int) -> None:
    pieces = Pieces()
    assert pieces.take() == (0, 1 << BITS_MAX)
    pieces.divide(start, 1 << BITS_MAX, bits)
    parts = []
    while (part := pieces.take()) is not None:
        parts.append(part)
    assert len(parts) <= 300
    assert (parts[0][0], parts[-1][1]) == (start, 1 << BITS_MAX)
    assert all(one[1] == two[0] for one, two in pairwise(parts))
