"""Home of the vote log's format and of what a restarted node knows from it: pure functions of bytes.

The file is a header (magic, 16 bytes of salt) and frames (magic, length, checksum, record), each synced before the
next is written. Records that are synced together share a frame (of a magic of its own, each record after its length),
as a crash may keep any page of what was not synced. So only the last frame can be torn by a crash, and it was never
acted upon: `scan` cuts it whole. A frame that is broken while another follows is damage, and the node must not go on as
if it had not signed what is lost.
The checksum is keyed with the salt, so that nobody can plant a frame within a block's bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from consensus.codec import (
    InvalidEncoding,
    proposal_fields,
    proposal_from,
    unpack,
    vote_fields,
    vote_from,
)
from consensus.events import Memory, Step
from consensus.types import (
    HEIGHT_MAX,
    NO_ROUND,
    VALIDATORS_MAX,
    BlockId,
    Commit,
    Height,
    InvalidConsensus,
    Proposal,
    Round,
    Vote,
    VoteKind,
    Voter,
    pack,
)

HEADER_MAGIC: Final = b"lyceumvl"
SALT_BYTES: Final = 16
HEADER_BYTES: Final = len(HEADER_MAGIC) + SALT_BYTES
FRAME_MAGIC: Final = b"\xf5vl1"
BATCH_MAGIC: Final = b"\xf5vl2"
CHECKSUM_BYTES: Final = 16
FRAME_BYTES: Final = len(FRAME_MAGIC) + 4 + CHECKSUM_BYTES
"""What a frame adds to its record."""
RECORD_BYTES_MAX: Final = 2 << 20
"""Room for a block of 1 MiB and the polka of the largest validator set."""
BATCH_BYTES_MAX: Final = 4 * RECORD_BYTES_MAX
"""Of several records in one frame, with four bytes of length for each."""


class InvalidVoteLog(InvalidConsensus):
    """The vote log is damaged beyond what a crash can do; a node that goes on might contradict its own votes."""


# -------------------------------------------------------------------------------------------------------- the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a file holds: its salt, whole records, and the length in bytes up to which it is whole."""

    salt: bytes
    records: tuple[bytes, ...]
    length: int


def header(salt: bytes) -> bytes:
    """The first bytes of a log; the salt is any 16 bytes that others do not know."""
    assert len(salt) == SALT_BYTES
    return HEADER_MAGIC + salt


def frame(salt: bytes, record: bytes) -> bytes:
    """A record as it stands in the file."""
    assert len(record) <= RECORD_BYTES_MAX
    return FRAME_MAGIC + len(record).to_bytes(4, "big") + _checksum(salt, FRAME_MAGIC, record) + record


def batches(salt: bytes, records: Sequence[bytes]) -> list[bytes]:
    """Records that are written together, as they stand in the file: one frame, or more if they are very long.

    Each frame must be synced before the next is written.
    """
    groups: list[list[bytes]] = []
    size = BATCH_BYTES_MAX
    for record in records:
        assert len(record) <= RECORD_BYTES_MAX
        size += 4 + len(record)
        if size > BATCH_BYTES_MAX:
            groups.append([])
            size = 4 + len(record)
        groups[-1].append(record)
    return [frame(salt, group[0]) if len(group) == 1 else _batch(salt, group) for group in groups]


def _batch(salt: bytes, records: Sequence[bytes]) -> bytes:
    body = b"".join(len(record).to_bytes(4, "big") + record for record in records)
    return BATCH_MAGIC + len(body).to_bytes(4, "big") + _checksum(salt, BATCH_MAGIC, body) + body


def scan(data: bytes) -> Scan:
    """Read a file, cutting a torn last frame; InvalidVoteLog where more than that is wrong."""
    if len(data) < HEADER_BYTES or not data.startswith(HEADER_MAGIC):
        raise InvalidVoteLog("this is no vote log: restore the file, or remove it to abstain at the next height")
    salt = data[len(HEADER_MAGIC) : HEADER_BYTES]
    records: list[bytes] = []
    offset = HEADER_BYTES
    while (body := _frame_at(salt, data, offset)) is not None:
        records += _records_of(body) if data.startswith(BATCH_MAGIC, offset) else [body]
        offset += FRAME_BYTES + len(body)
    _check_torn(salt, data, offset)
    return Scan(salt=salt, records=tuple(records), length=offset)


