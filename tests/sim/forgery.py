"""Home of what liars make: blocks that no rule allows, second blocks, and commits that decide nothing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from chain.codec import block_hash, decode_block, encode_block
from chain.merkle import list_root
from chain.network.messages import Blocks
from chain.replication.events import SendBlocks
from chain.types import Block
from consensus import codec
from consensus.codec import InvalidEncoding
from consensus.types import BlockId, Commit, Vote, VoteKind
from tests.sim import task

if TYPE_CHECKING:
    from tests.sim.liar import Liar

RUBBISH_BYTES = 1_000
_ROOTS = ("state_root", "receipts_root", "weights_root", "next_validators_hash", "validators_hash", "parent")


def encoded(block: Block) -> bytes:
    return encode_block(block)


def bad_block(block: Block, rng: random.Random, somebody: bytes) -> Block:
    """The block with one thing wrong."""
    return rng.choice(_FORGERIES)(block, rng, somebody)


def another_block(block: Block, rng: random.Random) -> Block:
    """A block as good as this one, of another time."""
    return replace(block, header=replace(block.header, time_ms=block.header.time_ms + rng.randint(1, 50)))


def _wrong_root(block: Block, rng: random.Random, _: bytes) -> Block:
    return replace(block, header=replace(block.header, **{rng.choice(_ROOTS): rng.randbytes(32)}))


def _wrong_number(block: Block, rng: random.Random, _: bytes) -> Block:
    field = rng.choice(("gas_used", "gas_limit", "base_fee", "height"))
    return replace(block, header=replace(block.header, **{field: getattr(block.header, field) + 1}))


def _wrong_time(block: Block, rng: random.Random, _: bytes) -> Block:
    time_ms = rng.choice((task.GENESIS_TIME_MS, block.header.time_ms + 60_000))
    return replace(block, header=replace(block.header, time_ms=time_ms))


def _wrong_proposer(block: Block, rng: random.Random, somebody: bytes) -> Block:
    return replace(block, header=replace(block.header, proposer=rng.choice((somebody, rng.randbytes(20)))))


def _rubbish(block: Block, rng: random.Random, _: bytes) -> Block:
    return _with_transactions(block, (*block.transactions, rng.randbytes(100)))


def _oversized(block: Block, rng: random.Random, _: bytes) -> Block:
    count = task.PARAMETERS["block_bytes_max"] // RUBBISH_BYTES + 2
    return _with_transactions(block, tuple(rng.randbytes(RUBBISH_BYTES) for _ in range(count)))


def _twice(block: Block, rng: random.Random, _: bytes) -> Block:
    return _with_transactions(
        block, (*block.transactions, *block.transactions[:1], *([b""] * (not block.transactions)))
    )


def _reordered(block: Block, rng: random.Random, _: bytes) -> Block:
    """Other transactions than the header says."""
    return replace(block, transactions=(*block.transactions, b"\x02"))


def _thin_commit(block: Block, rng: random.Random, _: bytes) -> Block:
    """A last commit that lacks signatures, or has wrong ones."""
    try:
        commit = codec.decode_commit(block.last_commit)
    except InvalidEncoding:
        return _wrong_root(block, rng, b"")
    kept = commit.signatures[: len(commit.signatures) // 2]
    forged = tuple((voter, rng.randbytes(64) + b"\0") for voter, _ in commit.signatures)
    last_commit = codec.encode_commit(replace(commit, signatures=rng.choice((kept, forged))))
    root = hashlib.sha256(last_commit).digest()
    return replace(block, header=replace(block.header, last_commit_root=root), last_commit=last_commit)


def _with_transactions(block: Block, transactions: tuple[bytes, ...]) -> Block:
    header = replace(block.header, transactions_root=list_root(transactions))
    return replace(block, header=header, transactions=transactions)


_FORGERIES: tuple[Callable[[Block, random.Random, bytes], Block], ...] = (
    _wrong_root, _wrong_number, _wrong_time, _wrong_proposer, _rubbish, _oversized, _twice, _reordered, _thin_commit,
)  # fmt: skip


def forged_blocks(asked: SendBlocks, found: tuple[bytes, bytes], liar: Liar) -> Blocks:
    """An answer with one block, which was decided or not, and a commit that does not decide it."""
    encoded_block, encoded_commit = found
    rng, commit = liar.world.rng, codec.decode_commit(encoded_commit)
    match rng.randrange(4):
        case 0:  # too few
            commit = replace(commit, signatures=commit.signatures[: len(commit.signatures) // 2])
        case 1:  # somebody else's names over the liar's own signature
            commit = _signed_alone(commit, liar)
        case 2:  # another block
            other = another_block(decode_block(encoded_block), rng)
            encoded_block = encode_block(other)
            liar.world.checkers.block_made(block_hash(other.header), encoded_block)
            commit = replace(commit, block_id=BlockId(block_hash(other.header)))
        case 3:  # another block, signed by those that lie
            other = another_block(decode_block(encoded_block), rng)
            encoded_block = encode_block(other)
            commit = replace(commit, block_id=BlockId(block_hash(other.header)))
            own = (liar.voter, liar.sign_vote(_precommit(commit, liar.voter)))
            commit = replace(commit, signatures=(own,))
    return Blocks(id=asked.id, first=asked.first, blocks=((encoded_block, codec.encode_commit(commit)),))


def _signed_alone(commit: Commit, liar: Liar) -> Commit:
    signatures = tuple((voter, liar.sign_vote(_precommit(commit, voter))) for voter, _ in commit.signatures)
    return replace(commit, signatures=signatures)


def _precommit(commit: Commit, voter: bytes) -> Vote:
    return Vote(
        height=commit.height,
        round=commit.round,
        kind=VoteKind.PRECOMMIT,
        block_id=commit.block_id,
        voter=voter,  # type: ignore[arg-type]
    )
