"""Home of settlement: validators attest a round's record, and the first record with a quorum is carried out."""

from __future__ import annotations

from dataclasses import replace

from chain.abi import encode_event
from chain.operations.call import CallContext, CallOutcome, Revert, require
from chain.operations.committing import with_statement
from chain.operations.ending import close_updates, missed_openings, punish_custodians, task_after_round
from chain.operations.learning_state import Fate, Head, Measured, Round, RoundStatus, TaskState, Update
from chain.operations.learning_store import (
    acting_member,
    read_heads,
    read_miner,
    read_tasks,
    read_validators,
    write_heads,
    write_miner,
    write_round,
    write_task,
)
from chain.operations.opened_task import OpenedTask, open_task, round_of
from chain.operations.power import grant, is_quorum
from chain.operations.record_check import check_record
from chain.operations.treasury import burn, mint, release
from chain.state import View, WorkingState
from chain.types import COIN, Log
from learning.commitment import attestation_digest, record_hash
from learning.record import CustodianFate, InvalidRecord, Record, UpdateFate, UpdateOutcome

MEAN_PAY_ROUNDS = 8  # the trailing mean moves by one part in so many a round
_MEASURED_FATES = (UpdateFate.ACCEPTED, UpdateFate.NO_GAIN, UpdateFate.NOT_SIGNIFICANT)


def attest(state: WorkingState, context: CallContext, task_id: bytes, round_number: int, digest: bytes) -> CallOutcome:
    """`attest`: a validator commits to the record that it computed; its last word for a round counts."""
    task = open_task(state, context, task_id)
    member = acting_member(state, context.sender)
    if member is None:
        raise Revert("only validators attest records")
    round_ = _judged_round(state, task, round_number)
    attestations = with_statement(round_.attestations, member.account, digest, read_validators(state))
    write_round(state, task.id, round_number, replace(round_, attestations=attestations))
    return CallOutcome()


def _judged_round(view: View, task: OpenedTask, round_number: int) -> Round:
    round_ = round_of(view, task, round_number)
    require(
        round_.status is RoundStatus.JUDGED,
        f"round {round_number} does not wait for settlement: it is {round_.status.name}",
    )
    return round_


def settle(state: WorkingState, context: CallContext, task_id: bytes, round_number: int, encoded: bytes) -> CallOutcome:
    """`settle`: carry out the record of the oldest judged round, once a quorum attested exactly it."""
    task = open_task(state, context, task_id)
    round_ = _judged_round(state, task, round_number)
    oldest = task.state.unsettled[0]
    require(round_number == oldest, f"round {oldest} is settled before round {round_number}")
    try:
        record = Record.decode(encoded)
    except InvalidRecord as error:
        raise Revert(str(error)) from error
    matching = matching_attestations(state, round_, encoded)
    require(
        is_quorum(sum(power for _, power in matching), read_validators(state)),
        f"{sum(power for _, power in matching)} of the power attested this record: more than two thirds are needed",
    )
    streaks = tuple(read_miner(state, task.id, update.miner).streak for update in round_.updates)
    check_record(record, task, round_number, round_, streaks)
    return CallOutcome(logs=_carry_out(state, context, task, round_, record, encoded, matching))


def matching_attestations(view: View, round_: Round, encoded: bytes) -> tuple[tuple[bytes, int], ...]:
    """The present validators that attested this record, with their voting powers, by address."""
    hash_ = record_hash(encoded)
    said = dict(round_.attestations)
    return tuple(
        (account, power)
        for account, power in read_validators(view)
        if said.get(account) == attestation_digest(record=hash_, validator=account)
    )


def _carry_out(
    state: WorkingState,
    context: CallContext,
    task: OpenedTask,
    round_: Round,
    record: Record,
    encoded: bytes,
    matching: tuple[tuple[bytes, int], ...],
) -> tuple[Log, ...]:
    """All effects of a record that was found right, in the order of its logs."""
    judged = _with_outcomes(round_.updates, record)
    if not record.void:
        _share_fees(state, sum(update.fee for update in judged if update.key), matching)
    updates, logs = close_updates(state, task, record.round, judged)
    logs += _reward_custodians(state, task, record)
    malformed = tuple(line.custodian for line in record.custodians if line.fate is CustodianFate.MALFORMED)
    missed = missed_openings(state, task, round_)
    logs += punish_custodians(state, task, record.round, missed=missed, malformed=malformed)
    _write_streaks(state, task, updates, record)
    _grant_power(state, context, task, updates, record)
    status = RoundStatus.VOID if record.void else RoundStatus.SETTLED
    ended = replace(round_, status=status, updates=updates, ended_at=context.height, record=encoded)
    write_round(state, task.id, record.round, ended)
    write_task(state, task.id, _task_after(task, round_, record, context.height))
    if record.head != record.parent:
        _write_head(state, task, record.head)
    return (*logs, _settled_log(record))


