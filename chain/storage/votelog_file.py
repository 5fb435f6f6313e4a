"""Home of the vote log's file: synced appends, a torn tail cut on opening, atomic replacement."""

import os
from collections.abc import Sequence
from pathlib import Path

from consensus import votelog
from consensus.types import Height

VOTES_NAME = "votes.log"


class VoteLog:
    """The synced log of what this node's key has signed; one process at a time (its directory is locked).

    `created` says that there was no file, so that the key may have signed things that nobody remembers. OSError (a full
    disk, say) leaves the file as it was or with a torn tail, and the log refuses everything after: only opening it
    again tells what is on the disk.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the log. Raises votelog.InvalidVoteLog for a damaged file, OSError as the system does."""
        self.path = path
        self._failed = False
        self.created = not path.exists()
        if self.created:
            self._write_anew(())
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            self._records = self._recover()
        except BaseException:
            os.close(self._file)
            raise

    def records(self) -> tuple[bytes, ...]:
        """The whole records found on opening, in order."""
        return self._records

    def append(self, *records: bytes) -> None:
        """Append records; they are on the disk when this returns. After a power loss in the midst none of them is.

        (Of more than votelog.BATCH_BYTES_MAX, which no honest round comes to, the first ones may be.)
        """
        assert not self._failed, "the vote log failed before: open it again"
        try:
            for frame in votelog.batches(self._salt, records):
                _write_all(self._file, frame)
                os.fdatasync(self._file)
        except BaseException:
            self._failed = True  # after a failed sync nothing is known of the pages that it was to write
            raise

    def replace(self, records: Sequence[bytes]) -> None:
        """Make these records the whole log; after a crash the file is either the old one or the new one."""
        assert not self._failed, "the vote log failed before: open it again"
        try:
            self._write_anew(records)
            old, self._file = self._file, os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            os.close(old)
        except BaseException:
            self._failed = True
            raise

    def discard(self) -> None:
        """Close and remove a log that was just created, so that its absence is found again."""
        assert self.created, "only a log without votes may go"
        self.close()
        self.path.unlink()

    def close(self) -> None:
        """Close the file; there is nothing left to write."""
        os.close(self._file)

    def _recover(self) -> tuple[bytes, ...]:
        scan = votelog.scan(self.path.read_bytes())
        self._salt = scan.salt
        if scan.length < os.fstat(self._file).st_size:
            os.ftruncate(self._file, scan.length)
            os.fsync(self._file)
        return scan.records

    def _write_anew(self, records: Sequence[bytes]) -> None:
        self._salt = os.urandom(votelog.SALT_BYTES)
        beside = self.path.with_name(self.path.name + ".new")
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            frames = b"".join(votelog.frame(self._salt, record) for record in records)
            _write_all(file, votelog.header(self._salt) + frames)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(beside, self.path)
        _sync_directory(self.path.parent)


def begin_vote_log(path: Path) -> None:
    """The log of a key that was just made: it says that nothing was signed before height 1, so that none is missing."""
    log = VoteLog(path)
    log.append(votelog.encode_record(votelog.ClosedRecord(height=Height(0))))
    log.close()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
