"""Home of a chain of signed headers for tests of light verification: sets of validators that change by epoch."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from chain.codec import block_hash
from chain.crypto import address_of, sha256
from chain.genesis import Genesis
from chain.light import Rules, Trusted, rules_of, trust_block
from chain.light_blocks import LightBlock, Members
from chain.transition import validators_hash
from chain.types import EMPTY_BLOOM, Header
from chain.vote_signatures import VoteSignatures, sign_vote
from consensus.types import BlockId, Commit, Height, Round, Vote, VoteKind, Voter
from tests.chain.ledger_world import network

GENESIS = network()
KEYS = {address_of(key): key for key in (sha256(b"validator %d" % number) for number in range(12))}
ADDRESSES = tuple(KEYS)
EPOCH = 5
STEP_MS = 1000


def members_of(height: int) -> Members:
    """Who votes on `height`: four validators, one of whom is replaced each epoch."""
    first = height // EPOCH % 9
    return tuple(sorted((address, 10) for address in ADDRESSES[first : first + 4]))


def signed(header: Header, signers: Members, genesis: Genesis = GENESIS, round_: int = 0) -> Commit:
    """A commit of a header by these validators."""
    signatures = []
    for address, _ in sorted(signers):
        vote = Vote(
            height=Height(header.height),
            round=Round(round_),
            kind=VoteKind.PRECOMMIT,
            block_id=BlockId(block_hash(header)),
            voter=Voter(address),
        )
        signatures.append((Voter(address), sign_vote(vote.sign_bytes(genesis.hash), KEYS[address])))
    return Commit(
        height=Height(header.height),
        round=Round(round_),
        block_id=BlockId(block_hash(header)),
        signatures=tuple(signatures),
    )


class HeaderChain:
    """Light blocks of heights 1 to `length`."""

    def __init__(self, length: int, state_root: bytes = bytes(32)) -> None:
        self.blocks: dict[int, LightBlock] = {}
        parent = bytes(32)
        for height in range(1, length + 1):
            header = header_of(height, parent, state_root)
            parent = block_hash(header)
            voters = members_of(height)
            self.blocks[height] = LightBlock(
                header=header,
                commit=signed(header, voters),
                validators=voters,
                next_validators=members_of(height + 1),
            )

    def trusted(self, height: int) -> Trusted:
        block = self.blocks[height]
        return trust_block(block, height, block_hash(block.header))

    def now_ms(self, height: int | None = None) -> int:
        return self.blocks[height or max(self.blocks)].header.time_ms


def header_of(height: int, parent: bytes, state_root: bytes = bytes(32)) -> Header:
    zero = bytes(32)
    return Header(
        chain_id=GENESIS.chain_id,
        height=height,
        time_ms=1_000_000 + height * STEP_MS,
        parent=parent,
        proposer=members_of(height)[0][0],
        transactions_root=zero,
        receipts_root=zero,
        state_root=state_root,
        weights_root=zero,
        last_commit_root=hashlib.sha256(b"").digest(),
        validators_hash=validators_hash(members_of(height)),
        next_validators_hash=validators_hash(members_of(height + 1)),
        gas_used=0,
        gas_limit=1,
        base_fee=1,
        logs_bloom=EMPTY_BLOOM,
    )


def rules(period_ms: int | None = 10**9) -> Rules:
    return replace(rules_of(GENESIS, VoteSignatures(GENESIS.hash).signers_of), trust_period_ms=period_ms)
