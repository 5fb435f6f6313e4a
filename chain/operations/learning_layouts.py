"""Home of the encodings and bounds of the learning contract's state values."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from chain.codec import InvalidEncoding, expect_int
from chain.operations.clock import Clock
from chain.operations.learning_state import (
    Custodian,
    Epoch,
    Fate,
    Head,
    Measured,
    Member,
    Miner,
    Opening,
    RecentUpdate,
    Round,
    RoundStatus,
    Supply,
    TaskEntry,
    TaskState,
    TaskStatus,
    Update,
    UpdateLocation,
    Validator,
    VoteKey,
)
from chain.operations.schema import ADDRESS, AMOUNT, HASH, MAYBE_HASH, SIGNED, UINT, Kind, Layout, array, blob, pair
from learning.record import CUSTODIANS_MAX, RECORD_BYTES_MAX, UPDATES_MAX

VALIDATORS_MAX = 1_000
TASKS_MAX = 65_536
ROUNDS_KEPT_MAX = 256  # unsettled rounds and heads of one task; far above what a task may choose
RECENT_UPDATES_MAX = 64 * UPDATES_MAX


def _enum(kind: type[IntEnum]) -> Kind:
    def read(value: Any, what: str) -> IntEnum:
        try:
            return kind(expect_int(value, what))
        except ValueError as error:
            raise InvalidEncoding(f"{what} has no value {value}") from error

    return Kind(int, read)


UPDATE = Layout(
    Update,
    id=HASH, miner=ADDRESS, sealed_root=HASH, size=UINT, key_hash=HASH, base=HASH, bond=AMOUNT, fee=AMOUNT,
    committed_at=UINT, key=MAYBE_HASH, revealed_at=UINT, fate=_enum(Fate), contribution=SIGNED, reward=AMOUNT,
    charge=AMOUNT, cut=AMOUNT,
)  # fmt: skip
OPENING = Layout(Opening, custodian=ADDRESS, index=UINT, shards_root=HASH, key=HASH)
ROUND = Layout(
    Round,
    status=_enum(RoundStatus),
    updates=array(UPDATE.kind, UPDATES_MAX),
    holdings=array(pair(ADDRESS, blob(UPDATES_MAX // 8)), VALIDATORS_MAX),
    ordinal=UINT,
    openings=array(OPENING.kind, CUSTODIANS_MAX),
    attestations=array(pair(ADDRESS, HASH), VALIDATORS_MAX),
    judged_at=UINT,
    ended_at=UINT,
    record=blob(RECORD_BYTES_MAX),
)
HEAD = Layout(Head, root=HASH, round=UINT)
RECENT_UPDATE = Layout(RecentUpdate, round=UINT, miner=ADDRESS, sealed_root=HASH, key=HASH)
MEASURED = Layout(
    Measured,
    round=UINT, loss_before=UINT, loss_after=UINT, correct_before=UINT, correct_after=UINT, samples=UINT, height=UINT,
)  # fmt: skip
TASK = Layout(
    TaskState,
    heads=array(HEAD.kind, ROUNDS_KEPT_MAX),
    radius=UINT,
    radius_floor=UINT,
    evaluation_fee=AMOUNT,
    custodians=array(ADDRESS, CUSTODIANS_MAX),
    pending=array(UINT, ROUNDS_KEPT_MAX),
    unsettled=array(UINT, ROUNDS_KEPT_MAX),
    judged=UINT,
    settled=UINT,
    step_from=MAYBE_HASH,
    step_to=MAYBE_HASH,
    mean_pay=AMOUNT,
    escrow=AMOUNT,
    measured=MEASURED.kind,
    recent=array(RECENT_UPDATE.kind, RECENT_UPDATES_MAX),
    previous=array(OPENING.kind, CUSTODIANS_MAX),
)
CUSTODIAN = Layout(
    Custodian,
    shards_root=HASH, key_anchor=HASH, shards=UINT, bond=AMOUNT, joined=UINT, opened=UINT, last_key=HASH,
)  # fmt: skip
MINER = Layout(Miner, contribution=SIGNED, rewarded=AMOUNT, charged=AMOUNT, cut=AMOUNT, rounds=UINT, streak=UINT)
VALIDATOR = Layout(
    Validator,
    earned=AMOUNT, bootstrap=AMOUNT, granted=AMOUNT, bond=AMOUNT, registered=UINT, vote_address=ADDRESS, barred=UINT,
    withdraw_at=UINT,
)  # fmt: skip
MEMBER = Layout(Member, account=ADDRESS, vote_address=ADDRESS, power=AMOUNT)
VOTE_KEY = Layout(VoteKey, account=ADDRESS, until=UINT)
CLOCK = Layout(Clock, start=UINT, cycle=UINT, reveal=UINT, open=UINT, hold=UINT, rounds=UINT)
TASK_ENTRY = Layout(
    TaskEntry,
    task=HASH,
    status=_enum(TaskStatus),
    clock=CLOCK.kind,
)
UPDATE_LOCATION = Layout(UpdateLocation, task=HASH, round=UINT, place=UINT)
EPOCH = Layout(Epoch, power=AMOUNT, granted=AMOUNT)
SUPPLY = Layout(Supply, minted=AMOUNT, burnt=AMOUNT)
