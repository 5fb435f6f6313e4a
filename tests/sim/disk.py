"""Home of the simulated disk: what is not synced may be lost or torn at any byte by a crash."""

from __future__ import annotations

import random

from tests.sim.store import MemoryStore


class Disk:
    """A vote log that is appended to, a ledger, and blobs; all outlive the node that writes them.

    `durable` is what a crash cannot take of the log. `pending` was written and not synced.
    """

    def __init__(self, ledger: MemoryStore, blobs: dict[bytes, bytes]) -> None:
        self.durable = b""
        self.pending = b""
        self.ledger = ledger
        self.blobs = dict(blobs)
        self._fresh = ledger.clone()
        self._fresh_blobs = dict(blobs)

    def write(self, data: bytes) -> None:
        """Make this all that was written and not synced."""
        self.pending = data

    def sync(self) -> None:
        self.durable += self.pending
        self.pending = b""

    def replace(self, data: bytes) -> None:
        """Write beside, sync, rename, sync the folder: all or nothing."""
        self.durable, self.pending = data, b""

    def truncate(self, length: int) -> None:
        self.durable = self.durable[:length]

    def lose_log(self) -> None:
        """The log's file is gone."""
        self.durable = self.pending = b""

    def lose_all(self) -> None:
        """An empty disk with the genesis file."""
        self.lose_log()
        self.ledger, self.blobs = self._fresh.clone(), dict(self._fresh_blobs)

    def crash(self, rng: random.Random) -> None:
        """Lose power: of the unsynced bytes some prefix is there, or all but a hole, or with rubbish, or nothing."""
        survived = self.pending[: rng.randint(0, len(self.pending))] if self.pending else b""
        match rng.randrange(5):
            case 0:
                survived += bytes(len(self.pending) - len(survived))  # allocated, never written
            case 1:
                survived += rng.randbytes(len(self.pending) - len(survived))
            case 2:
                survived = b""
            case 3 if self.pending:
                start = rng.randrange(len(self.pending))  # a lost page: what follows it is there
                end = rng.randint(start + 1, len(self.pending))
                survived = self.pending[:start] + bytes(end - start) + self.pending[end:]
        self.durable += survived
        self.pending = b""
        self.ledger.crash(rng)
