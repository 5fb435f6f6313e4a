"""Home of what a miner must never forget: the keys of its updates, synced before their commits are sent."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from chain.errors import LyceumError
from chain.storage.datadir import storage_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sealed update. Bytes are hexadecimal; `done` once its round has ended and it was told."""

    task: str
    round: int
    base: str
    sealed_root: str
    key: str
    done: bool = False


class Journal:
    """Entries as files `TASK-ROUND.json` with their sealed blobs beside them; a crash leaves whole files or none."""

    def __init__(self, directory: Path) -> None:
        """Opens or creates the directory. Raises StorageFailed, LyceumError for a damaged entry."""
        self._directory = directory
        self._entries: dict[tuple[str, int], Entry] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            paths = sorted(directory.glob("*.json"))
        except OSError as error:
            raise storage_error(f"can't use {directory}", error) from error
        for path in paths:
            try:
                entry = Entry(**json.loads(path.read_text()))
            except (OSError, ValueError, TypeError) as error:
                raise LyceumError(f"{path} is damaged: restore it, or move it away and lose its bond") from error
            self._entries[entry.task, entry.round] = entry

    def get(self, task: str, round_number: int) -> Entry | None:
        return self._entries.get((task, round_number))

    def open_entries(self, task: str) -> list[Entry]:
        """Those of a task whose rounds have not ended, oldest first."""
        return sorted((e for e in self._entries.values() if e.task == task and not e.done), key=lambda e: e.round)

    def sealed(self, entry: Entry) -> bytes:
        return self._path(entry, ".sealed").read_bytes()

    def add(self, entry: Entry, sealed: bytes) -> None:
        """Keep a new update; on the disk when this returns."""
        self._write(self._path(entry, ".sealed"), sealed)
        self._write(self._path(entry, ".json"), json.dumps(asdict(entry)).encode())
        self._entries[entry.task, entry.round] = entry

    def finish(self, entry: Entry) -> None:
        """The round has ended: its blob is the chain's to keep now."""
        done = Entry(**{**asdict(entry), "done": True})
        self._write(self._path(entry, ".json"), json.dumps(asdict(done)).encode())
        self._path(entry, ".sealed").unlink(missing_ok=True)
        self._entries[entry.task, entry.round] = done

    def _path(self, entry: Entry, suffix: str) -> Path:
        return self._directory / f"{entry.task.removeprefix('0x')[:16]}-{entry.round:06d}{suffix}"

    def _write(self, path: Path, data: bytes) -> None:
        beside = path.with_suffix(".new")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
            descriptor = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(f"can't write {path}", error) from error
