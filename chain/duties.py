"""Home of what a validator owes the learning contract: attesting to blobs and to records, and settling rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chain.abi import encode_call
from chain.operations.clock import Phase
from chain.operations.learning_state import Round, RoundStatus, TaskStatus
from chain.operations.learning_store import (
    acting_member,
    read_members,
    read_round,
    read_task,
    read_tasks,
    read_validator,
    read_validators,
)
from chain.operations.slashing import accused
from chain.parameters import Parameters
from chain.state import View
from consensus.codec import encode_equivocation
from consensus.types import Equivocation
from learning.commitment import attestation_digest, record_hash

TURN_BLOCKS = 3  # for so long one validator is expected to do what any of several could do


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """A call that is due. `name` is the same as long as it is the same duty."""

    name: tuple[str, bytes, int, int]
    calldata: bytes


def due(
    view: View,
    height: int,
    address: bytes,
    *,
    blob_size: Callable[[bytes], int | None],
    records: Mapping[tuple[bytes, int], bytes],
) -> list[Duty]:
    """What a validator should call in the block of `height`, the one after the view's; `address` is its account's or
    its vote key's.

    `blob_size` tells the length of a blob that is held, None for others; `records` are the records that it computed
    itself, by task and round.
    """
    member = acting_member(view, address)
    if member is None:
        return []
    account = member.account
    duties: list[Duty] = []
    for entry in read_tasks(view):
        if entry.status is not TaskStatus.ACTIVE:
            continue
        duties += _holding(
            view, entry.task, entry.clock.cycle_of(height), entry.clock.phase_of(height), account, blob_size
        )
        duties += _settling(view, entry.task, height, account, records)
    return duties


def _holding(
    view: View, task: bytes, cycle: int, phase: Phase, account: bytes, blob_size: Callable[[bytes], int | None]
) -> list[Duty]:
    """Attest the committed blobs that are at hand and of the committed size, all known ones at once."""
    round_ = read_round(view, task, cycle) if cycle >= 0 and phase in (Phase.OPEN, Phase.COMMIT, Phase.HOLD) else None
    if round_ is None or round_.status is not RoundStatus.COMMITTING:
        return []
    held = sum(
        1 << place for place, update in enumerate(round_.updates) if blob_size(update.sealed_root) == update.size
    )
    told = int.from_bytes(dict(round_.holdings).get(account, b""), "little")
    if not held & ~told:  # what was told stays told, even of a blob that was lost since
        return []
    bitmap = held.to_bytes((len(round_.updates) + 7) // 8, "little")
    return [
        Duty(name=("attestHeld", task, cycle, held), calldata=encode_call("attestHeld", task, cycle, bitmap)),
    ]


def _settling(
    view: View,
    task: bytes,
    height: int,
    account: bytes,
    records: Mapping[tuple[bytes, int], bytes],
) -> list[Duty]:
    """Attest the record of the oldest judged round, and settle it once more than two thirds of power did."""
    state = read_task(view, task)
    if state is None or not state.unsettled:
        return []
    number = state.unsettled[0]
    record, round_ = records.get((task, number)), read_round(view, task, number)
    if record is None or round_ is None or round_.status is not RoundStatus.JUDGED:
        return []
    digest = attestation_digest(record=record_hash(record), validator=account)
    duties = []
    attested = dict(round_.attestations).get(account) == digest
    if not attested:
        duties.append(Duty(name=("attest", task, number, 0), calldata=encode_call("attest", task, number, digest)))
    if _settles_now(view, round_, record, account, height):
        duties.append(Duty(name=("settle", task, number, 0), calldata=encode_call("settle", task, number, record)))
    return duties


def _settles_now(view: View, round_: Round, record: bytes, account: bytes, height: int) -> bool:
    """Whether attestations, with one's own on its way, are enough, and it is this validator's turn.

    Turns go round among those that agree, so that one that is gone holds nobody up for long.
    """
    powers = dict(read_validators(view))
    hash_ = record_hash(record)
    agreeing = sorted(
        {voter for voter, digest in round_.attestations if digest == attestation_digest(record=hash_, validator=voter)}
        | {account}
    )
    if 3 * sum(powers.get(voter, 0) for voter in agreeing) <= 2 * sum(powers.values()):
        return False
    turn = (height - 1 - round_.judged_at) // TURN_BLOCKS
    return account == agreeing[turn % len(agreeing)]


def is_over(view: View, height: int, evidence: Equivocation, parameters: Parameters) -> bool:
    """Whether evidence has no effect in the block of `height` any more: it was executed, or it is too old."""
    barred = read_validator(view, accused(view, evidence)).barred
    return bool(barred) or evidence.first.height < height - parameters.evidence_blocks_max


def evidence_due(view: View, height: int, address: bytes, evidence: Equivocation) -> Duty | None:
    """The call that submits evidence in the block of `height`, once it is this validator's turn.

    One submission is enough. First one member of the set is to make it, then two, then four, and so on, as nobody
    knows which of them have heard of it.
    """
    member = acting_member(view, address)
    if member is None or member.account == accused(view, evidence):
        return None
    members = read_members(view)
    rank = (members.index(member) - evidence.first.height) % len(members)
    waited = max(0, height - 1 - evidence.first.height) // TURN_BLOCKS
    if rank >> min(waited, len(members)):
        return None
    encoded = encode_equivocation(evidence)
    name = ("submitEvidence", bytes(evidence.first.voter), evidence.first.height, 0)
    return Duty(name=name, calldata=encode_call("submitEvidence", encoded))
