"""What the ledger on disk promises: blocks and state by height, one owner, and nothing lost in a crash."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from chain.storage.recent_values import RecentValues
from chain.storage.store import (
    DataDirectoryDamaged,
    DataDirectoryForeign,
    DataDirectoryLocked,
    DiskFull,
    HistoryPruned,
    Store,
)
from tests.chain.ledger_writer import KEYS, commit_of, digest, state_at


def written(path: Path, blocks: int, **options: int | bool) -> Store:
    store = Store.open(path, create=True, **options)  # type: ignore[arg-type]
    for height in range(blocks):
        store.commit_block(**commit_of(height))
    return store


def assert_whole(store: Store, tip: int) -> None:
    """Everything of all blocks up to `tip` is there, and nothing of a later one."""
    assert (store.tip(), store.tip_hash()) == (tip, digest("block", tip))
    for height in range(tip + 1):
        commit = commit_of(height)
        found = (store.header(height), store.block(height), store.receipts(height))
        assert found == (commit["header"], commit["block"], commit["receipts"])
        assert store.height_of_hash(commit["block_hash"]) == height
        for index, transaction in enumerate(commit["transaction_hashes"]):
            assert store.transaction_location(transaction) == (height, index)
    assert store.header(tip + 1) is None
    assert store.height_of_hash(digest("block", tip + 1)) is None
    assert dict(store.items()) == state_at(tip)
    assert store.meta("commit") == b"commit %d" % tip


def test_a_committed_block_is_found_by_every_index(tmp_path: Path) -> None:
    with written(tmp_path, 10) as store:
        assert_whole(store, 9)
        assert store.header(10) is None
        assert store.transaction_location(bytes(32)) is None
        assert store.meta("nothing") is None
    with Store.open(tmp_path, create=False) as store:
        assert_whole(store, 9)


def test_an_empty_ledger_has_no_tip(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        assert (store.tip(), store.tip_hash(), list(store.items())) == (None, None, [])
        with pytest.raises(HistoryPruned):
            store.value_at(b"k", 0)


def test_items_are_those_with_the_prefix_in_order_of_their_keys(tmp_path: Path) -> None:
    with written(tmp_path, 5) as store:
        state = state_at(4)
        assert list(store.items(b"k1")) == sorted(item for item in state.items() if item[0].startswith(b"k1"))


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize(("archive", "oldest"), [(False, 17), (True, 0)])
def test_a_value_is_read_as_of_every_height_that_is_kept(
    tmp_path: Path, reopened: bool, archive: bool, oldest: int
) -> None:
    store = written(tmp_path, 25, history=7, archive=archive)
    if reopened:
        store.close()
        store = Store.open(tmp_path, create=False, history=7, archive=archive)
    with store:
        assert store.oldest_height == oldest
        for height in range(oldest, 25):
            state = state_at(height)
            for index in range(KEYS):
                assert store.value_at(b"k%d" % index, height) == state.get(b"k%d" % index)
        for height in (oldest - 1, 25):
            with pytest.raises(HistoryPruned, match=f"height {height}"):
                store.value_at(b"k0", height)


def test_an_archive_opened_as_none_forgets_all_but_the_last_heights(tmp_path: Path) -> None:
    written(tmp_path, 20, archive=True).close()
    with Store.open(tmp_path, create=False, history=3) as store:
        assert store.oldest_height == 16
    with Store.open(tmp_path, create=False, archive=True) as store:
        assert store.oldest_height == 16
        store.commit_block(**commit_of(20))
        assert store.value_at(b"k1", 16) == state_at(16).get(b"k1")


def test_the_earlier_values_of_a_block_are_those_before_it(tmp_path: Path) -> None:
    with written(tmp_path, 12, history=5) as store:
        state, changes = state_at(9), commit_of(10)["changes"]
        assert store.previous_values(10) == {key: state.get(key) for key in changes}
        assert store.previous_values(6) is None


def test_values_stay_right_when_the_cache_forgets(tmp_path: Path) -> None:
    with written(tmp_path, 5) as store:
        store._values._values_max = 4
        for height in range(5, 30):
            store.commit_block(**commit_of(height))
            state = state_at(height)
            assert all(store.get(b"k%d" % index) == state.get(b"k%d" % index) for index in range(KEYS))


def test_a_large_value_replaces_and_is_replaced_by_a_small_one(tmp_path: Path) -> None:
    with written(tmp_path, 1) as store:
        for height, value in enumerate([b"small", b"l" * 5000, b"other", b"m" * 5000, None], 1):
            store.commit_block(**(commit_of(height) | {"changes": {b"key": value}}))  # type: ignore[misc]
            assert (store.get(b"key"), store.get(b"key")) == (value, value)


def test_readers_in_other_threads_see_each_height_whole(tmp_path: Path) -> None:
    """Every block writes its height under all keys, so two keys that differ at one height were torn apart."""
    keys = [b"a%d" % index for index in range(30)]
    torn: list[tuple[int, set[bytes | None]]] = []
    reads = 0
    with Store.open(tmp_path, create=True, history=5) as store:

        def commit(height: int) -> None:
            changes: dict[bytes, bytes | None] = dict.fromkeys(keys, b"%d" % height)
            store.commit_block(**(commit_of(height) | {"changes": changes}))  # type: ignore[misc]

        commit(0)
        store._values._values_max = 16
        done = threading.Event()

        def read() -> None:
            nonlocal reads
            while not done.is_set():
                height = store.tip()
                assert height is not None
                try:
                    found = {store.value_at(key, height) for key in keys}
                except HistoryPruned:
                    continue
                reads += 1
                if found != {b"%d" % height}:
                    torn.append((height, found))

        reader = threading.Thread(target=read)
        reader.start()
        for height in range(1, 300):
            commit(height)
        done.set()
        reader.join()
    assert torn == []
    assert reads > 0


@pytest.fixture(params=["reads before the commit", "reads after the commit"])
def overtaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store at height 1, where b"key" is b"1": during the next read from disk block 2 is committed, with b"2"."""
    with Store.open(tmp_path, create=True) as store:
        for height in (0, 1):
            store.commit_block(**(commit_of(height) | {"changes": {b"key": b"%d" % height}}))  # type: ignore[misc]
        store._values = RecentValues()
        from_disk = store._database.get

        def get(record: bytes) -> bytes | None:
            monkeypatch.undo()
            before = from_disk(record)
            store.commit_block(**(commit_of(2) | {"changes": {b"key": b"2"}}))  # type: ignore[misc]
            return before if request.param == "reads before the commit" else from_disk(record)

        monkeypatch.setattr(store._database, "get", get)
        yield store
        assert store.tip() == 2
        assert (store.value_at(b"key", 1), store.get(b"key"), store.value_at(b"key", 2)) == (b"1", b"2", b"2")


