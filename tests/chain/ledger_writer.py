"""Blocks whose every record follows from their height, and a process that commits them until it is killed."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TypedDict

from chain.storage.store import Store

KEYS = 40


class Commit(TypedDict):
    """What `Store.commit_block` takes."""

    height: int
    block_hash: bytes
    header: bytes
    block: bytes
    receipts: bytes
    transaction_hashes: list[bytes]
    changes: dict[bytes, bytes | None]
    meta: dict[str, bytes]


def digest(name: str, height: int, index: int = 0) -> bytes:
    return hashlib.sha256(f"{name} {height} {index}".encode()).digest()


def commit_of(height: int, block_bytes: int = 3000) -> Commit:
    """Block `height`: it sets a third of the keys, deletes a few, and names its height everywhere."""
    changes: dict[bytes, bytes | None] = {}
    for index in range(KEYS):
        choice = digest("choice", height, index)[0] % 6
        if choice < 3:
            changes[b"k%d" % index] = None if choice == 2 else b"%d %d" % (height, index)
    return Commit(
        height=height,
        block_hash=digest("block", height),
        header=b"header %d" % height,
        block=digest("content", height) * (block_bytes // 32),
        receipts=b"receipts %d" % height,
        transaction_hashes=[digest("transaction", height, index) for index in range(height % 5)],
        changes=changes,
        meta={"commit": b"commit %d" % height, f"height {height % 3}": b"%d" % height},
    )


def state_at(height: int) -> dict[bytes, bytes]:
    """The state after blocks 0 to `height`."""
    state: dict[bytes, bytes] = {}
    for number in range(height + 1):
        for key, value in commit_of(number)["changes"].items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
    return state


def commit_until_killed(path: Path) -> None:
    """Commits on and on, saying each height only after it is committed."""
    with Store.open(path, create=True) as store:
        tip = store.tip()
        height = 0 if tip is None else tip + 1
        while True:
            store.commit_block(**commit_of(height))
            print(height, flush=True)
            height += 1


if __name__ == "__main__":
    commit_until_killed(Path(sys.argv[1]))
