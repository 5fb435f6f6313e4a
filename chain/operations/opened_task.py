"""Home of a task as operations see it: its specification, effective numbers, clock and moving parts, read together."""

from __future__ import annotations

from dataclasses import dataclass

from chain.operations.call import CallContext, Revert
from chain.operations.clock import Clock
from chain.operations.learning_state import Round, TaskState
from chain.operations.learning_store import read_custodian, read_round, read_spec, read_task
from chain.operations.tasks import TaskSpec, parse_spec
from chain.parameters import Parameters
from chain.state import View


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedTask:
    """One task at one moment. `numbers` is the network's table with the task's settings in it."""

    id: bytes
    spec: TaskSpec
    numbers: Parameters
    clock: Clock
    state: TaskState


def open_task(view: View, context: CallContext, task: bytes) -> OpenedTask:
    """The task of this id. Reverts where there is none."""
    spec_json, state = read_spec(view, task), read_task(view, task)
    if spec_json is None or state is None:
        raise Revert(f"unknown task {task.hex()}")
    return opened(spec_json, state, task, context.parameters)


def opened(spec_json: bytes, state: TaskState, task: bytes, parameters: Parameters) -> OpenedTask:
    """The parts of a task, put together."""
    spec = parse_spec(spec_json, parameters)
    return OpenedTask(id=task, spec=spec, numbers=spec.numbers(parameters), clock=spec.clock(parameters), state=state)


def round_of(view: View, task: OpenedTask, round_number: int) -> Round:
    """The round of this number. Reverts where nothing was committed in it."""
    found = read_round(view, task.id, round_number)
    if found is None:
        raise Revert(f"round {round_number} has no updates")
    return found


def expected_custodians(view: View, task: OpenedTask, ordinal: int) -> tuple[bytes, ...]:
    """The custodians that have a shard for the round of this ordinal, by address."""
    expected = []
    for address in task.state.custodians:
        custodian = read_custodian(view, task.id, address)
        assert custodian is not None, address.hex()
        if custodian.index_at(ordinal) is not None:
            expected.append(address)
    return tuple(expected)