def test_a_value_at_a_height_is_right_though_a_commit_overtakes_the_read(overtaken: Store) -> None:
    assert overtaken.value_at(b"key", 1) == b"1"


def test_a_value_that_a_commit_overtook_is_not_remembered(overtaken: Store) -> None:
    assert overtaken.get(b"key") in (b"1", b"2")


@pytest.fixture
def forgetting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store at height 1 whose cache has b"key" in its old generation only, even while a block is written."""
    with Store.open(tmp_path, create=True) as store:
        for height in (0, 1):
            store.commit_block(**(commit_of(height) | {"changes": {b"key": b"%d" % height}}))  # type: ignore[misc]
        values, to_disk = store._values, store._database.write

        def forget() -> None:
            values._old, values._young = values._young | values._old, {}

        def write(records: Mapping[bytes, bytes | None]) -> None:
            to_disk(records)
            forget()

        forget()
        monkeypatch.setattr(store._database, "write", write)
        yield store
        assert (store.get(b"key"), store.value_at(b"key", 1)) == (b"2", b"1")


def test_a_block_published_between_two_looks_into_the_cache_brings_no_old_value_back(
    forgetting: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, first_look = forgetting._values, forgetting._values.young

    def young(key: bytes) -> bytes | None:
        monkeypatch.setattr(values, "young", first_look)
        found = first_look(key)
        forgetting.commit_block(**(commit_of(2) | {"changes": {b"key": b"2"}}))  # type: ignore[misc]
        return found

    monkeypatch.setattr(values, "young", young)
    assert forgetting.get(b"key") in (b"1", b"2")


def test_a_read_while_a_block_is_published_brings_no_old_value_back(
    forgetting: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, put, look = forgetting._values, forgetting._values.put, forgetting._values.old
    looked = threading.Event()
    reader = threading.Thread(target=lambda: forgetting.get(b"key"))

    def old(key: bytes) -> bytes | None:
        found = look(key)
        looked.set()
        return found

    def put_first(key: bytes, value: bytes | None) -> None:
        """The first value that a block publishes: a reader finds the old one of b"key", and waits to remember it."""
        if not reader.ident and forgetting._publishing.locked() and value == b"first":
            monkeypatch.setattr(values, "put", put)
            monkeypatch.setattr(values, "old", old)
            reader.start()
            assert looked.wait(10)
        put(key, value)

    monkeypatch.setattr(values, "put", put_first)
    changes = {b"another": b"first", b"key": b"2"}
    forgetting.commit_block(**(commit_of(2) | {"changes": changes}))  # type: ignore[misc]
    reader.join()
    assert looked.is_set()


# ------------------------------------------------------------------------------------------------------ the directory


def test_a_second_open_is_refused_in_this_process_and_in_another_and_breaks_nothing(tmp_path: Path) -> None:
    attempt = [sys.executable, "-m", "tests.chain.ledger_writer", str(tmp_path)]
    with written(tmp_path, 3) as store:
        for _ in range(2):
            with pytest.raises(DataDirectoryLocked, match="in use"):
                Store.open(tmp_path, create=True)
            other = subprocess.run(attempt, capture_output=True, text=True, check=False, timeout=60)
            assert "DataDirectoryLocked" in other.stderr
        store.commit_block(**commit_of(3))
    with Store.open(tmp_path, create=False) as store:
        assert_whole(store, 3)


def test_closing_twice_is_allowed_and_frees_the_directory(tmp_path: Path) -> None:
    store = written(tmp_path, 1)
    store.close()
    store.close()
    Store.open(tmp_path, create=False).close()


def test_a_directory_that_is_not_ours_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    for create in (True, False):
        with pytest.raises(DataDirectoryForeign):
            Store.open(tmp_path, create=create)
    with pytest.raises(DataDirectoryForeign):
        Store.open(tmp_path / "none", create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    Store.open(tmp_path, create=True, beside=["letter.txt"]).close()


def test_another_networks_ledger_and_another_format_are_refused(tmp_path: Path) -> None:
    Store.open(tmp_path, create=True, genesis=b"g" * 32).close()
    with pytest.raises(DataDirectoryForeign, match=(b"g" * 32).hex()):
        Store.open(tmp_path, create=True, genesis=b"h" * 32)
    with Store.open(tmp_path, create=True, genesis=b"g" * 32) as store:
        store._database.write({b".format": b"lyceum ledger 0"})
    with pytest.raises(DataDirectoryForeign, match="ledger 0"):
        Store.open(tmp_path, create=True, genesis=b"g" * 32)


def test_a_creation_cut_short_is_finished_by_the_next_open(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        store._database.write({b".format": None, b".genesis": None})
    with Store.open(tmp_path, create=True, genesis=b"g" * 32) as store:
        store.commit_block(**commit_of(0))
    with pytest.raises(DataDirectoryForeign):
        Store.open(tmp_path, create=True, genesis=b"h" * 32)


def test_a_path_that_can_not_be_a_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=r"can't use .*file") as raised:
        Store.open(tmp_path / "file", create=True)
    assert type(raised.value).__name__ == "StorageFailed"


# ------------------------------------------------------------------------------------------------------------- damage


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_in_any_file_is_damage_or_harmless(tmp_path: Path) -> None:
    """Whatever bit of a table, a log or LevelDB's own records flips, a checked open finds it or nothing reads wrong."""
    whole = tmp_path / "whole"
    written(whole, 30).close()
    with Store.open(whole, create=False) as store:  # the blocks so far are now in a table, the next in the log
        for height in range(30, 40):
            store.commit_block(**commit_of(height))
    source = random.Random(1)
    found = {".ldb": 0, ".log": 0, "": 0}
    for _ in range(60):
        copy = tmp_path / "copy"
        shutil.copytree(whole, copy)
        names = [path for path in (copy / "ledger").iterdir() if not path.name.startswith("LO") and path.stat().st_size]
        path = source.choice(sorted(names))
        flip(path, source.randrange(path.stat().st_size), source.randrange(8))
        try:
            with Store.open(copy, create=False, checked=True) as store:
                assert_whole(store, 39)
        except DataDirectoryDamaged:
            found[path.suffix] += 1
        shutil.rmtree(copy)
    assert min(found.values()) > 5, found


