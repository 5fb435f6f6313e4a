"""The vote log's file: synced, cut where it is torn, replaced whole, and clear about a full or damaged disk."""

import errno
import os
from pathlib import Path
from unittest import mock

import pytest

from chain.storage.votelog_file import VoteLog
from consensus.votelog import FRAME_BYTES, HEADER_BYTES, RECORD_BYTES_MAX, InvalidVoteLog


def filled(path: Path, *records: bytes) -> Path:
    log = VoteLog(path)
    for record in records:
        log.append(record)
    log.close()
    return path


def found(path: Path) -> tuple[bytes, ...]:
    log = VoteLog(path)
    log.close()
    return log.records()


def test_records_are_found_again_in_order(tmp_path: Path) -> None:
    path = filled(tmp_path / "votes", b"one", b"two")
    assert found(filled(path, b"three")) == (b"one", b"two", b"three")


def test_log_says_whether_there_was_none(tmp_path: Path) -> None:
    first = VoteLog(tmp_path / "votes")
    first.close()
    second = VoteLog(tmp_path / "votes")
    second.close()
    assert (first.created, second.created) == (True, False)


def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    assert filled(tmp_path / "votes").stat().st_mode & 0o077 == 0


def test_tail_torn_at_any_byte_is_cut_and_written_over(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", b"one", b"a record that is torn").read_bytes()
    path = tmp_path / "votes"
    for length in range(HEADER_BYTES + FRAME_BYTES + 3, len(whole)):
        path.write_bytes(whole[:length])
        assert found(path) == (b"one",)
        assert path.stat().st_size == HEADER_BYTES + FRAME_BYTES + 3
        path.write_bytes(whole[:length])
        assert found(filled(path, b"next")) == (b"one", b"next")


def test_lost_page_of_a_batch_takes_the_whole_batch_and_nothing_else(tmp_path: Path) -> None:
    path = filled(tmp_path / "votes", b"one")
    before = path.stat().st_size
    log = VoteLog(path)
    log.append(b"a" * 5000, b"b" * 5000, b"three")
    log.close()
    whole = path.read_bytes()
    assert found(path) == (b"one", b"a" * 5000, b"b" * 5000, b"three")
    for page in range(0, len(whole), 4096):
        start, end = max(page, before), min(page + 4096, len(whole))
        path.write_bytes(whole[:start] + bytes(end - start) + whole[end:])
        assert found(path) == (b"one",)
        assert path.stat().st_size == before
    assert found(filled(path, b"next")) == (b"one", b"next")


def test_batch_before_another_frame_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    log = VoteLog(path)
    log.append(b"one", b"two")
    log.append(b"three", b"four")
    log.close()
    bent = bytearray(path.read_bytes())
    bent[HEADER_BYTES + FRAME_BYTES + 4] ^= 1
    path.write_bytes(bent)
    with pytest.raises(InvalidVoteLog, match="damaged at byte 24"):
        VoteLog(path)


def test_batch_that_no_frame_holds_is_synced_frame_by_frame(tmp_path: Path) -> None:
    records = [bytes([number]) * RECORD_BYTES_MAX for number in range(5)]
    log = VoteLog(tmp_path / "votes")
    with mock.patch.object(os, "fdatasync", side_effect=os.fdatasync) as sync:
        log.append(*records)
    log.close()
    assert sync.call_count == 2
    assert found(tmp_path / "votes") == tuple(records)


def test_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = filled(tmp_path / "votes", b"one", b"two")
    bent = bytearray(path.read_bytes())
    bent[HEADER_BYTES + FRAME_BYTES] ^= 1
    path.write_bytes(bent)
    with pytest.raises(InvalidVoteLog, match="damaged at byte 24"):
        VoteLog(path)
    assert path.read_bytes() == bent


def test_replacement_is_the_whole_log(tmp_path: Path) -> None:
    path = filled(tmp_path / "votes", b"one", b"two")
    log = VoteLog(path)
    log.replace([b"three"])
    log.append(b"four")
    log.close()
    assert found(path) == (b"three", b"four")
    assert [entry.name for entry in tmp_path.iterdir()] == ["votes"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_replacement_that_fails_leaves_the_old_log(tmp_path: Path, call: str) -> None:
    path = filled(tmp_path / "votes", b"one")
    log = VoteLog(path)
    with mock.patch.object(os, call, side_effect=OSError(errno.ENOSPC, "no space")), pytest.raises(OSError):
        log.replace([b"two"])
    log.close()
    assert found(path) == (b"one",)


def test_record_is_synced_before_append_returns(tmp_path: Path) -> None:
    calls: list[str] = []
    log = VoteLog(tmp_path / "votes")
    write, sync = os.write, os.fdatasync
    with (
        mock.patch.object(os, "write", lambda *given: (calls.append("write"), write(*given))[1]),
        mock.patch.object(os, "fdatasync", lambda *given: (calls.append("fdatasync"), sync(*given))[1]),
    ):
        log.append(b"one")
    log.close()
    assert calls == ["write", "fdatasync"]


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_failed_append_ends_the_log_until_it_is_opened_again(tmp_path: Path, call: str) -> None:
    path = filled(tmp_path / "votes", b"one")
    log = VoteLog(path)
    with mock.patch.object(os, call, side_effect=OSError(errno.ENOSPC, "no space")), pytest.raises(OSError):
        log.append(b"two")
    with pytest.raises(AssertionError, match="open it again"):
        log.append(b"three")
    log.close()
    # A failed sync leaves open whether the record is there: both are right.
    assert found(path) in ((b"one",), (b"one", b"two"))


def test_append_that_a_full_disk_cuts_short_is_not_a_record(tmp_path: Path) -> None:
    path = filled(tmp_path / "votes", b"one")
    log = VoteLog(path)
    write = os.write

    def short(file: int, data: bytes) -> int:
        if len(data) < 30:
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(file, data[:10])

    with mock.patch.object(os, "write", short), pytest.raises(OSError, match="no space"):
        log.append(b"a record of some length")
    log.close()
    assert found(filled(path, b"next")) == (b"one", b"next")
