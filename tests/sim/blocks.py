"""Home of the simulated chain's blocks: just enough of a ledger that a block can be right, wrong or too new.

The real ledger can take this place: it needs `build`, `judge` and an id.
"""

import hashlib
import json
from dataclasses import dataclass

from consensus.types import BlockId

TIME_AHEAD_MS_MAX = 10_000
GENESIS = BlockId(hashlib.sha256(b"genesis of the simulated chain").digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`valid` depends on block and parent alone, `fresh_ok` on the judge's clock."""

    valid: bool
    fresh_ok: bool


def build(*, height: int, parent: BlockId, time_ms: int, nonce: int, right: bool) -> bytes:
    return json.dumps([height, parent.hex(), time_ms, nonce, right]).encode()


def block_id(block: bytes) -> BlockId:
    return BlockId(hashlib.sha256(block).digest())


def judge(block: bytes, *, height: int, parent: BlockId, clock_ms: int) -> Verdict:
    found_height, found_parent, time_ms, _, right = json.loads(block)
    valid = right and (found_height, found_parent) == (height, parent.hex())
    return Verdict(valid=valid, fresh_ok=time_ms <= clock_ms + TIME_AHEAD_MS_MAX)
