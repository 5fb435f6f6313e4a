"""Home of a round's first cycle: updates are committed, validators attest that they hold them, the cycle closes."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from chain.abi import encode_event
from chain.operations.call import CallContext, CallOutcome, Revert, require
from chain.operations.learning_state import Fate, Round, RoundStatus, TaskState, Update, UpdateLocation
from chain.operations.learning_store import (
    acting_member,
    read_round,
    read_task,
    read_validators,
    write_round,
    write_task,
    write_update_location,
)
from chain.operations.opened_task import OpenedTask, expected_custodians, open_task, round_of
from chain.operations.power import is_quorum
from chain.operations.treasury import release
from chain.parameters import Parameters
from chain.state import View, WorkingState
from learning.commitment import update_id

FEE_MAX = 2**127 - 1
Statements: TypeAlias = tuple[tuple[bytes, bytes], ...]  # (validator, what it said) by address


def commit_update(
    state: WorkingState,
    context: CallContext,
    task_id: bytes,
    round_number: int,
    base: bytes,
    sealed_root: bytes,
    size: int,
    key_hash: bytes,
) -> CallOutcome:
    """`commitUpdate`: take an update into the round of the running cycle; the value above the fee is its bond."""
    task = open_task(state, context, task_id)
    _require_open_for_commits(state, task, context.height, round_number)
    round_ = read_round(state, task.id, round_number) or Round()
    update = Update(
        id=update_id(
            chain_id=context.chain_id,
            task=task.id,
            round_number=round_number,
            miner=context.sender,
            sealed_root=sealed_root,
        ),
        miner=context.sender,
        sealed_root=sealed_root,
        size=size,
        key_hash=key_hash,
        base=base,
        bond=context.value - task.state.evaluation_fee,
        fee=task.state.evaluation_fee,
        committed_at=context.height,
    )
    _require_fitting(task, round_, update)
    if not round_.updates:
        write_task(state, task.id, replace(task.state, pending=(*task.state.pending, round_number)))
    write_round(state, task.id, round_number, replace(round_, updates=(*round_.updates, update)))
    place = UpdateLocation(task=task.id, round=round_number, place=len(round_.updates))
    write_update_location(state, sealed_root, place)
    return CallOutcome(logs=(encode_event("UpdateCommitted", task.id, update.miner, round_number, sealed_root),))


def _require_open_for_commits(view: View, task: OpenedTask, height: int, round_number: int) -> None:
    cycle = task.clock.cycle_of(height)
    require(
        task.clock.accepts_commits(height),
        f"no updates are taken at height {height}: it is in phase {task.clock.phase_of(height).name} of cycle {cycle}",
    )
    require(round_number == cycle, f"round {round_number} takes no updates, the present round is {cycle}")
    waiting = len(task.state.unsettled)
    require(
        waiting < task.numbers.unsettled_rounds_max,
        f"no updates are taken while {waiting} judged rounds are unsettled",
    )
    # Reveals of the round before are closed, so whether it will use a shard is known.
    ordinal = task.state.judged + sum(number < round_number for number in task.state.pending)
    shards = len(expected_custodians(view, task, ordinal))
    require(
        shards >= task.numbers.openings_minimum,
        f"{shards} custodians have a shard left for this round, {task.numbers.openings_minimum} are needed",
    )


def _require_fitting(task: OpenedTask, round_: Round, update: Update) -> None:
    numbers = task.numbers
    require(len(round_.updates) < numbers.updates_per_round, f"the round's {numbers.updates_per_round} slots are taken")
    require(
        1 <= update.size <= numbers.update_bytes_max,
        f"a sealed update must have 1 to {numbers.update_bytes_max} bytes, not {update.size}",
    )
    require(
        any(update.base == head.root for head in task.state.heads),
        f"base {update.base.hex()} is not one of the last {numbers.staleness_max + 1} heads",
    )
    require(
        all(update.id != other.id for other in round_.updates),
        f"sealed root {update.sealed_root.hex()} is already committed by this account in this round",
    )
    require(
        update.bond >= numbers.bond_minimum,
        f"value must be the fee {update.fee} and a bond of at least {numbers.bond_minimum}, "
        f"not {update.fee + update.bond}",
    )


def attest_held(
    state: WorkingState, context: CallContext, task_id: bytes, round_number: int, bitmap: bytes
) -> CallOutcome:
    """`attestHeld`: a validator says which sealed blobs it has; bits add to those that it sent before."""
    task = open_task(state, context, task_id)
    member = acting_member(state, context.sender)
    if member is None:
        raise Revert("only validators attest what they hold")
    round_ = round_of(state, task, round_number)
    require(
        round_.status is RoundStatus.COMMITTING,
        f"round {round_number} is past its cycle: it is {round_.status.name}",
    )
    held = int.from_bytes(bitmap, "little")
    count = len(round_.updates)
    require(0 < held < 1 << count, f"the bitmap must name some of the round's {count} updates and no others")
    before = dict(round_.holdings).get(member.account, b"")
    joined = held | int.from_bytes(before, "little")
    bitmap = joined.to_bytes((joined.bit_length() + 7) // 8, "little")
    holdings = with_statement(round_.holdings, member.account, bitmap, read_validators(state))
    write_round(state, task.id, round_number, replace(round_, holdings=holdings))
    return CallOutcome()


def with_statement(
    statements: Statements, account: bytes, statement: bytes, validators: tuple[tuple[bytes, int], ...]
) -> Statements:
    """What validators stated, by address, with one account's statement set. Those of accounts that do not vote any more
    are dropped, so that there are never more than validators."""
    voting = dict(validators)
    kept = {other: said for other, said in statements if other in voting}
    return tuple(sorted((kept | {account: statement}).items()))


def close_commits(state: WorkingState, task: OpenedTask, round_number: int, height: int) -> None:
    """The end of a cycle: updates that not enough power holds are left out, and the evaluation fee moves."""
    used = 0
    if round_number in task.state.pending:
        round_ = read_round(state, task.id, round_number)
        assert round_ is not None
        used = len(round_.updates)
        _leave_out_unheld(state, task, round_number, round_, height)
    current = read_task(state, task.id)
    assert current is not None
    fee = next_evaluation_fee(current.evaluation_fee, used, task.numbers)
    if fee != current.evaluation_fee:
        write_task(state, task.id, replace(current, evaluation_fee=fee))


def _leave_out_unheld(state: WorkingState, task: OpenedTask, round_number: int, round_: Round, height: int) -> None:
    held = held_updates(state, round_)
    updates = []
    for place, update in enumerate(round_.updates):
        if not held[place]:
            release(state, update.miner, update.bond + update.fee)
            update = replace(update, fate=Fate.NOT_HELD)
        updates.append(update)
    if any(held):
        after = replace(round_, status=RoundStatus.HELD, updates=tuple(updates))
    else:
        after = replace(round_, status=RoundStatus.EMPTY, updates=tuple(updates), ended_at=height)
        write_task(state, task.id, without_pending(task.state, round_number))
    write_round(state, task.id, round_number, after)


def held_updates(view: View, round_: Round) -> tuple[bool, ...]:
    """Of each update, whether more than two thirds of the present power attested to hold it."""
    validators = read_validators(view)
    bitmaps = {account: int.from_bytes(bitmap, "little") for account, bitmap in round_.holdings}
    return tuple(
        is_quorum(sum(power for account, power in validators if bitmaps.get(account, 0) >> place & 1), validators)
        for place in range(len(round_.updates))
    )


def without_pending(task: TaskState, round_number: int) -> TaskState:
    return replace(task, pending=tuple(number for number in task.pending if number != round_number))


def next_evaluation_fee(fee: int, used: int, numbers: Parameters) -> int:
    """The fee of the next round's commits: up by at most one part in `evaluation_fee_change_divisor` where more than
    the target share of slots was used, down by as much where less was (EIP-1559's rule)."""
    target = numbers.updates_per_round * numbers.evaluation_target_milli
    distance = min(abs(used * 1000 - target), target)
    change = fee * distance // target // numbers.evaluation_fee_change_divisor
    if used * 1000 > target:
        return min(fee + max(change, 1), FEE_MAX)
    return max(fee - change, numbers.evaluation_fee_minimum)