def test_a_damaged_block_and_state_value_are_named(tmp_path: Path) -> None:
    written(tmp_path, 40).close()
    Store.open(tmp_path, create=False).close()  # moves the log into a table
    tables = list((tmp_path / "ledger").glob("*.ldb"))
    assert len(tables) == 1
    content = tables[0].read_bytes()
    flip(tables[0], content.index(digest("content", 33)) + 7, 3)
    with Store.open(tmp_path, create=False) as store:
        with pytest.raises(DataDirectoryDamaged, match="the block of height 33 can't be read"):
            store.block(33)
        assert store.block(2) == commit_of(2)["block"]
    with pytest.raises(DataDirectoryDamaged, match=r"after the block of height 3[0-2]"):
        Store.open(tmp_path, create=False, checked=True)


def test_blocks_that_vanished_from_the_end_of_the_log_are_missed(tmp_path: Path) -> None:
    written(tmp_path, 20).close()
    log = max((tmp_path / "ledger").glob("*.log"))
    os.truncate(log, log.stat().st_size - 10)
    with pytest.raises(DataDirectoryDamaged, match="block 19 was committed, but the ledger ends at 18"):
        Store.open(tmp_path, create=False)
    (tmp_path / "lock").unlink()
    with Store.open(tmp_path, create=False) as store:
        assert_whole(store, 18)


