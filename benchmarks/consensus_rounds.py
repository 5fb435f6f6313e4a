"""Home of the rounds that blocks took, from the store of a node that has ended: a block has its parent's commit."""

from __future__ import annotations

from pathlib import Path

from chain.codec import decode_block
from chain.storage.store import Store
from consensus import codec


def rounds_by_height(data: Path) -> dict[int, int]:
    """Height -> the round that decided it, for every block with a commit."""
    found = {}
    with Store.open(data, create=False) as store:
        tip = store.tip() or 0
        for height in range(2, tip + 1):
            encoded = store.block(height)
            if encoded is not None:
                commit = codec.decode_commit(decode_block(encoded).last_commit)
                found[int(commit.height)] = int(commit.round)
        last = store.meta("commit")
        if last:
            found[tip] = int(codec.decode_commit(last).round)
    return found
