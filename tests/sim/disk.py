"""Home of the simulated disk: what is not synced may be lost or torn at any byte by a crash."""

import random


class Disk:
    """One file that is appended to, and one atomic store; both outlive the node that writes them.

    `durable` is what a crash cannot take. `pending` was written and not synced.
    """

    def __init__(self) -> None:
        self.durable = b""
        self.pending = b""
        self.blocks: list[tuple[bytes, object]] = []
        self.pending_blocks: list[tuple[bytes, object]] = []

    def append(self, data: bytes) -> None:
        self.pending += data

    def sync(self) -> None:
        self.durable += self.pending
        self.pending = b""

    def replace(self, data: bytes) -> None:
        """Write beside, sync, rename, sync the folder: all or nothing."""
        self.durable, self.pending = data, b""

    def truncate(self, length: int) -> None:
        self.durable = self.durable[:length]

    def put_block(self, block: bytes, commit: object) -> None:
        self.pending_blocks.append((block, commit))

    def sync_blocks(self) -> None:
        self.blocks += self.pending_blocks
        self.pending_blocks = []

    def crash(self, rng: random.Random) -> None:
        """Lose power: of the unsynced bytes some prefix is there, or their length with rubbish in it, or nothing."""
        survived = self.pending[: rng.randint(0, len(self.pending))] if self.pending else b""
        match rng.randrange(4):
            case 0:
                survived += bytes(len(self.pending) - len(survived))  # allocated, never written
            case 1:
                survived += rng.randbytes(len(self.pending) - len(survived))
            case 2:
                survived = b""
        self.durable += survived
        self.pending = b""
        if self.pending_blocks and rng.random() < 0.5:  # an atomic batch is there or not
            self.sync_blocks()
        self.pending_blocks = []
