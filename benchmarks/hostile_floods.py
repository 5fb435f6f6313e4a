"""Home of what a flooding peer says: valid messages of the costliest kinds, each as large as its rate has bytes for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle, islice

from benchmarks.hostile_connection import on_the_wire
from chain.network.limits import BURST_S, FLOOD_FACTOR, RATES
from chain.network.messages import (
    BITMAP_BYTES_MAX,
    BLOCKS_MAX,
    HAVE_BLOBS_MAX,
    STATUS_PROPOSALS_MAX,
    Blocks,
    GetBlobChunk,
    GetBlocks,
    GetLightBlock,
    GetPeers,
    GetProposal,
    GetSnapshotChunk,
    GetTransactions,
    HaveBlobs,
    HaveProposal,
    Kind,
    KnownVotes,
    Message,
    NotHeld,
    Status,
    TransactionHashes,
    Transactions,
    Votes,
    encode,
)
from chain.network.peer import REQUEST_ID_FIRST
from consensus.codec import encode_vote
from consensus.types import BlockId, Height, Round, Vote, VoteKind, Voter

EXCESS = 10  # times the allowed rate
UNUSUAL_RATES = {
    Kind.HAVE_PROPOSAL: 100,
    Kind.GET_PROPOSAL: 100,
}  # frames a second of kinds without a rate of their own
VARIETY = 400  # different frames of a kind, said again and again
WRITES_A_SECOND = 20
HASH_BYTES = 34  # of one in a frame
SIGNATURE = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798") + b"\x11" * 32 + b"\0"
"""It recovers to some key, at full cost: the point that it names is the curve's generator."""
_ids = count(REQUEST_ID_FIRST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One kind of message: what to write next, and how often a second to write it for ten times the allowed rate."""

    frames: int  # in each write
    writes_per_second: float
    writes: Iterator[bytes]


def flow(kind: Kind, make: Callable[[int], Message]) -> Flow:
    """`make(bytes)` gives a message of about so many bytes: the frames that fill both rates of its kind."""
    rate = RATES.get(kind)
    frames_per_second = rate.frames_per_second if rate else UNUSUAL_RATES[kind]
    frame_bytes = int(rate.bytes_per_second / rate.frames_per_second) if rate else 1 << 10
    at_once = max(1, min(int(EXCESS * frames_per_second / WRITES_A_SECOND), int(FLOOD_FACTOR * BURST_S)))
    made = [make(frame_bytes) for _ in range(max(VARIETY // at_once, 1) * at_once)]
    # A frame that came out larger than its share is said less often.
    fill = max(1.0, len(encode(made[0])) / frame_bytes)
    groups = [on_the_wire(islice(made, at, at + at_once)) for at in range(0, len(made), at_once)]
    return Flow(frames=at_once, writes_per_second=EXCESS * frames_per_second / fill / at_once, writes=cycle(groups))


def gossip() -> list[Flow]:
    """Hashes of transactions that do not exist, and blobs that nobody wants."""
    return [
        flow(Kind.TRANSACTION_HASHES, lambda size: TransactionHashes(hashes=_hashes(size))),
        flow(Kind.HAVE_BLOBS, lambda size: HaveBlobs(roots=_hashes(size)[:HAVE_BLOBS_MAX])),
    ]


def answers() -> list[Flow]:
    """Transactions, blocks and chunks that nobody has asked for."""
    return [
        flow(Kind.TRANSACTIONS, lambda size: Transactions(id=next(_ids), raws=(secrets.token_bytes(size - 64),))),
        flow(Kind.NOT_HELD, lambda _: NotHeld(id=next(_ids))),
        flow(Kind.BLOCKS, lambda size: Blocks(id=1, first=1, blocks=((secrets.token_bytes(size - 64), b""),))),
    ]


def consensus(height: int) -> list[Flow]:
    """Votes in nobody's name, the fullest Status, proposals that do not exist, all near the height."""
    return [
        flow(Kind.VOTES, lambda size: Votes(votes=tuple(_vote(height) for _ in range(size // 140)))),
        flow(Kind.STATUS, lambda size: _status(height, size)),
        flow(Kind.HAVE_PROPOSAL, lambda _: HaveProposal(height=height, round=0, block_id=secrets.token_bytes(32))),
        flow(Kind.GET_PROPOSAL, lambda _: GetProposal(height=height, round=0, block_id=secrets.token_bytes(32))),
    ]


def questions(height: int) -> list[Flow]:
    """All questions that a node answers from its memory or its disk."""
    return [
        flow(Kind.GET_BLOCKS, lambda _: GetBlocks(id=next(_ids), first=_any_below(height), count=BLOCKS_MAX)),
        flow(Kind.GET_LIGHT_BLOCK, lambda _: GetLightBlock(id=next(_ids), height=_any_below(height))),
        flow(Kind.GET_TRANSACTIONS, lambda size: GetTransactions(id=next(_ids), hashes=_hashes(size))),
        flow(Kind.GET_BLOB_CHUNK, lambda _: GetBlobChunk(id=next(_ids), root=_hashes(34)[0], task=b"", index=0)),
        flow(Kind.GET_SNAPSHOT_CHUNK, lambda _: GetSnapshotChunk(id=next(_ids), height=0, start=0)),
        flow(Kind.GET_PEERS, lambda _: GetPeers(id=next(_ids))),
    ]


def forged_votes(height: int, voters: tuple[bytes, ...], votes: int) -> Votes:
    """Votes in validators' names that they did not sign: each costs whoever takes it a signature's check."""
    return Votes(
        votes=tuple(_vote(height, voters[place % len(voters)], place // len(voters)) for place in range(votes))
    )


def _vote(height: int, voter: bytes = b"", round_: int = 0) -> bytes:
    return encode_vote(
        Vote(
            height=Height(height),
            round=Round(round_ // 2 % 2),
            kind=VoteKind.PREVOTE,
            block_id=BlockId(secrets.token_bytes(32)),
            voter=Voter(voter or secrets.token_bytes(20)),
            signature=SIGNATURE,
        )
    )


def _status(height: int, size: int) -> Status:
    row_bytes = BITMAP_BYTES_MAX + 40
    rows = (size - STATUS_PROPOSALS_MAX * 36 - 64) // row_bytes
    return Status(
        height=height,
        round=0,
        oldest_block=1,
        votes=tuple(
            KnownVotes(round=0, kind=1, block_id=secrets.token_bytes(32), voters=bytes(BITMAP_BYTES_MAX))
            for _ in range(max(0, rows))
        ),
        proposals=tuple((0, secrets.token_bytes(32)) for _ in range(STATUS_PROPOSALS_MAX)),
    )


def _hashes(size: int) -> tuple[bytes, ...]:
    return tuple(secrets.token_bytes(32) for _ in range(max(1, size // HASH_BYTES)))


def _any_below(height: int) -> int:
    return 1 + secrets.randbelow(max(1, height - 1))
