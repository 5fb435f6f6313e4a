"""Home of the words of consensus: heights, rounds, votes, proposals, validator sets and commits.

Consensus knows block ids, powers and votes; never a block, an account or a model.
"""

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Final, NewType

import msgpack

Height = NewType("Height", int)
Round = NewType("Round", int)
BlockId = NewType("BlockId", bytes)
"""32 bytes: the hash of a block's header. Nil is None wherever a vote may be for no block."""
Voter = NewType("Voter", bytes)
"""20 bytes: the address of a validator's account."""

BLOCK_ID_BYTES: Final = 32
VOTER_BYTES: Final = 20
SIGNATURE_BYTES_MAX: Final = 65
HEIGHT_MAX: Final = 2**63 - 1
ROUND_MAX: Final = 65_535
"""No height can take so many rounds, as each takes longer than the one before; it bounds rotation's work."""
POWER_MAX: Final = 2**128 - 1
VALIDATORS_MAX: Final = 1_000
NO_ROUND: Final = -1
"""Stands in `valid_round` and `locked_round` for "none", as in the paper."""

VOTE_DOMAIN: Final = b"lyceum/vote/1"
PROPOSAL_DOMAIN: Final = b"lyceum/proposal/1"
VALIDATORS_DOMAIN: Final = b"lyceum/validators/1"


class InvalidConsensus(ValueError):
    """What another node sent breaks a rule of consensus."""


class VoteKind(IntEnum):
    """The two votes of a round."""

    PREVOTE = 1
    PRECOMMIT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A vote for a block, or for nil (None); `signature` is empty until its voter has signed it."""

    height: Height
    round: Round
    kind: VoteKind
    block_id: BlockId | None
    voter: Voter
    signature: bytes = b""

    def sign_bytes(self, genesis: bytes) -> bytes:
        """What the voter signs: (domain, genesis hash, height, round, kind, block id)."""
        return pack([VOTE_DOMAIN, genesis, self.height, self.round, int(self.kind), self.block_id])

    @property
    def slot(self) -> tuple[int, int, int]:
        """(height, round, kind): a voter may sign one vote in each."""
        return self.height, self.round, int(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A round's proposer offers a block; `valid_round` is the round of its polka, or -1 for a fresh block."""

    height: Height
    round: Round
    block_id: BlockId
    valid_round: int
    proposer: Voter
    signature: bytes = b""

    def sign_bytes(self, genesis: bytes) -> bytes:
        """What the proposer signs: (domain, genesis hash, height, round, block id, valid round)."""
        return pack([PROPOSAL_DOMAIN, genesis, self.height, self.round, self.block_id, self.valid_round])


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSet:
    """Who votes in an epoch, by ascending address, with positive voting powers."""

    members: tuple[tuple[Voter, int], ...]
    total: int = field(init=False)
    _powers: dict[Voter, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        voters = [voter for voter, _ in self.members]
        if not 0 < len(voters) <= VALIDATORS_MAX:
            raise InvalidConsensus(f"a set has 1 to {VALIDATORS_MAX} validators, not {len(voters)}")
        if any(a >= b for a, b in pairwise(voters)):
            raise InvalidConsensus("validators must be in ascending order of address, each once")
        for voter, power in self.members:
            if len(voter) != VOTER_BYTES or not 0 < power <= POWER_MAX:
                raise InvalidConsensus(
                    f"validator {voter.hex()} has power {power}: give a {VOTER_BYTES}-byte address"
                    f" and a power from 1 to {POWER_MAX}"
                )
        object.__setattr__(self, "total", sum(power for _, power in self.members))
        object.__setattr__(self, "_powers", dict(self.members))

    def power(self, voter: Voter) -> int:
        """The voting power of an account, 0 if it is no member."""
        return self._powers.get(voter, 0)

    def is_quorum(self, power: int) -> bool:
        """Whether `power` exceeds two thirds of the total (the paper's 2f + 1)."""
        return 3 * power > 2 * self.total

    def is_one_third(self, power: int) -> bool:
        """Whether `power` exceeds a third of the total, so that an honest voter is in it (the paper's f + 1)."""
        return 3 * power > self.total

    def root(self) -> bytes:
        """SHA-256 of the canonical encoding: the header's validators' hash."""
        members = [[voter, minimal_bytes(power)] for voter, power in self.members]
        return hashlib.sha256(pack([VALIDATORS_DOMAIN, members])).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The precommits of one round that decided a block: (voter, signature) by ascending address."""

    height: Height
    round: Round
    block_id: BlockId
    signatures: tuple[tuple[Voter, bytes], ...]

    def votes(self) -> tuple[Vote, ...]:
        """The precommits that the signatures stand for."""
        return tuple(
            Vote(
                height=self.height,
                round=self.round,
                kind=VoteKind.PRECOMMIT,
                block_id=self.block_id,
                voter=voter,
                signature=signature,
            )
            for voter, signature in self.signatures
        )

    def power(self, validators: ValidatorSet) -> int:
        """The power behind the commit. InvalidConsensus where a signer is no member or stands out of order."""
        voters = [voter for voter, _ in self.signatures]
        if any(a >= b for a, b in pairwise(voters)):
            raise InvalidConsensus(f"commit of height {self.height}: signers must ascend, each once")
        for voter in voters:
            if not validators.power(voter):
                raise InvalidConsensus(f"commit of height {self.height}: {voter.hex()} is no validator")
        return sum(validators.power(voter) for voter in voters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivocation:
    """Evidence: two signed votes of one voter in one slot for different blocks."""

    first: Vote
    second: Vote

    def __post_init__(self) -> None:
        same = self.first.voter == self.second.voter and self.first.slot == self.second.slot
        if not same or self.first.block_id == self.second.block_id:
            raise InvalidConsensus(
                "an equivocation is two votes of one voter, height, round and kind for different blocks,"
                f" not {self.first} and {self.second}"
            )


def pack(value: object) -> bytes:
    """Canonical msgpack of nested lists of ints, bytes and nil: integers are shortest by construction."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def minimal_bytes(amount: int) -> bytes:
    """Minimal big-endian bytes; zero is empty."""
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")
