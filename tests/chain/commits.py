"""Home of commits made for tests: the precommits of some keys for a block, as a network would have decided it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from chain.codec import block_hash
from chain.crypto import address_of
from chain.types import Header
from chain.vote_signatures import sign_vote
from consensus.codec import encode_commit
from consensus.types import BlockId, Commit, Height, Round, Vote, VoteKind, Voter


def commit_of(header: Header, genesis_hash: bytes, keys: Iterable[bytes], *, round_: int = 0) -> Commit:
    """The commit of a block with the precommits of these keys."""
    vote = Vote(
        height=Height(header.height),
        round=Round(round_),
        kind=VoteKind.PRECOMMIT,
        block_id=BlockId(block_hash(header)),
        voter=Voter(bytes(20)),
    )
    signed = [(Voter(address_of(key)), sign_vote(vote.sign_bytes(genesis_hash), key)) for key in keys]
    return Commit(
        height=vote.height, round=vote.round, block_id=BlockId(block_hash(header)), signatures=tuple(sorted(signed))
    )


def last_commit(header: Header, genesis_hash: bytes, *keys: bytes) -> bytes:
    """What the block after `header` carries; nothing after genesis."""
    return encode_commit(commit_of(header, genesis_hash, keys)) if header.height else b""


def with_signature(commit: Commit, voter: bytes, signature: bytes) -> Commit:
    """The commit with another signature beside a voter, who is added if it has none."""
    signatures = dict(commit.signatures) | {Voter(voter): signature}
    return replace(commit, signatures=tuple(sorted(signatures.items())))
