"""Home of what validators say in tests of replicas: keys, blocks, votes, proposals and commits, really signed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chain.codec import block_hash, encode_block, encode_header
from chain.crypto import address_of, keccak256, sha256
from chain.merkle import list_root
from chain.network.messages import CompactProposal, Votes, WholeProposal
from chain.signing import Fields, sign_transaction
from chain.transactions import Transaction
from chain.types import EMPTY_BLOOM, Block, Header
from chain.vote_signatures import VoteSignatures, sign_vote
from consensus import proposer
from consensus.codec import encode_commit, encode_proposal, encode_vote
from consensus.types import BlockId, Commit, Height, Proposal, Round, ValidatorSet, Vote, VoteKind, Voter

GENESIS = sha256(b"genesis of the tests of replicas")
KEYS = tuple(sorted((sha256(b"vote key %d" % number) for number in range(7)), key=address_of))
ADDRESSES = tuple(Voter(address_of(key)) for key in KEYS)
SENDER = sha256(b"sender")
START_MS = 1_000_000
BAD_GAS = 666
"""A block that says it used so much gas is invalid here, as if executing it gave another figure."""

SIGNATURES = VoteSignatures(GENESIS)


def recover(signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
    return SIGNATURES.signers([(keccak256(message), signature) for message, signature in signed])


def node_id(index: int) -> bytes:
    return bytes([0xA0 + index]) * 20


def validators(count: int) -> ValidatorSet:
    return ValidatorSet(members=tuple((address, 10) for address in ADDRESSES[:count]))


def transfer(nonce: int) -> Transaction:
    fields = Fields(
        kind=2, chain_id=1, nonce=nonce, max_priority_fee_per_gas=1, max_fee_per_gas=10, gas_limit=21_000, to=bytes(20)
    )
    return sign_transaction(fields, SENDER)


def block_of(
    height: int, parent: bytes, time_ms: int, transactions: Sequence[bytes] = (), last_commit: bytes = b"", gas: int = 0
) -> Block:
    header = Header(
        chain_id=1,
        height=height,
        time_ms=time_ms,
        parent=parent,
        proposer=bytes(20),
        transactions_root=list_root(tuple(transactions)),
        receipts_root=bytes(32),
        state_root=bytes(32),
        weights_root=bytes(32),
        last_commit_root=hashlib.sha256(last_commit).digest(),
        validators_hash=bytes(32),
        next_validators_hash=bytes(32),
        gas_used=gas,
        gas_limit=0,
        base_fee=0,
        logs_bloom=EMPTY_BLOOM,
    )
    return Block(header=header, transactions=tuple(transactions), last_commit=last_commit)


def vote(
    kind: VoteKind, voter: int, block_id: bytes | None = None, *, height: int = 1, round_: int = 0, key: bytes = b""
) -> Vote:
    """A vote of the validator with this number, signed with its key or another."""
    unsigned = Vote(
        height=Height(height),
        round=Round(round_),
        kind=kind,
        block_id=BlockId(block_id) if block_id is not None else None,
        voter=ADDRESSES[voter],
    )
    return replace(unsigned, signature=sign_vote(unsigned.sign_bytes(GENESIS), key or KEYS[voter]))


def id_of(block: Block) -> bytes:
    return block_hash(block.header)


def votes_of(*votes: Vote) -> Votes:
    return Votes(votes=tuple(encode_vote(each) for each in votes))


def proposer_of(height: int, round_: int = 0, count: int = 4) -> int:
    """The number of the validator whose turn it is."""
    of = validators(count)
    return ADDRESSES.index(proposer.proposer(of, proposer.after(of, height - 1), Round(round_)))


def proposal_of(block: Block, *, round_: int = 0, valid_round: int = -1, by: int | None = None) -> Proposal:
    """A signed proposal of a block, by whose turn it is or by another."""
    height = block.header.height
    who = proposer_of(height, round_) if by is None else by
    unsigned = Proposal(
        height=Height(height),
        round=Round(round_),
        block_id=BlockId(block_hash(block.header)),
        valid_round=valid_round,
        proposer=ADDRESSES[who],
    )
    return replace(unsigned, signature=sign_vote(unsigned.sign_bytes(GENESIS), KEYS[who]))


def compact(block: Block, **given: Any) -> CompactProposal:
    return CompactProposal(
        proposal=encode_proposal(proposal_of(block, **given)),
        header=encode_header(block.header),
        last_commit=block.last_commit,
        hashes=tuple(keccak256(raw) for raw in block.transactions),
    )


def whole(block: Block, **given: Any) -> WholeProposal:
    return WholeProposal(proposal=encode_proposal(proposal_of(block, **given)), block=encode_block(block))


def commit_of(block: Block, *voters: int, round_: int = 0) -> Commit:
    """The commit of a block by these validators."""
    height, id_ = block.header.height, block_hash(block.header)
    signed = [vote(VoteKind.PRECOMMIT, voter, id_, height=height, round_=round_) for voter in voters]
    return Commit(
        height=Height(height),
        round=Round(round_),
        block_id=BlockId(id_),
        signatures=tuple((each.voter, each.signature) for each in signed),
    )


def chain_of(length: int, voters: Sequence[int] = (0, 1, 2)) -> list[tuple[Block, Commit]]:
    """Decided blocks."""
    found: list[tuple[Block, Commit]] = []
    for height in range(1, length + 1):
        parent = block_hash(found[-1][0].header) if found else bytes(32)
        last = encode_commit(found[-1][1]) if found else b""
        block = block_of(height, parent, START_MS + height, last_commit=last)
        found.append((block, commit_of(block, *voters)))
    return found
