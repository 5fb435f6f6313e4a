"""Home of what a validator owes the learning contract: attesting to blobs and to records, and settling rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chain.abi import encode_call
from chain.clock import Phase
from chain.learning_state import Round, RoundStatus, TaskStatus
from chain.learning_store import read_round, read_task, read_tasks, read_validators
from chain.state import View
from learning.commitment import attestation_digest, record_hash

OTHERS_TURN_BLOCKS = 3  # a validator that is not the first to attest leaves the settling to it for so long


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
    """What validator `address` should call in the block of `height`, the one after the view's.

    `blob_size` tells the length of a blob that is held, None for others; `records` are the records that it computed
    itself, by task and round.
    """
    powers = dict(read_validators(view))
    if address not in powers:
        return []
    duties: list[Duty] = []
    for entry in read_tasks(view):
        if entry.status is not TaskStatus.ACTIVE:
            continue
        duties += _holding(
            view, entry.task, entry.clock.cycle_of(height), entry.clock.phase_of(height), address, blob_size
        )
        duties += _settling(view, entry.task, height, address, powers, records)
    return duties


def _holding(
    view: View, task: bytes, cycle: int, phase: Phase, address: bytes, blob_size: Callable[[bytes], int | None]
) -> list[Duty]:
    """Attest the committed blobs that are at hand and of the committed size, all known ones at once."""
    round_ = read_round(view, task, cycle) if cycle >= 0 and phase in (Phase.OPEN, Phase.COMMIT, Phase.HOLD) else None
    if round_ is None or round_.status is not RoundStatus.COMMITTING:
        return []
    held = sum(
        1 << place for place, update in enumerate(round_.updates) if blob_size(update.sealed_root) == update.size
    )
    told = int.from_bytes(dict(round_.holdings).get(address, b""), "little")
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
    address: bytes,
    powers: Mapping[bytes, int],
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
    digest = attestation_digest(record=record_hash(record), validator=address)
    duties = []
    attested = dict(round_.attestations).get(address) == digest
    if not attested:
        duties.append(Duty(name=("attest", task, number, 0), calldata=encode_call("attest", task, number, digest)))
    if _settles_now(round_, record, address, height, powers):
        duties.append(Duty(name=("settle", task, number, 0), calldata=encode_call("settle", task, number, record)))
    return duties


def _settles_now(round_: Round, record: bytes, address: bytes, height: int, powers: Mapping[bytes, int]) -> bool:
    """Whether attestations, with one's own on its way, are enough, and it is this validator's turn."""
    hash_ = record_hash(record)
    agreeing = {
        voter for voter, digest in round_.attestations if digest == attestation_digest(record=hash_, validator=voter)
    } | {address}
    if 3 * sum(powers.get(voter, 0) for voter in sorted(agreeing)) <= 2 * sum(powers.values()):
        return False
    return address == min(agreeing) or height > round_.judged_at + OTHERS_TURN_BLOCKS