def test_a_missing_table_or_current_file_is_damage_and_nothing_is_made_anew(tmp_path: Path) -> None:
    written(tmp_path, 5).close()
    Store.open(tmp_path, create=False).close()
    before = sorted(path.name for path in (tmp_path / "ledger").glob("*.ldb"))
    current = (tmp_path / "ledger" / "CURRENT").read_bytes()
    (tmp_path / "ledger" / "CURRENT").unlink()
    with pytest.raises(DataDirectoryDamaged, match="CURRENT"):
        Store.open(tmp_path, create=True)
    assert sorted(path.name for path in (tmp_path / "ledger").glob("*.ldb")) == before
    (tmp_path / "ledger" / "CURRENT").write_bytes(current)
    (tmp_path / "ledger" / before[0]).unlink()
    with pytest.raises(DataDirectoryDamaged):
        Store.open(tmp_path, create=True)


# ------------------------------------------------------------------------------------------------------------ crashes


def test_a_kill_at_any_moment_loses_no_acknowledged_block(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    acknowledged = -1
    for _ in range(6):
        command = [sys.executable, "-m", "tests.chain.ledger_writer", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(source.randrange(40)):
                acknowledged = int(writer.stdout.readline())
            if source.random() < 0.5:
                threading.Event().wait(source.random() * 0.02)
            writer.send_signal(signal.SIGKILL)
            lines = writer.stdout.read().split()
            acknowledged = int(lines[-1]) if lines else acknowledged
        with Store.open(tmp_path, create=True) as store:
            tip = store.tip()
            if tip is None:
                assert acknowledged == -1
                continue
            assert tip in (acknowledged, acknowledged + 1)
            assert_whole(store, tip)
            for height in range(store.oldest_height, tip + 1, 7):
                state = state_at(height)
                assert all(store.value_at(b"k%d" % index, height) == state.get(b"k%d" % index) for index in range(KEYS))
            acknowledged = tip
    assert acknowledged > 0


def fill(store: Store) -> None:
    for height in range(1000):
        store.commit_block(**(commit_of(height) | {"block": os.urandom(200_000)}))  # type: ignore[misc]


def test_a_full_disk_is_a_clear_error_and_the_ledger_goes_on_after_space_is_freed(small_disk: Path) -> None:
    directory = small_disk / "data"
    with Store.open(directory, create=True) as store:
        with pytest.raises(DiskFull, match="free some space"):
            fill(store)
        tip = store.tip()
        assert tip is not None
        assert tip > 5
        with pytest.raises(DiskFull):  # not another try on a log that may end in half a block
            store.commit_block(**commit_of(tip + 1))
        assert store.get(b"k1") == state_at(tip).get(b"k1")
        assert store.value_at(b"k1", tip - 2) == state_at(tip - 2).get(b"k1")
    subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
    with Store.open(directory, create=False) as store:
        assert store.tip() in (tip, tip + 1)
        tip = store.tip()
        assert tip is not None
        assert dict(store.items()) == state_at(tip)
        store.commit_block(**commit_of(tip + 1))
    with Store.open(directory, create=False, checked=True) as store:
        assert dict(store.items()) == state_at(tip + 1)


def test_a_disk_too_full_to_open_the_ledger_is_a_clear_error_and_loses_nothing(small_disk: Path) -> None:
    directory = small_disk / "data"
    with written(directory, 100):
        pass
    filler = small_disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
        file.write(bytes(100 << 20))
    with pytest.raises(DiskFull, match="free some space"):
        Store.open(directory, create=False)
    filler.unlink()
    with Store.open(directory, create=False, checked=True) as store:
        assert_whole(store, 99)
