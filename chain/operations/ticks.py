"""Home of what happens at heights rather than by transactions: phases of tasks and epochs of power end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from chain.operations.attendance import count_absences, leave_out_the_absent
from chain.operations.call import CallContext
from chain.operations.committing import close_commits
from chain.operations.ending import end_unsettled
from chain.operations.learning_state import TaskEntry, TaskStatus
from chain.operations.learning_store import (
    read_custodian,
    read_task,
    read_tasks,
    write_custodian,
    write_tasks,
)
from chain.operations.opened_task import OpenedTask, open_task
from chain.operations.opening import close_openings, close_reveals
from chain.operations.power import end_epoch, is_last_of_epoch
from chain.operations.treasury import release
from chain.state import WorkingState


def begin_block(state: WorkingState, context: CallContext, signers: Collection[bytes] | None = None) -> None:
    """Before a block's transactions: who is absent from its last commit is counted; then rounds whose time for
    settlement has passed are void, oldest first.

    `signers` are the vote addresses in the last commit; None without a commit, as in the block after genesis.
    """
    if signers is not None:
        count_absences(state, context.height, context.parameters, signers)
    for entry in _active(state, context.height):
        if entry.clock.position_of(context.height) == entry.clock.judging:
            task = open_task(state, context, entry.task)
            while task.state.unsettled and context.height >= settlement_deadline(task, task.state.unsettled[0]):
                task = replace(task, state=end_unsettled(state, task, context.height))


def settlement_deadline(task: OpenedTask, round_number: int) -> int:
    """The first height at which a judged round can't be settled any more."""
    return task.clock.start_of(round_number + 1 + task.numbers.settle_grace_cycles) + task.clock.judging


def end_block(state: WorkingState, context: CallContext) -> None:
    """After a block's transactions: phases that end with this height, tasks in their order; then the epoch."""
    for entry in _active(state, context.height):
        _end_phase(state, context, entry)
        if context.height >= entry.clock.last_height:
            _end_task(state, context, entry)
    if is_last_of_epoch(context.height, context.parameters):
        leave_out_the_absent(state, context.height, context.parameters)
        end_epoch(state, context.height, context.parameters)


def _active(state: WorkingState, height: int) -> tuple[TaskEntry, ...]:
    return tuple(
        entry for entry in read_tasks(state) if entry.status is TaskStatus.ACTIVE and height >= entry.clock.start
    )


def _end_phase(state: WorkingState, context: CallContext, entry: TaskEntry) -> None:
    clock, height = entry.clock, context.height
    cycle, position = clock.cycle_of(height), clock.position_of(height)
    if position == clock.cycle - 1 and cycle < clock.rounds:
        close_commits(state, open_task(state, context, entry.task), cycle, height)
    closing: dict[int, Callable[[WorkingState, OpenedTask, int, int], None]]
    closing = {clock.reveal - 1: close_reveals, clock.judging - 1: close_openings}
    if position in closing:
        task = open_task(state, context, entry.task)
        if cycle - 1 in task.state.pending:
            closing[position](state, task, cycle - 1, height)


def _end_task(state: WorkingState, context: CallContext, entry: TaskEntry) -> None:
    """When a task's last round has ended, its custodians get their bonds back and it is over."""
    task = read_task(state, entry.task)
    assert task is not None, entry
    if task.pending or task.unsettled:
        return
    for address in task.custodians:
        custodian = read_custodian(state, entry.task, address)
        assert custodian is not None, address.hex()
        release(state, address, custodian.bond)
        write_custodian(state, entry.task, address, replace(custodian, bond=0))
    over = replace(entry, status=TaskStatus.OVER)
    write_tasks(state, tuple(over if other.task == entry.task else other for other in read_tasks(state)))
