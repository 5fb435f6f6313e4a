"""Tests of a node's snapshots on disk: of the right height while the chain goes on, whole or not there, few."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.executor import Chain
from chain.light_blocks import decode_light_block
from chain.sync import snapshot, snapshot_files
from chain.sync.snapshot import BITS_MAX, Chunk, Place, decode_items, decode_siblings, verify_chunk
from chain.sync.snapshot_files import NoSnapshot, Snapshot, SnapshotFiles
from tests.chain.sync.snapshot_world import CHECKPOINT, add, grow, open_chain, small_chunks, state_of

__all__ = ["small_chunks"]
pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    opened = open_chain(tmp_path / "chain")
    yield opened
    opened.store.close()


def leaves(snapshot: Snapshot) -> dict[bytes, bytes]:
    """All of it, every chunk verified."""
    root = decode_light_block(snapshot.light_block).header.state_root
    found: dict[bytes, bytes] = {}
    start = 0
    while start < 1 << BITS_MAX:
        answer = snapshot.chunk_at(start)
        assert answer is not None
        chunk, data = answer
        items = decode_items(data)
        verify_chunk(root, Chunk(place=chunk.place, items=items, siblings=decode_siblings(chunk.siblings)))
        found |= dict(items)
        start = chunk.place.end
    return found


def test_a_snapshot_is_the_state_of_its_height_although_the_chain_has_gone_on(chain: Chain, tmp_path: Path) -> None:
    grow(chain, CHECKPOINT)
    state = state_of(chain)
    grow(chain, CHECKPOINT + 3)
    assert state_of(chain) != state
    made = SnapshotFiles(tmp_path, chain).make(CHECKPOINT)
    assert leaves(made) == state
    assert len(made.chunks) > 10


def test_the_state_does_not_move_while_it_is_read(chain: Chain) -> None:
    grow(chain, CHECKPOINT)
    state = state_of(chain)
    with chain.store.freeze(CHECKPOINT - 1) as before, chain.store.freeze(CHECKPOINT) as frozen:
        reading = frozen.items()
        first = next(reading)
        add(chain)
        assert dict([first, *reading]) == state == dict(frozen.items())
        assert dict(before.items()) != state


def test_it_is_made_in_several_passes_where_memory_is_short(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(chain, CHECKPOINT)
    monkeypatch.setattr(snapshot_files, "PASS_BYTES", 5000)
    assert leaves(SnapshotFiles(tmp_path, chain).make(CHECKPOINT)) == state_of(chain)


def test_making_it_takes_a_pass_of_memory_and_few_bytes_a_leaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK_BYTES", 1 << 15)
    monkeypatch.setattr(snapshot_files, "PASS_BYTES", 1 << 20)
    digests = [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(40_000)]
    tracemalloc.start()
    snapshot_files._write_chunks(tmp_path / "chunks", lambda: ((each[:21], each[21:]) for each in digests))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < snapshot_files.PASS_BYTES + 48 * len(digests)


def test_the_newest_two_are_kept_and_found_again(chain: Chain, tmp_path: Path) -> None:
    files = SnapshotFiles(tmp_path, chain)
    for number in range(1, 4):
        grow(chain, number * CHECKPOINT)
        assert files.wanted() == number * CHECKPOINT
        files.make(number * CHECKPOINT)
        assert files.wanted() is None
    assert files.heights() == (2 * CHECKPOINT, 3 * CHECKPOINT)
    (tmp_path / "snapshots" / "making").mkdir()
    (tmp_path / "snapshots" / "making" / "chunks").write_bytes(b"half")
    again = SnapshotFiles(tmp_path, chain)
    assert again.heights() == files.heights()
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == ["10", "15"]
    found = again.get(3 * CHECKPOINT)
    assert found is not None
    assert leaves(found) == state_of(chain)


def test_equal_states_are_divided_equally(chain: Chain, tmp_path: Path) -> None:
    grow(chain, CHECKPOINT)
    with_other = open_chain(tmp_path / "other")
    grow(with_other, CHECKPOINT)
    one = SnapshotFiles(tmp_path / "a", chain).make(CHECKPOINT)
    two = SnapshotFiles(tmp_path / "b", with_other).make(CHECKPOINT)
    with_other.store.close()
    assert [chunk.digest for chunk in one.chunks] == [chunk.digest for chunk in two.chunks]


def test_of_a_height_whose_state_is_gone_none_is_made(chain: Chain, tmp_path: Path) -> None:
    grow(chain, 3)
    with pytest.raises(NoSnapshot):
        SnapshotFiles(tmp_path, chain).make(4)
    assert SnapshotFiles(tmp_path, chain).heights() == ()


def test_who_stops_a_node_need_not_wait_for_a_snapshot(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(chain, CHECKPOINT)
    monkeypatch.setattr(snapshot_files, "LEAVES_BETWEEN_PAUSES", 10)
    files = SnapshotFiles(tmp_path, chain)
    files.stop()
    with pytest.raises(NoSnapshot, match="stops"):
        files.make(CHECKPOINT)
    assert SnapshotFiles(tmp_path, chain).heights() == ()
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_damaged_files_are_not_given(chain: Chain, tmp_path: Path) -> None:
    grow(chain, CHECKPOINT)
    made = SnapshotFiles(tmp_path, chain).make(CHECKPOINT)
    path = made.path / "chunks"
    content = bytearray(path.read_bytes())
    content[made.chunks[3].offset + 7] ^= 1
    path.write_bytes(content)
    assert made.chunk_at(made.chunks[3].place.start) is None
    assert made.chunk_at(made.chunks[2].place.start) is not None
    path.write_bytes(content[:100])
    assert made.chunk_at((1 << BITS_MAX) - 1) is None
    index = made.path / "index"
    index.write_bytes(index.read_bytes()[:-1])
    assert SnapshotFiles(tmp_path, chain).heights() == ()
    assert not made.path.exists()


def test_any_key_finds_its_chunk(chain: Chain, tmp_path: Path) -> None:
    grow(chain, CHECKPOINT)
    made = SnapshotFiles(tmp_path, chain).make(CHECKPOINT)
    for key in state_of(chain):
        start = int.from_bytes(hashlib.sha256(key).digest()[:8], "big")
        found = made.chunk_at(start)
        assert found is not None
        assert key in dict(decode_items(found[1]))
        assert isinstance(found[0].place, Place)
