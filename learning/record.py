"""Home of the settlement record: what a round found and pays, in one canonical encoding."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

from learning.encoding import (
    ACCOUNT_BYTES,
    HASH_BYTES,
    INTEGER_MAX,
    INTEGER_MIN,
    InvalidEncoding,
    Packable,
    amount_bytes,
    pack,
    take_amount,
    take_array,
    take_bytes,
    take_integer,
    unpack,
)

VERSION = 1
UPDATES_MAX = 256
CUSTODIANS_MAX = 64
RECORD_BYTES_MAX = 65_536
U32_MAX = 2**32 - 1
_FIELDS, _UPDATE_FIELDS, _CUSTODIAN_FIELDS = 17, 7, 3
_VOID, _ACCEPTED = 1, 2


class InvalidRecord(ValueError):
    """Bytes from outside that are not the canonical encoding of a record."""


class UpdateFate(IntEnum):
    """What became of an update, and so why it was paid or not."""

    ACCEPTED = 1
    NO_GAIN = 2  # well-formed, but the round was not better for it
    NOT_SIGNIFICANT = 3  # it helped, but the round as a whole could have been chance
    COPY = 4
    MALFORMED = 5
    VOID = 6


class CustodianFate(IntEnum):
    """What became of an opened shard."""

    USED = 1
    UNUSED = 2  # its custodian revealed an update in the same round
    MALFORMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOutcome:
    """One update's line. Contribution is in 2^-20 nat a sample; amounts in 10^-18 coin."""

    id: bytes
    fate: UpdateFate
    contribution: int
    reward: int
    charge: int  # burnt from the reward or else the bond
    cut: int  # of the bond, beside the charge
    streak: int  # harmful rounds running, after this one


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodianOutcome:
    """One opened shard's line; the reward is in 10^-18 coin."""

    custodian: bytes
    fate: CustodianFate
    reward: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a round found: heads before and after, mean losses in 2^-20 nat a sample, and everyone's fate."""

    task: bytes
    round: int
    parent: bytes  # weights root of the head before
    head: bytes  # weights root of the head after
    void: bool
    accepted: bool
    samples: int
    loss_before: int  # of the head before
    loss_momentum: int  # of it after momentum was taken
    loss_after: int  # of the head after
    correct_before: int
    correct_after: int
    momentum: int  # quarters of the last accepted step that were taken
    value: int  # loss removed by the chosen candidate, lower median over custodians
    radius: int  # the new trust radius, in 2^-20
    updates: tuple[UpdateOutcome, ...]  # in commit order
    custodians: tuple[CustodianOutcome, ...]  # by address

    def encode(self) -> bytes:
        """The canonical bytes: what is attested, carried by `settle` and hashed."""
        return pack(
            [
                VERSION,
                self.task,
                self.round,
                self.parent,
                self.head,
                _VOID * self.void + _ACCEPTED * self.accepted,
                self.samples,
                self.loss_before,
                self.loss_momentum,
                self.loss_after,
                self.correct_before,
                self.correct_after,
                self.momentum,
                self.value,
                self.radius,
                [_update_fields(line) for line in self.updates],
                [_custodian_fields(line) for line in self.custodians],
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """The record that `data` encodes; raises InvalidRecord for everything but its one encoding."""
        try:
            return _record(take_array(unpack(data, bytes_max=RECORD_BYTES_MAX), "record", _FIELDS, _FIELDS))
        except InvalidEncoding as error:
            raise InvalidRecord(f"not a settlement record: {error}") from error


def _update_fields(line: UpdateOutcome) -> list[Packable]:
    amounts = [amount_bytes(line.reward), amount_bytes(line.charge), amount_bytes(line.cut)]
    return [line.id, int(line.fate), line.contribution, *amounts, line.streak]


def _custodian_fields(line: CustodianOutcome) -> list[Packable]:
    return [line.custodian, int(line.fate), amount_bytes(line.reward)]


def _record(fields: list[Any]) -> Record:
    take_integer(fields[0], "version", VERSION, VERSION)
    flags = take_integer(fields[5], "flags", 0, _ACCEPTED)
    updates = take_array(fields[15], "updates", 0, UPDATES_MAX)
    custodians = take_array(fields[16], "custodians", 0, CUSTODIANS_MAX)
    return Record(
        task=take_bytes(fields[1], "task", HASH_BYTES),
        round=take_integer(fields[2], "round", 0, U32_MAX),
        parent=take_bytes(fields[3], "parent", HASH_BYTES),
        head=take_bytes(fields[4], "head", HASH_BYTES),
        void=flags == _VOID,
        accepted=flags == _ACCEPTED,
        samples=take_integer(fields[6], "samples", 0, U32_MAX),
        loss_before=_count(fields[7], "loss_before"),
        loss_momentum=_count(fields[8], "loss_momentum"),
        loss_after=_count(fields[9], "loss_after"),
        correct_before=_count(fields[10], "correct_before"),
        correct_after=_count(fields[11], "correct_after"),
        momentum=take_integer(fields[12], "momentum", 0, 12),
        value=_signed(fields[13], "value"),
        radius=_count(fields[14], "radius"),
        updates=tuple(_update_outcome(line) for line in updates),
        custodians=_ascending(tuple(_custodian_outcome(line) for line in custodians)),
    )


def _update_outcome(line: object) -> UpdateOutcome:
    fields = take_array(line, "update", _UPDATE_FIELDS, _UPDATE_FIELDS)
    return UpdateOutcome(
        id=take_bytes(fields[0], "update id", HASH_BYTES),
        fate=UpdateFate(take_integer(fields[1], "update fate", 1, len(UpdateFate))),
        contribution=_signed(fields[2], "contribution"),
        reward=take_amount(fields[3], "reward"),
        charge=take_amount(fields[4], "charge"),
        cut=take_amount(fields[5], "cut"),
        streak=take_integer(fields[6], "streak", 0, U32_MAX),
    )


def _custodian_outcome(line: object) -> CustodianOutcome:
    fields = take_array(line, "custodian", _CUSTODIAN_FIELDS, _CUSTODIAN_FIELDS)
    return CustodianOutcome(
        custodian=take_bytes(fields[0], "custodian address", ACCOUNT_BYTES),
        fate=CustodianFate(take_integer(fields[1], "custodian fate", 1, len(CustodianFate))),
        reward=take_amount(fields[2], "custodian reward"),
    )


def _ascending(lines: tuple[CustodianOutcome, ...]) -> tuple[CustodianOutcome, ...]:
    for before, line in pairwise(lines):
        if before.custodian >= line.custodian:
            raise InvalidEncoding(f"custodian {line.custodian.hex()} is not above the one before it")
    return lines


def _count(value: object, name: str) -> int:
    return take_integer(value, name, 0, INTEGER_MAX)


def _signed(value: object, name: str) -> int:
    return take_integer(value, name, INTEGER_MIN, INTEGER_MAX)
