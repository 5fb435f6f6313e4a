"""What the blob store promises: content by root, bounded uploads that expire, nothing half written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.storage.blobs import BlobStore, InvalidUpload, UploadLimits
from chain.storage.datadir import DataDirectoryDamaged, DiskFull

LIMITS = UploadLimits(blob_bytes=100, client_bytes=150, task_bytes=200, total_bytes=250)
TASK = bytes(32)


def root_of(data: bytes) -> bytes:
    return hashlib.sha256(b"blob" + data).digest()


def opened(directory: Path, limits: UploadLimits = LIMITS) -> BlobStore:
    return BlobStore(directory, root_of=root_of, limits=limits)


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_blob_is_found_by_its_root_and_after_a_restart(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    pinned, uploaded = b"p" * 1000, b"u" * 50
    blobs.put(root_of(pinned), pinned)
    root = blobs.upload(uploaded, client="c", task=TASK, expires=5)
    assert root == root_of(uploaded)
    for store in (blobs, opened(tmp_path)):
        assert store.roots() == tuple(sorted([root, root_of(pinned)]))
        assert store.get(root_of(pinned), check=True) == pinned
        assert store.get(root, check=True) == uploaded
        assert (store.size(root), store.is_pinned(root), store.is_pinned(root_of(pinned))) == (50, False, True)
        assert not store.has(bytes(32))
        assert store.get(bytes(32)) is None
        assert store.size(bytes(32)) is None
        assert store.read(bytes(32), 0, 1) is None


def test_bytes_under_a_root_of_another_kind_are_not_the_content_of_a_blob(tmp_path: Path) -> None:
    """A head's root commits to its weights: whoever commits to it as an update's root has sealed nothing."""
    blobs = opened(tmp_path)
    head, blob = hashlib.sha256(b"head").digest(), b"b" * 50
    blobs.put(head, b"weights")
    root = blobs.upload(blob, client="c", task=TASK, expires=5)
    for store in (blobs, opened(tmp_path)):
        for _ in range(2):
            assert (store.size(head), store.size_of_content(head)) == (7, None)
            assert (store.size_of_content(root), store.size_of_content(bytes(32))) == (50, None)
    blobs.delete(root)
    assert blobs.size_of_content(root) is None


def test_a_range_is_cut_at_the_end_of_the_blob(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    data = bytes(range(100))
    root = blobs.upload(data, client="c", task=TASK, expires=1)
    assert blobs.read(root, 10, 20) == data[10:30]
    assert blobs.read(root, 90, 20) == data[90:]
    assert blobs.read(root, 100, 20) == b""


def test_uploads_expire_at_their_height_and_pinned_blobs_never(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    first, second, third = (
        blobs.upload(bytes([number]) * 10, client="c", task=TASK, expires=number) for number in (5, 6, 7)
    )
    assert blobs.pin(second)
    assert not blobs.pin(bytes(32))
    assert blobs.expire(4) == 0
    assert blobs.expire(6) == 1
    assert blobs.roots() == tuple(sorted([second, third]))
    assert opened(tmp_path).expire(100) == 1
    assert opened(tmp_path).roots() == (second,)
    assert not blobs.has(first)


def test_the_same_upload_again_lives_until_the_later_height(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    root = blobs.upload(b"x" * 90, client="c", task=TASK, expires=5)
    assert blobs.upload(b"x" * 90, client="d", task=TASK, expires=9) == root
    assert blobs.upload(b"x" * 90, client="d", task=TASK, expires=3) == root
    assert opened(tmp_path).expire(8) == 0
    assert opened(tmp_path).expire(9) == 1


@pytest.mark.parametrize(
    ("sizes", "clients", "tasks", "reason"),
    [
        ([101], "a", "1", "at most 100 a blob"),
        ([80, 71], "aa", "12", "80 of 150 for you"),
        ([100, 90, 11], "abc", "111", "190 of 200 for this task"),
        ([100, 90, 61], "abc", "122", "190 of 250 for uploads"),
    ],
)
def test_an_upload_beyond_a_limit_is_refused_and_leaves_nothing(
    tmp_path: Path, sizes: list[int], clients: str, tasks: str, reason: str
) -> None:
    blobs = opened(tmp_path)
    uploads = [(bytes([number]) * size, clients[number], tasks[number]) for number, size in enumerate(sizes)]
    for data, client, task in uploads[:-1]:
        blobs.upload(data, client=client, task=task.encode(), expires=3)
    before = files(tmp_path)
    data, client, task = uploads[-1]
    for store in (blobs, opened(tmp_path)):  # what is taken is known after a restart too
        with pytest.raises(InvalidUpload, match=reason):
            store.upload(data, client=client, task=task.encode(), expires=3)
    assert files(tmp_path) == before


def test_pinning_and_deleting_make_room_for_uploads(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    for number in range(20):
        root = blobs.upload(bytes([number]) * 100, client="c", task=TASK, expires=3)
        if number % 2:
            blobs.delete(root)
        else:
            blobs.pin(root)
    assert len(blobs.roots()) == 10


def test_a_blob_half_written_at_a_crash_is_gone_after_the_restart(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "writing" / root_of(b"half").hex()).write_bytes(b"ha")
    assert opened(tmp_path).roots() == ()
    assert files(tmp_path) == []


def test_a_changed_shortened_or_missing_blob_is_damage(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    data = b"d" * 300
    root = root_of(data)
    blobs.put(root, data)
    path = tmp_path / "pinned" / root.hex()
    path.write_bytes(b"e" + data[1:])
    assert blobs.get(root) == b"e" + data[1:]
    with pytest.raises(DataDirectoryDamaged, match=root.hex()):
        blobs.get(root, check=True)
    path.write_bytes(data[1:])
    with pytest.raises(DataDirectoryDamaged, match=root.hex()):
        blobs.get(root)
    path.unlink()
    with pytest.raises(DataDirectoryDamaged, match=root.hex()):
        blobs.get(root)
    blobs.delete(root)
    blobs.put(root, data)
    assert blobs.get(root, check=True) == data


def test_a_full_disk_is_a_clear_error_and_loses_nothing(small_disk: Path) -> None:
    roomy = UploadLimits(blob_bytes=1 << 30, client_bytes=1 << 30, task_bytes=1 << 30, total_bytes=1 << 30)
    blobs = opened(small_disk / "blobs", roomy)
    kept = b"k" * (1 << 20)
    blobs.put(root_of(kept), kept)
    large = b"l" * (16 << 20)
    with pytest.raises(DiskFull, match="free some space"):
        blobs.put(root_of(large), large)
    with pytest.raises(DiskFull, match="free some space"):
        blobs.upload(large, client="c", task=TASK, expires=3)
    assert blobs.roots() == (root_of(kept),)
    small = b"s" * (1 << 20)
    assert blobs.upload(small, client="c", task=TASK, expires=3) == root_of(small)
    assert opened(small_disk / "blobs", roomy).get(root_of(kept), check=True) == kept


steps = st.lists(
    st.tuples(st.sampled_from(["upload", "pin", "delete", "expire", "restart"]), st.integers(0, 5), st.integers(0, 9)),
    max_size=30,
)


@settings(deadline=None, max_examples=30)
@given(steps=steps)
def test_any_sequence_of_steps_keeps_what_a_plain_model_keeps(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    directory = tmp_path_factory.mktemp("blobs")
    blobs = opened(directory)
    kept: dict[bytes, tuple[bytes, int | None]] = {}  # root -> content, height at which it goes (None: pinned)
    for step, which, height in steps:
        data = bytes([which]) * (20 + which)
        root = root_of(data)
        if step == "upload":
            blobs.upload(data, client="c", task=TASK, expires=height)
            until = kept.get(root, (data, height))[1]
            kept[root] = (data, None if until is None else max(until, height))
        elif step == "pin":
            assert blobs.pin(root) == (root in kept)
            if root in kept:
                kept[root] = (data, None)
        elif step == "delete":
            blobs.delete(root)
            kept.pop(root, None)
        elif step == "expire":
            gone = [r for r, (_, until) in kept.items() if until is not None and until <= height]
            assert blobs.expire(height) == len(gone)
            for r in gone:
                del kept[r]
        else:
            blobs = opened(directory)
    assert blobs.roots() == tuple(sorted(kept))
    assert all(blobs.get(root, check=True) == data for root, (data, _) in kept.items())
    assert all(blobs.is_pinned(root) == (until is None) for root, (_, until) in kept.items())
    assert len(files(directory)) == len(kept)