def _frame_at(salt: bytes, data: bytes, offset: int) -> bytes | None:
    """The whole frame's body, a record or a batch of them; None where there is none."""
    start = offset + FRAME_BYTES
    magic = data[offset : offset + len(FRAME_MAGIC)]
    if len(data) < start or magic not in (FRAME_MAGIC, BATCH_MAGIC):
        return None
    length = int.from_bytes(data[offset + len(FRAME_MAGIC) : offset + len(FRAME_MAGIC) + 4], "big")
    if length > BATCH_BYTES_MAX or len(data) < start + length:
        return None
    body = data[start : start + length]
    return body if _checksum(salt, magic, body) == data[start - CHECKSUM_BYTES : start] else None


def _records_of(batch: bytes) -> list[bytes]:
    """The records of a whole batch: its checksum says that they stand as they were written."""
    records, offset = list[bytes](), 0
    while offset < len(batch):
        end = offset + 4 + int.from_bytes(batch[offset : offset + 4], "big")
        records.append(batch[offset + 4 : end])
        offset = end
    return records


def _check_torn(salt: bytes, data: bytes, offset: int) -> None:
    """Raise where a whole frame follows the broken one at `offset`."""
    magic = FRAME_MAGIC[:-1]  # with which that of a batch begins too
    found = data.find(magic, offset + 1)
    while found >= 0:
        if _frame_at(salt, data, found) is not None:
            raise InvalidVoteLog(
                f"the vote log is damaged at byte {offset} (a whole record follows at {found}): restore the file, or"
                " remove it to abstain at the next height"
            )
        found = data.find(magic, found + 1)


def _checksum(salt: bytes, magic: bytes, body: bytes) -> bytes:
    """Of a body, and of whether it is a record or a batch."""
    person = b"" if magic == FRAME_MAGIC else magic
    return hashlib.blake2b(body, key=salt, digest_size=CHECKSUM_BYTES, person=person).digest()


# ----------------------------------------------------------------------------------------------------- the records


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRecord:
    """An own signed vote."""

    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRecord:
    """An own signed proposal, with its block unless an earlier record has it."""

    proposal: Proposal
    block: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecord:
    """A block with a polka: its proposal, the prevotes, and its bytes unless an earlier record has them."""

    proposal: Proposal
    polka: tuple[Vote, ...]
    block: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedRecord:
    """This key signs nothing at or below a height: it is decided, or the node abstains there."""

    height: Height


Record = VoteRecord | ProposalRecord | KeptRecord | ClosedRecord


def encode_record(record: Record) -> bytes:
    match record:
        case VoteRecord():
            return pack([1, vote_fields(record.vote)])
        case ProposalRecord():
            return pack([2, proposal_fields(record.proposal), record.block])
        case KeptRecord():
            polka = [vote_fields(vote) for vote in record.polka]
            return pack([3, proposal_fields(record.proposal), polka, record.block])
        case ClosedRecord():
            return pack([4, record.height])


def decode_record(data: bytes) -> Record:
    """The record whose encoding is `data`; InvalidEncoding for anything else."""
    value = unpack(data, RECORD_BYTES_MAX)
    match value:
        case [kind, *_] if type(kind) is not int:  # 1.0 and true equal 1, and are encoded otherwise
            raise InvalidEncoding(f"no kind of record: {str(kind)[:80]}")
        case [1, vote]:
            return VoteRecord(vote=vote_from(vote))
        case [2, proposal, bytes() as block]:
            return ProposalRecord(proposal=proposal_from(proposal), block=block)
        case [3, proposal, list() as polka, bytes() as block] if len(polka) <= VALIDATORS_MAX:
            votes = tuple(vote_from(vote) for vote in polka)
            return KeptRecord(proposal=proposal_from(proposal), polka=votes, block=block)
        case [4, int() as height] if type(height) is int and 0 <= height <= HEIGHT_MAX:
            return ClosedRecord(height=Height(height))
        case other:
            raise InvalidEncoding(f"no record of a vote log: {str(other)[:80]}")


