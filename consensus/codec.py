"""Home of consensus' canonical encodings: fixed-order msgpack arrays in which one value has one encoding.

Every `decode_...` raises InvalidEncoding for bytes that no `encode_...` makes, before it allocates much.
"""

from itertools import pairwise
from typing import Any, Final

import msgpack

from consensus.types import (
    BLOCK_ID_BYTES,
    HEIGHT_MAX,
    NO_ROUND,
    POWER_MAX,
    ROUND_MAX,
    SIGNATURE_BYTES_MAX,
    VALIDATORS_MAX,
    VOTER_BYTES,
    BlockId,
    Commit,
    Equivocation,
    Height,
    InvalidConsensus,
    Proposal,
    Round,
    ValidatorSet,
    Vote,
    VoteKind,
    Voter,
    minimal_bytes,
    pack,
)

VOTE_BYTES_MAX: Final = 160
PROPOSAL_BYTES_MAX: Final = 160
EQUIVOCATION_BYTES_MAX: Final = 2 * VOTE_BYTES_MAX + 8
VALIDATORS_BYTES_MAX: Final = 64 + VALIDATORS_MAX * (VOTER_BYTES + 32)


def commit_bytes_max(validators: int) -> int:
    """The most bytes of the encoded commit of so many validators."""
    return 64 + validators * (VOTER_BYTES + SIGNATURE_BYTES_MAX + 8)


COMMIT_BYTES_MAX: Final = commit_bytes_max(VALIDATORS_MAX)


class InvalidEncoding(InvalidConsensus):
    """Bytes that are not the one encoding of a value."""


def encode_vote(vote: Vote) -> bytes:
    """[height, round, kind, block id or nil, voter, signature]."""
    return pack(vote_fields(vote))


def decode_vote(data: bytes) -> Vote:
    """The vote whose encoding is `data`."""
    return vote_from(unpack(data, VOTE_BYTES_MAX))


def encode_proposal(proposal: Proposal) -> bytes:
    """[height, round, block id, valid round, proposer, signature]."""
    return pack(proposal_fields(proposal))


def decode_proposal(data: bytes) -> Proposal:
    """The proposal whose encoding is `data`."""
    return proposal_from(unpack(data, PROPOSAL_BYTES_MAX))


def encode_validators(validators: ValidatorSet) -> bytes:
    """[[voter, power as minimal big-endian bytes], ...] by ascending address."""
    return pack([[voter, minimal_bytes(power)] for voter, power in validators.members])


def decode_validators(data: bytes) -> ValidatorSet:
    """The set whose encoding is `data`."""
    members = []
    for entry in _rows(unpack(data, VALIDATORS_BYTES_MAX), "validators"):
        voter, power = _array(entry, 2, "a validator")
        members.append((_voter(voter), _power(power)))
    try:
        return ValidatorSet(members=tuple(members))
    except InvalidConsensus as error:
        raise InvalidEncoding(str(error)) from error


def encode_commit(commit: Commit) -> bytes:
    """[height, round, block id, [[voter, signature], ...]] by ascending address."""
    rows = [[voter, signature] for voter, signature in commit.signatures]
    return pack([commit.height, commit.round, commit.block_id, rows])


def decode_commit(data: bytes) -> Commit:
    """The commit whose encoding is `data`; who signed, and how much power, is for the caller to check."""
    height, round_, block_id, rows = _array(unpack(data, COMMIT_BYTES_MAX), 4, "a commit")
    signatures = []
    for row in _rows(rows, "signatures"):
        voter, signature = _array(row, 2, "a commit's signature")
        signatures.append((_voter(voter), _signature(signature)))
    voters = [voter for voter, _ in signatures]
    if any(a >= b for a, b in pairwise(voters)):
        raise InvalidEncoding("a commit's signers must be in ascending order of address, each once")
    return Commit(
        height=_height(height),
        round=_round(round_),
        block_id=BlockId(_bytes(block_id, BLOCK_ID_BYTES, "a block id")),
        signatures=tuple(signatures),
    )


def encode_equivocation(evidence: Equivocation) -> bytes:
    """[first vote's fields, second vote's fields]."""
    return pack([vote_fields(evidence.first), vote_fields(evidence.second)])


