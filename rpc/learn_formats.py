"""Home of the JSON shapes of learning: tasks, rounds, updates, custodians, records and the contract's events.

Heights, sizes and amounts are 0x-hex quantities; rounds, counts, samples and losses are JSON integers. Losses and
contributions are in 2^-20 nat, and the same name with `Nats` at its end is a float for reading.
"""

from __future__ import annotations

from typing import Any

from chain.abi import EVENTS, InvalidCalldata, decode_event
from chain.operations.clock import Clock
from chain.operations.learning_state import Custodian, Fate, Opening, Round, TaskState, Update
from chain.types import CONTRACT_ADDRESS, Log
from learning.record import Record
from rpc.formats import data, quantity

NAT = 1 << 20

FATE_REASONS = {
    Fate.PENDING: "its round has not ended",
    Fate.ACCEPTED: "it made the head better",
    Fate.NO_GAIN: "the head was not better for it",
    Fate.NOT_SIGNIFICANT: "the round's gain as a whole could have been chance",
    Fate.COPY: "it copies an update that was revealed earlier",
    Fate.MALFORMED: "it does not open or decode",
    Fate.VOID: "its round was void",
    Fate.NOT_HELD: "validators did not have its blob in time",
    Fate.NOT_REVEALED: "its key was never revealed",
}


def name_of(value: Any) -> str:
    """An enumeration's member as JSON has it, in lower case."""
    return str(value.name).lower()


def measure(name: str, value: int) -> dict[str, int | float]:
    """A loss or a contribution, exact and for reading."""
    return {name: value, name + "Nats": value / NAT}


def clock_object(clock: Clock) -> dict[str, Any]:
    """When rounds happen: `start` a height, the rest blocks, `rounds` how many cycles take commits."""
    return {
        "start": quantity(clock.start),
        "cycle": clock.cycle,
        "reveal": clock.reveal,
        "open": clock.open,
        "hold": clock.hold,
        "rounds": clock.rounds,
    }


def measured_object(state: TaskState) -> dict[str, Any]:
    """What the last settled round found; zeros, and height null, before the first."""
    found = state.measured
    return {
        "lastRound": found.round if found.height else None,
        **measure("lossBefore", found.loss_before),
        **measure("lossAfter", found.loss_after),
        "correctBefore": found.correct_before,
        "correctAfter": found.correct_after,
        "samples": found.samples,
        "height": quantity(found.height) if found.height else None,
    }


def opening_object(opening: Opening) -> dict[str, Any]:
    return {
        "custodian": data(opening.custodian),
        "index": opening.index,
        "shardsRoot": data(opening.shards_root),
        "key": data(opening.key),
    }


def custodian_object(address: bytes, custodian: Custodian, next_ordinal: int) -> dict[str, Any]:
    """A custodian; `nextIndex` is the shard for the round that is judged next, null where it has none left."""
    return {
        "custodian": data(address),
        "shardsRoot": data(custodian.shards_root),
        "keyAnchor": data(custodian.key_anchor),
        "shards": custodian.shards,
        "bond": quantity(custodian.bond),
        "joined": custodian.joined,
        "opened": custodian.opened,
        "lastKey": data(custodian.last_key),
        "nextIndex": custodian.index_at(next_ordinal),
    }


def update_object(update: Update) -> dict[str, Any]:
    return {
        "id": data(update.id),
        "miner": data(update.miner),
        "sealedRoot": data(update.sealed_root),
        "size": quantity(update.size),
        "base": data(update.base),
        "keyHash": data(update.key_hash),
        "key": data(update.key) if update.key else None,
        "bond": quantity(update.bond),
        "fee": quantity(update.fee),
        "committedAt": quantity(update.committed_at),
        "revealedAt": quantity(update.revealed_at) if update.revealed_at else None,
        "fate": name_of(update.fate),
        "reason": FATE_REASONS[update.fate],
        **measure("contribution", update.contribution),
        "reward": quantity(update.reward),
        "charge": quantity(update.charge),
        "cut": quantity(update.cut),
    }


def record_object(record: Record) -> dict[str, Any]:
    """What a settlement found, without its lines: those of updates are in the round's updates."""
    return {
        "parent": data(record.parent),
        "head": data(record.head),
        "accepted": record.accepted,
        "void": record.void,
        "samples": record.samples,
        **measure("lossBefore", record.loss_before),
        **measure("lossMomentum", record.loss_momentum),
        **measure("lossAfter", record.loss_after),
        "correctBefore": record.correct_before,
        "correctAfter": record.correct_after,
        "momentumQuarters": record.momentum,
        **measure("value", record.value),
        "radius": record.radius,
        "custodians": [
            {"custodian": data(line.custodian), "fate": name_of(line.fate), "reward": quantity(line.reward)}
            for line in record.custodians
        ],
        "encoded": data(record.encode()),
    }


def round_object(task: bytes, number: int, found: Round) -> dict[str, Any]:
    record = Record.decode(found.record) if found.record else None
    return {
        "task": data(task),
        "round": number,
        "status": name_of(found.status),
        "ordinal": found.ordinal,
        "judgedAt": quantity(found.judged_at) if found.judged_at else None,
        "endedAt": quantity(found.ended_at) if found.ended_at else None,
        "updates": [update_object(update) for update in found.updates],
        "openings": [opening_object(opening) for opening in found.openings],
        "holdings": [{"validator": data(voter), "bitmap": data(bitmap)} for voter, bitmap in found.holdings],
        "attestations": [{"validator": data(voter), "digest": data(digest)} for voter, digest in found.attestations],
        "record": record_object(record) if record else None,
    }


def event_object(log: Log, height: int, transaction_hash: bytes) -> dict[str, Any] | None:
    """A log of the contract with its values by name; None for any other."""
    if log.address != CONTRACT_ADDRESS:
        return None
    try:
        name, values = decode_event(log)
    except InvalidCalldata:
        return None
    shown: dict[str, Any] = {"event": name}
    for field in EVENTS[name].inputs:
        value = values[field.name]
        if type(value) is bytes:
            shown[field.name] = data(value)
        elif field.name.startswith("loss") or field.name == "contribution":
            shown |= measure(field.name, value)
        else:
            shown[field.name] = quantity(value) if field.type in ("uint256", "uint64") else value
    shown["height"] = quantity(height)
    shown["transaction"] = data(transaction_hash)
    return shown
