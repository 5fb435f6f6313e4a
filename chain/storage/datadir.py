"""Home of a data directory's outside: who holds it, whether it is ours, and the errors that disks give."""

from __future__ import annotations

import errno
import fcntl
import os
import zlib
from collections.abc import Collection
from pathlib import Path

from chain.errors import LyceumError

LOCK_NAME = "lock"
LEDGER_NAME = "ledger"


class DataDirectoryLocked(LyceumError):
    """Another process, or another part of this one, holds the directory."""


class DataDirectoryForeign(LyceumError):
    """The directory is not a Lyceum data directory, or it is one of another network or format."""


class DataDirectoryDamaged(LyceumError):
    """Something in the directory is not what was written; the message names what."""


class StorageFailed(LyceumError):
    """The operating system refuses to read or write; nothing that was committed is lost."""


class DiskFull(StorageFailed):
    """No space is left; after some has been freed, a restart goes on where it was."""


class HistoryPruned(LyceumError):
    """State was asked for at a height for which none is kept (any more, or yet)."""


def storage_error(what: str, error: BaseException) -> StorageFailed:
    """The error to raise for one of the operating system's, or for one of LevelDB's, which carries only its text."""
    number = error.errno if isinstance(error, OSError) else None
    texts = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
    if number in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in texts):
        return DiskFull(f"{what}: the disk is full; free some space and start again, nothing is lost")
    return StorageFailed(f"{what}: {error}")


class DirectoryLock:
    """The lock file of a data directory, held until released or until the process ends.

    It also notes the last committed height. The note is never synced, yet on disk it is never ahead of the synced block
    that it follows; so a directory whose blocks end below the note has lost some.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataDirectoryLocked, StorageFailed."""
        try:
            self._file = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(f"can't open {path / LOCK_NAME}", error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise DataDirectoryLocked(
                f"{path} is in use by another node: stop it, or choose another with --data-dir"
            ) from error

    def note_height(self, height: int) -> None:
        """Note a committed height. Always as many bytes, so that a full disk has room for it."""
        text = b"%020d" % height
        try:
            os.pwrite(self._file, b"%s %08x\n" % (text, zlib.crc32(text)), 0)
        except OSError:
            return  # it is a second opinion only: the block itself is safe

    def noted_height(self) -> int | None:
        """The height noted last, None if there is none that can be trusted."""
        words = os.pread(self._file, 64, 0).split()
        if len(words) != 2 or not words[0].isdigit() or words[1] != b"%08x" % zlib.crc32(words[0]):
            return None
        return int(words[0])

    def release(self) -> None:
        """Let others have the directory. The file stays: removing it would let two processes lock two files."""
        os.close(self._file)


def prepare_directory(path: Path, create: bool, beside: Collection[str]) -> bool:
    """Make sure that `path` is ours to lock, without writing into a foreign directory; True if it has no ledger yet.

    `beside` names what may lie in a directory that has none yet. Raises DataDirectoryForeign, StorageFailed.
    """
    ledger = path / LEDGER_NAME
    if (ledger / "CURRENT").exists():
        return False
    if not create:
        raise DataDirectoryForeign(f"{path} is no Lyceum data directory: give the right one with --data-dir")
    try:
        path.mkdir(parents=True, exist_ok=True)
        strangers = {entry.name for entry in path.iterdir()} - {LOCK_NAME, LEDGER_NAME, *beside}
        tables = sorted(entry.name for entry in ledger.iterdir()) if ledger.exists() else []
    except OSError as error:
        raise storage_error(f"can't use {path} as a data directory", error) from error
    if strangers:
        raise DataDirectoryForeign(
            f"{path} holds other things ({min(strangers)}): choose an empty directory with --data-dir"
        )
    # LevelDB names its tables and logs in CURRENT's manifest, and would delete them if it began anew here.
    if any(name.endswith((".ldb", ".sst", ".log")) for name in tables):
        raise DataDirectoryDamaged(f"{ledger / 'CURRENT'} is missing: restore the directory from a copy")
    return True