# -------------------------------------------------------------------------------------------------------- recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a node may rely on after a restart.

    It signs nothing at or below `closed`, nor below `height`; at `height` it goes on from `memory`, sends
    `votes` and `proposals` again, and has the bytes of `blocks`. `bytes_used` is at least the length of the records.
    """

    closed: int = -1
    height: int = 0
    memory: Memory | None = None
    votes: tuple[Vote, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    blocks: Mapping[BlockId, bytes] = field(default_factory=dict)
    bytes_used: int = 0


def recover(records: tuple[bytes, ...]) -> Recovered:
    """What the records say of the latest height they speak of; InvalidVoteLog where they contradict each other."""
    decoded = [decode_record(record) for record in records]
    closed = max((r.height for r in decoded if isinstance(r, ClosedRecord)), default=-1)
    voted = [r.vote.height for r in decoded if isinstance(r, VoteRecord)]
    carried = [r.proposal.height for r in decoded if isinstance(r, (ProposalRecord, KeptRecord))]
    height = max([closed + 1, *voted, *carried])
    own = [r.vote for r in decoded if isinstance(r, VoteRecord) and r.vote.height == height]
    made = [r for r in decoded if isinstance(r, ProposalRecord) and r.proposal.height == height]
    kept = [r for r in decoded if isinstance(r, KeptRecord) and r.proposal.height == height]
    slots = {vote.slot for vote in own}
    if len(slots) < len(own) or len({r.proposal.round for r in made}) < len(made):
        raise InvalidVoteLog(f"the vote log holds two votes or proposals for one round of height {height}")
    with_blocks = [(r.proposal.block_id, r.block) for r in made] + [(r.proposal.block_id, r.block) for r in kept]
    blocks = {block_id: block for block_id, block in with_blocks if block}
    if any(block_id not in blocks for block_id, _ in with_blocks):
        raise InvalidVoteLog(f"the vote log lacks a block that it speaks of at height {height}")
    return Recovered(
        closed=closed,
        height=height,
        memory=_remember(own, made, kept),
        votes=tuple(own),
        proposals=tuple(r.proposal for r in made),
        blocks=blocks,
        bytes_used=sum(FRAME_BYTES + len(record) for record in records),
    )


def _remember(own: list[Vote], made: list[ProposalRecord], kept: list[KeptRecord]) -> Memory | None:
    """Round and step of the last own message, the lock of the last own precommit, the block of the last polka."""
    carried = [r.proposal for r in made] + [r.proposal for r in kept]
    proposals = {(proposal.round, proposal.block_id): proposal for proposal in carried}
    if not own and not proposals:
        return None
    last = max([vote.round for vote in own] + [round_ for round_, _ in proposals])
    kinds = [vote.kind for vote in own if vote.round == last]
    step = Step.PRECOMMIT if VoteKind.PRECOMMIT in kinds else Step.PREVOTE if kinds else Step.PROPOSE
    locks = [vote for vote in own if vote.kind == VoteKind.PRECOMMIT and vote.block_id is not None]
    lock = max(locks, key=lambda vote: vote.round, default=None)
    valid = max((r.proposal for r in kept), key=lambda proposal: proposal.round, default=None)
    if lock is not None and (valid is None or (lock.round, lock.block_id) not in proposals):
        raise InvalidVoteLog(f"the vote log lacks the block of the own precommit in round {lock.round}")
    return Memory(
        round=Round(last),
        step=step,
        locked_round=lock.round if lock else NO_ROUND,
        locked_id=lock.block_id if lock else None,
        valid_round=valid.round if valid else NO_ROUND,
        valid_id=valid.block_id if valid else None,
        votes=(*own, *(vote for r in kept for vote in r.polka)),
        proposals=tuple(proposals.values()),
    )


def forgets(log: Recovered, commit: Commit, voter: Voter) -> bool:
    """Whether synced records are gone: the voter signed a commit, and its log knows nothing of that."""
    if voter not in dict(commit.signatures) or max(log.closed, log.height - 1) >= commit.height:
        return False
    slots = {(vote.height, vote.round, vote.kind, vote.block_id) for vote in log.votes}
    return (commit.height, commit.round, VoteKind.PRECOMMIT, commit.block_id) not in slots


def ends_in_silence(records: tuple[bytes, ...]) -> bool:
    """Whether a key abstained when its log ended: what it said before may still be unknown to the log.

    An abstention writes a record a height and one more; otherwise one closes a log that had grown long, or a height in
    which the key spoke elsewhere too.
    """
    return len(records) > 1 and all(isinstance(decode_record(record), ClosedRecord) for record in records[-2:])