def decode_equivocation(data: bytes) -> Equivocation:
    """The evidence whose encoding is `data`; the signatures are for the caller to check."""
    first, second = _array(unpack(data, EQUIVOCATION_BYTES_MAX), 2, "an equivocation")
    try:
        return Equivocation(first=vote_from(first), second=vote_from(second))
    except InvalidConsensus as error:
        raise InvalidEncoding(str(error)) from error


# ------------------------------------------------------------------------------- parts shared with the vote log


def unpack(data: bytes, bytes_max: int) -> Any:
    """The value whose `pack` is `data`; InvalidEncoding for anything else."""
    if len(data) > bytes_max:
        raise InvalidEncoding(f"{len(data)} bytes, at most {bytes_max} are allowed")
    try:
        value = msgpack.unpackb(data, raw=False, max_map_len=0, max_ext_len=0, max_str_len=0)
    except Exception as error:
        raise InvalidEncoding(f"not msgpack: {error}") from error
    if pack(value) != data:
        raise InvalidEncoding("not the canonical encoding of its value")
    return value


def vote_fields(vote: Vote) -> list[object]:
    return [vote.height, vote.round, int(vote.kind), vote.block_id, vote.voter, vote.signature]


def vote_from(value: Any) -> Vote:
    height, round_, kind, block_id, voter, signature = _array(value, 6, "a vote")
    if type(kind) is not int or kind not in (VoteKind.PREVOTE, VoteKind.PRECOMMIT):
        raise InvalidEncoding(f"a vote's kind is 1 (prevote) or 2 (precommit), not {kind!r}")
    if block_id is not None:
        block_id = _bytes(block_id, BLOCK_ID_BYTES, "a block id")
    return Vote(
        height=_height(height),
        round=_round(round_),
        kind=VoteKind(kind),
        block_id=block_id,
        voter=_voter(voter),
        signature=_signature(signature),
    )


def proposal_fields(proposal: Proposal) -> list[object]:
    return [
        proposal.height,
        proposal.round,
        proposal.block_id,
        proposal.valid_round,
        proposal.proposer,
        proposal.signature,
    ]


def proposal_from(value: Any) -> Proposal:
    height, round_, block_id, valid_round, proposer, signature = _array(value, 6, "a proposal")
    round_ = _round(round_)
    return Proposal(
        height=_height(height),
        round=round_,
        block_id=BlockId(_bytes(block_id, BLOCK_ID_BYTES, "a block id")),
        valid_round=_integer(valid_round, NO_ROUND, round_ - 1, "a proposal's valid round"),
        proposer=_voter(proposer),
        signature=_signature(signature),
    )


def _array(value: Any, length: int, what: str) -> list[Any]:
    if type(value) is not list or len(value) != length:
        raise InvalidEncoding(f"{what} must be an array of {length}")
    return value


def _rows(value: Any, what: str) -> list[Any]:
    if type(value) is not list or len(value) > VALIDATORS_MAX:
        raise InvalidEncoding(f"{what} must be an array of at most {VALIDATORS_MAX}")
    return value


def _integer(value: Any, minimum: int, maximum: int, what: str) -> int:
    if type(value) is not int or not minimum <= value <= maximum:
        raise InvalidEncoding(f"{what} must be an integer from {minimum} to {maximum}, not {value!r}")
    return value


def _bytes(value: Any, length: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) != length:
        raise InvalidEncoding(f"{what} must be {length} bytes")
    return value


def _height(value: Any) -> Height:
    return Height(_integer(value, 0, HEIGHT_MAX, "a height"))


def _round(value: Any) -> Round:
    return Round(_integer(value, 0, ROUND_MAX, "a round"))


def _voter(value: Any) -> Voter:
    return Voter(_bytes(value, VOTER_BYTES, "a voter's address"))


def _power(value: Any) -> int:
    if type(value) is not bytes or len(value) > 16 or value[:1] == b"\0":
        raise InvalidEncoding("a power must be at most 16 minimal big-endian bytes")
    return _integer(int.from_bytes(value, "big"), 1, POWER_MAX, "a power")


def _signature(value: Any) -> bytes:
    if type(value) is not bytes or len(value) > SIGNATURE_BYTES_MAX:
        raise InvalidEncoding(f"a signature must be at most {SIGNATURE_BYTES_MAX} bytes")
    return value
