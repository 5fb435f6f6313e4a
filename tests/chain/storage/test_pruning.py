"""Tests of directories without their first blocks, and of how much state they keep: they go on, restart, change their
mode, and `verify` finds what is wrong in what they have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import executor
from chain.executor import Chain
from chain.node_directory import open_blobs
from chain.state import KIND_ACCOUNT
from chain.storage import store_history
from chain.storage.leveldb import Database, Kind
from chain.storage.store import HistoryPruned, Store
from chain.storage.store_records import change_key
from chain.verification.history import Verified, Verifier
from chain.verification.replay import Different
from tests.chain.ledger_world import ADDRESSES
from tests.chain.ledger_writer import commit_of
from tests.chain.sync.snapshot_world import GENESIS, add, follow, grow, open_chain, state_of, take

BEGIN, TIP = 6, 12


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Chain]:
    chain = open_chain(tmp_path / "source")
    grow(chain, TIP)
    yield chain
    chain.store.close()


def verify(path: Path) -> Verified:
    with Store.open(path, create=False, archive=True) as store:
        return Verifier(store, open_blobs(path), GENESIS).run()


@pytest.fixture
def later(source: Chain, tmp_path: Path) -> Path:
    """A directory that began at BEGIN and has followed to TIP."""
    path = tmp_path / "later"
    chain = take(source, BEGIN, path)
    follow(chain, source)
    assert state_of(chain) == state_of(source)
    chain.store.close()
    return path


def test_a_directory_that_begins_later_is_verified_from_there_on(later: Path) -> None:
    found = verify(later)
    assert (found.first_block, found.replayed_from, found.height) == (BEGIN, BEGIN, TIP)
    assert found.transactions == 2 * (TIP - BEGIN)


def test_right_after_the_snapshot_too(source: Chain, tmp_path: Path) -> None:
    take(source, TIP, tmp_path / "new").store.close()
    found = verify(tmp_path / "new")
    assert (found.first_block, found.replayed_from, found.height) == (TIP, TIP, TIP)


def flip(database: Database, key: bytes, place: int = -1) -> None:
    record = database.get(key)
    assert record, key
    changed = bytearray(record)
    changed[place] ^= 1
    database.write({key: bytes(changed)})


def number(height: int) -> bytes:
    return height.to_bytes(8, "big")


def undo_of(height: int) -> bytes:
    return bytes(Kind.UNDO) + number(height)


def test_verify_finds_damage_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_history, "IN_MEMORY", 3)
    path = tmp_path / "archive"
    with Store.open(path, create=True, genesis=GENESIS.hash, archive=True) as store:
        grow(Chain(store, GENESIS), TIP)
    assert verify(path).replayed_from == 0
    database = Database(path)
    flip(database, change_key(KIND_ACCOUNT + ADDRESSES[0], 5))
    database.close()
    with pytest.raises(Different, match="height 5: earlier value of account"):
        verify(path)


DAMAGES: dict[str, Callable[[Database], None]] = {
    "latest state": lambda database: flip(database, bytes(Kind.STATE) + KIND_ACCOUNT + ADDRESSES[2]),
    "moved state": lambda database: flip(database, bytes(Kind.STATE) + KIND_ACCOUNT + ADDRESSES[0]),
    "a value too many": lambda database: database.write({bytes(Kind.STATE) + b"ghost": b"1"}),
    "a value too few": lambda database: database.write({bytes(Kind.STATE) + KIND_ACCOUNT + ADDRESSES[3]: None}),
    "earlier values": lambda database: flip(database, undo_of(BEGIN + 2)),
    "first header": lambda database: flip(database, bytes(Kind.HEADER) + number(BEGIN), 60),
    "first block": lambda database: flip(database, bytes(Kind.BLOCK) + number(BEGIN), 60),
    "first receipts": lambda database: flip(database, bytes(Kind.RECEIPTS) + number(BEGIN)),
    "a later block": lambda database: flip(database, bytes(Kind.BLOCK) + number(BEGIN + 3)),
    "a missing block": lambda database: database.write({bytes(Kind.BLOCK) + number(BEGIN + 1): None}),
    "genesis": lambda database: flip(database, bytes(Kind.HEADER) + number(0)),
    "last commit": lambda database: flip(database, bytes(Kind.META) + b"commit"),
    "an index": lambda database: database.write({key: None for key, _ in database.scan(bytes(Kind.HEIGHT_OF_HASH))}),
    "transactions' places": lambda database: database.write(
        {key: None for key, _ in list(database.scan(bytes(Kind.TRANSACTION)))[-3:]}
    ),
    "who voted": lambda database: database.write(
        {key: None for key, _ in database.scan(bytes(Kind.META) + b"validators")}
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_verify_finds_damage_in_it(later: Path, what: str) -> None:
    database = Database(later)
    DAMAGES[what](database)
    database.close()
    with pytest.raises(Different):
        verify(later)


def test_blocks_are_dropped_but_for_the_newest_and_genesis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "KEEP_BLOCKS_MIN", 3)
    monkeypatch.setattr(executor, "FORGOTTEN_AT_ONCE", 2)
    path = tmp_path / "kept"
    chain = open_chain(path)
    grow(chain, 4)
    chain.store.close()
    chain = Chain(Store.open(path, create=False), GENESIS, keep_blocks=4)
    grow(chain, 15)
    store = chain.store
    assert store.oldest_block == 11
    for height in range(1, 16):
        kept = height >= store.oldest_block
        assert (store.block(height) is not None) == kept
        assert (store.header(height) is not None) == kept
        assert (store.receipts(height) is not None) == kept
    assert store.block(0) is not None
    assert len(list(store._database.scan(bytes(Kind.TRANSACTION)))) == 2 * (16 - store.oldest_block)
    assert len(list(store._database.scan(bytes(Kind.HEIGHT_OF_HASH)))) == 1 + 16 - store.oldest_block
    oldest = store.oldest_block
    store.close()
    chain = open_chain(path)  # all are kept from now on
    add(chain)
    assert chain.store.oldest_block == oldest
    chain.store.close()
    found = verify(path)
    assert (found.first_block, found.height) == (oldest, 16)


@pytest.mark.parametrize("in_memory", [4, 128])
def test_changing_how_much_state_is_kept_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(store_history, "IN_MEMORY", in_memory)
    path = tmp_path / "modes"
    key = KIND_ACCOUNT + ADDRESSES[0]
    known: dict[int, bytes | None] = {}

    def go(height: int, *, archive: bool, history: int) -> int:
        """Open with a mode, grow, and check every height that can be read; the oldest one."""
        chain = Chain(Store.open(path, create=True, genesis=GENESIS.hash, archive=archive, history=history), GENESIS)
        while chain.tip.height < height:
            add(chain)
            known[chain.tip.height] = chain.store.get(key)
        oldest, tip = chain.store.oldest_height, chain.tip.height
        for at in range(1, tip + 1):
            if at >= oldest:
                assert chain.store.value_at(key, at) == known[at]
            else:
                with pytest.raises(HistoryPruned):
                    chain.store.value_at(key, at)
        chain.store.close()
        again = Chain(Store.open(path, create=True, genesis=GENESIS.hash, archive=archive, history=history), GENESIS)
        proven = [at for at in range(tip + 1) if again.prove(key, at)]
        assert proven == list(range(max(oldest, tip - 32), tip + 1))
        again.store.close()
        return oldest

    assert go(10, archive=False, history=5) == 5
    assert go(20, archive=True, history=5) == 5
    assert go(25, archive=False, history=12) == 13
    assert go(40, archive=False, history=3) == 37
    assert go(45, archive=True, history=3) == 37
    assert go(45, archive=False, history=3) == 42
    assert go(60, archive=False, history=200) == 42
    assert go(70, archive=False, history=20) == 50
    with Store.open(path, create=False, history=20) as store:
        left = [int.from_bytes(name[-8:], "big") for name, _ in store._database.scan(bytes(Kind.CHANGE))]
        assert all(height > 50 for height in left), "what is kept no more is gone from the disk too"
        assert bool(left) == (in_memory == 4)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_value_can_be_read_at_any_kept_height(data: st.DataObject) -> None:
    """Against the states themselves; keys that begin with one another must not be mixed up."""
    keys = [b"k", b"kk", b"kk\0", b"k" + bytes(8), b"l"]
    states: list[dict[bytes, bytes]] = []
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(store_history, "IN_MEMORY", 3):
        for _ in range(data.draw(st.integers(1, 3))):
            archive, history = data.draw(st.booleans()), data.draw(st.integers(1, 12))
            with Store.open(Path(folder) / "chain", create=True, archive=archive, history=history) as store:
                for _ in range(data.draw(st.integers(1, 12))):
                    changed = data.draw(st.dictionaries(st.sampled_from(keys), st.none() | st.binary(max_size=2)))
                    state = dict(states[-1]) if states else {}
                    state |= {key: value for key, value in changed.items() if value is not None}
                    states.append({key: value for key, value in state.items() if changed.get(key, b"") is not None})
                    store.commit_block(**(commit_of(len(states) - 1) | {"changes": changed}))
                for height in range(store.oldest_height, len(states)):
                    assert {key: store.value_at(key, height) for key in keys} == {
                        key: states[height].get(key) for key in keys
                    }
                    with store.freeze(height) as frozen:
                        assert dict(frozen.items()) == states[height]
