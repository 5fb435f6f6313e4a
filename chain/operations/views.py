"""Home of the contract's views: what `eth_call` reads of tasks, heads, updates, miners and power."""

from __future__ import annotations

from chain.abi import encode_result
from chain.operations.call import CallContext, CallOutcome, Revert
from chain.operations.learning_state import TaskStatus
from chain.operations.learning_store import (
    read_miner,
    read_round,
    read_spec,
    read_tasks,
    read_update_location,
    read_validator,
    read_validators,
)
from chain.operations.opened_task import open_task
from chain.operations.power import power_of
from chain.state import View


def view_task(state: View, context: CallContext, task_id: bytes) -> CallOutcome:
    """`task`: specification, status, present cycle and phase, newest head and its loss, escrow."""
    task = open_task(state, context, task_id)
    spec = read_spec(state, task.id)
    assert spec is not None, task_id.hex()
    phase = task.clock.phase_of(context.height)
    cycle = min(max(task.clock.cycle_of(context.height), 0), task.clock.rounds)
    return CallOutcome(
        output=encode_result(
            "task",
            spec.decode("ascii"),
            status_of(state, task.id),
            cycle,
            phase,
            task.state.head,
            task.state.measured.loss_after,
            task.state.escrow,
        )
    )


def status_of(state: View, task_id: bytes) -> TaskStatus:
    """Whether a task that exists is active."""
    return next(entry.status for entry in read_tasks(state) if entry.task == task_id)


def view_head(state: View, context: CallContext, task_id: bytes) -> CallOutcome:
    """`head`: the newest head, and what the last measured round found."""
    task = open_task(state, context, task_id).state
    last = task.measured
    return CallOutcome(
        output=encode_result(
            "head", task.head, last.round, last.loss_before, last.loss_after, last.samples, last.height
        )
    )


def view_update(state: View, context: CallContext, sealed_root: bytes) -> CallOutcome:
    """`update`: where an update stands and what became of it; fates are those of `Fate`."""
    location = read_update_location(state, sealed_root)
    round_ = read_round(state, location.task, location.round) if location else None
    if location is None or round_ is None:
        raise Revert(f"no update was committed with sealed root {sealed_root.hex()}")
    update = round_.updates[location.place]
    return CallOutcome(
        output=encode_result(
            "update",
            location.task,
            location.round,
            update.miner,
            update.fate,
            update.contribution,
            update.reward,
            update.charge,
            update.cut,
        )
    )


def view_contribution(state: View, context: CallContext, task_id: bytes, account: bytes) -> CallOutcome:
    """`contributionOf`: an account's sums over its ended rounds of a task."""
    open_task(state, context, task_id)
    miner = read_miner(state, task_id, account)
    return CallOutcome(
        output=encode_result(
            "contributionOf", miner.contribution, miner.rewarded, miner.charged, miner.cut, miner.rounds
        )
    )


def view_power(state: View, context: CallContext, account: bytes) -> CallOutcome:
    """`powerOf`: an account's power, and what of it votes in the present set."""
    power = read_validator(state, account).power
    return CallOutcome(output=encode_result("powerOf", power, power_of(state, account)))


def view_validators(state: View, context: CallContext) -> CallOutcome:
    """`validators`: the present set with voting powers, by address."""
    members = read_validators(state)
    return CallOutcome(
        output=encode_result("validators", [address for address, _ in members], [power for _, power in members])
    )