def _settled_log(record: Record) -> Log:
    return encode_event(
        "RoundSettled",
        record.task,
        record.round,
        record.parent,
        record.head,
        record.loss_before,
        record.loss_after,
        record.samples,
    )


def _with_outcomes(updates: tuple[Update, ...], record: Record) -> tuple[Update, ...]:
    """The round's updates with the record's lines, which stand in the order of the revealed ones."""
    lines = iter(record.updates)
    return tuple(_with_outcome(update, next(lines)) if update.key else update for update in updates)


def _with_outcome(update: Update, line: UpdateOutcome) -> Update:
    return replace(
        update,
        fate=Fate(line.fate),
        contribution=line.contribution,
        reward=line.reward,
        charge=line.charge,
        cut=line.cut,
    )


def _share_fees(state: WorkingState, fees: int, matching: tuple[tuple[bytes, int], ...]) -> None:
    """Evaluation fees go, by power, to the validators that attested the record; what does not divide is burnt."""
    total = sum(power for _, power in matching)
    shares = [(account, fees * power // total) for account, power in matching]
    for account, share in shares:
        release(state, account, share)
    burn(state, fees - sum(share for _, share in shares))


def _reward_custodians(state: WorkingState, task: OpenedTask, record: Record) -> tuple[Log, ...]:
    logs = []
    for line in record.custodians:
        if line.reward:
            mint(state, line.custodian, line.reward)
            logs.append(encode_event("CustodianRewarded", task.id, line.custodian, record.round, line.reward))
    return tuple(logs)


def _write_streaks(state: WorkingState, task: OpenedTask, updates: tuple[Update, ...], record: Record) -> None:
    """A miner's streak is the longest of its measured updates; with none of them it stays."""
    longest: dict[bytes, int] = {}
    revealed = [update for update in updates if update.key]
    for update, line in zip(revealed, record.updates, strict=True):
        if line.fate in _MEASURED_FATES:
            longest[update.miner] = max(longest.get(update.miner, 0), line.streak)
    for address, streak in longest.items():
        write_miner(state, task.id, address, replace(read_miner(state, task.id, address), streak=streak))


def _grant_power(
    state: WorkingState, context: CallContext, task: OpenedTask, updates: tuple[Update, ...], record: Record
) -> None:
    """Pay of a native task earns power, where enough custodians opened."""
    used = sum(line.fate is CustodianFate.USED for line in record.custodians)
    if not task.spec.native or used < context.parameters.power_openings_minimum:
        return
    weight = context.parameters.power_per_coin * task.spec.power_weight_milli
    for update in updates:
        grant(state, update.miner, update.reward * weight // (1000 * COIN))


def _task_after(task: OpenedTask, round_: Round, record: Record, height: int) -> TaskState:
    before = task_after_round(task, record.round, round_)
    before = replace(before, settled=before.settled + 1)
    if record.void:
        return before
    pay = sum(line.reward for line in record.updates)
    used = [line.custodian for line in record.custodians if line.fate is CustodianFate.USED]
    after = replace(
        before,
        radius=record.radius,
        mean_pay=(before.mean_pay * (MEAN_PAY_ROUNDS - 1) + pay) // MEAN_PAY_ROUNDS,
        measured=_measured(record, height),
        previous=tuple(opening for opening in round_.openings if opening.custodian in used),
    )
    if record.head != record.parent:
        heads = (*before.heads, Head(root=record.head, round=record.round))
        after = replace(after, heads=heads[-task.numbers.staleness_max - 1 :])
    if record.accepted:
        after = replace(after, step_from=record.parent, step_to=record.head)
    return after


def _measured(record: Record, height: int) -> Measured:
    return Measured(
        round=record.round,
        loss_before=record.loss_before,
        loss_after=record.loss_after,
        correct_before=record.correct_before,
        correct_after=record.correct_after,
        samples=record.samples,
        height=height,
    )


def _write_head(state: WorkingState, task: OpenedTask, head: bytes) -> None:
    heads = tuple(
        head if entry.task == task.id else before
        for entry, before in zip(read_tasks(state), read_heads(state), strict=True)
    )
    write_heads(state, heads)
