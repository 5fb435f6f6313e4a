"""Home of what simulated nodes tell each other, and of their signatures."""

import hashlib
from dataclasses import dataclass, replace

from consensus.types import Commit, Proposal, Vote, Voter
from tests.sim.blocks import GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A proposal with its block."""

    proposal: Proposal
    block: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a node is and what it has of its height, so that others can send what it lacks.

    Votes are named with the block that they are for: of a voter that lies, both may be needed.
    """

    height: int
    votes: frozenset[tuple[int, int, Voter, bytes | None]]
    proposals: frozenset[tuple[int, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decided block with its commit, for those that are behind."""

    block: bytes
    commit: Commit


Message = Offer | Vote | Status | Decision


def sign(voter: Voter, data: bytes) -> bytes:
    """A stand-in for a signature that nobody forges here: liars sign as themselves only."""
    return hashlib.sha256(b"key of " + voter + data).digest()


def signed_vote(vote: Vote) -> Vote:
    return replace(vote, signature=sign(vote.voter, vote.sign_bytes(GENESIS)))


def signed_proposal(proposal: Proposal) -> Proposal:
    return replace(proposal, signature=sign(proposal.proposer, proposal.sign_bytes(GENESIS)))


def is_signed(message: Vote | Proposal) -> bool:
    voter = message.voter if isinstance(message, Vote) else message.proposer
    return message.signature == sign(voter, message.sign_bytes(GENESIS))
