"""Home of how learning begins: the state that genesis writes for its tasks, custodians and validators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from chain.errors import InvalidInput
from chain.operations.learning_state import Custodian, Epoch, Head, Supply, TaskEntry, TaskState, TaskStatus, Validator
from chain.operations.learning_store import (
    read_validator,
    spec_key,
    write_custodian,
    write_epoch,
    write_heads,
    write_members,
    write_supply,
    write_task,
    write_tasks,
    write_validator,
)
from chain.operations.power import choose_validators, total_power
from chain.operations.tasks import (
    GenesisCustodian,
    GenesisTask,
    GenesisValidator,
    InvalidTaskSpec,
    TaskSpec,
    parse_spec,
    task_id,
)
from chain.operations.voter_store import write_genesis_hash
from chain.parameters import Parameters
from chain.state import WorkingState
from chain.types import CONTRACT_ADDRESS
from learning.architecture import Architecture
from learning.commitment import Int32Array, weights_root
from learning.initial import initial_weights
from learning.steps import norm

POWER_MAX = 2**112  # of one account, so that the sum of all fits what consensus counts with
RADIUS_FLOOR_PART = 10  # the trust radius never falls below this part of its first value


class InvalidFounding(InvalidInput):
    """What genesis says of tasks, custodians or validators does not fit together."""


def genesis_learning(
    state: WorkingState,
    chain_id: int,
    parameters: Parameters,
    tasks: Sequence[GenesisTask],
    validators: Sequence[GenesisValidator],
    genesis_hash: bytes,
) -> None:
    """Write the learning state of block 0. Bonds are coins beside genesis' balances, held by the contract; the hash of
    genesis is what all votes sign.

    Raises InvalidTaskSpec and InvalidFounding.
    """
    if len(tasks) > parameters.tasks_max:
        raise InvalidFounding(f"genesis has {len(tasks)} tasks, tasks_max is {parameters.tasks_max}")
    write_genesis_hash(state, genesis_hash)
    write_supply(state, Supply())
    founded = [_found_task(state, chain_id, parameters, ordinal, task) for ordinal, task in enumerate(tasks)]
    write_tasks(state, tuple(entry for entry, _ in founded))
    write_heads(state, tuple(head for _, head in founded))
    _found_validators(state, parameters, validators)


def _found_task(
    state: WorkingState, chain_id: int, parameters: Parameters, ordinal: int, given: GenesisTask
) -> tuple[TaskEntry, bytes]:
    spec = parse_spec(given.spec, parameters)
    if not spec.native:
        raise InvalidTaskSpec(f"task {spec.name!r} is sponsored: only native tasks can stand in genesis")
    numbers = spec.numbers(parameters)
    task = task_id(chain_id, ordinal, given.spec)
    custodians = sorted(given.custodians, key=lambda custodian: custodian.address)
    _check_custodians(spec, numbers, custodians)
    for custodian in custodians:
        _found_custodian(state, task, custodian)
    root, radius = initial_head(spec.architecture, spec.initial_seed)
    state.put(spec_key(task), given.spec)
    write_task(
        state,
        task,
        TaskState(
            heads=(Head(root=root, round=0),),
            radius=radius,
            radius_floor=max(radius // RADIUS_FLOOR_PART, 1),
            evaluation_fee=max(numbers.evaluation_fee_initial, numbers.evaluation_fee_minimum),
            custodians=tuple(custodian.address for custodian in custodians),
        ),
    )
    return TaskEntry(task=task, status=TaskStatus.ACTIVE, clock=spec.clock(parameters)), root


def _check_custodians(spec: TaskSpec, numbers: Parameters, custodians: Sequence[GenesisCustodian]) -> None:
    where = f"task {spec.name!r}"
    addresses = [custodian.address for custodian in custodians]
    if len(set(addresses)) != len(addresses):
        raise InvalidFounding(f"{where} names a custodian twice")
    if not numbers.openings_minimum <= len(custodians) <= numbers.custodians_max:
        raise InvalidFounding(
            f"{where} has {len(custodians)} custodians: from {numbers.openings_minimum} (openings_minimum) "
            f"to {numbers.custodians_max} are needed"
        )
    for custodian in custodians:
        if not 1 <= custodian.shards <= numbers.shards_max:
            raise InvalidFounding(
                f"{where}: a custodian seals 1 to {numbers.shards_max} shards, not {custodian.shards}"
            )
        if custodian.bond < numbers.custodian_bond:
            raise InvalidFounding(
                f"{where}: a custodian's bond is at least {numbers.custodian_bond}, not {custodian.bond}"
            )


def _found_custodian(state: WorkingState, task: bytes, given: GenesisCustodian) -> None:
    state.account(CONTRACT_ADDRESS).balance += given.bond
    custodian = Custodian(
        shards_root=given.shards_root,
        key_anchor=given.key_anchor,
        shards=given.shards,
        bond=given.bond,
        joined=0,
        opened=0,
        last_key=given.key_anchor,
    )
    write_custodian(state, task, given.address, custodian)


@lru_cache(maxsize=64)
def initial_head(architecture: Architecture, seed: bytes) -> tuple[bytes, int]:
    """The weights root of a task's first head, and its first trust radius: half the norm of the weights."""
    weights: Int32Array = initial_weights(architecture, seed)
    return weights_root(architecture, weights), max(norm(weights.astype(np.int64)) // 2, 1)


def _found_validators(state: WorkingState, parameters: Parameters, validators: Sequence[GenesisValidator]) -> None:
    for given in validators:
        if read_validator(state, given.address) != Validator():
            raise InvalidFounding(f"genesis names the validator 0x{given.address.hex()} twice")
        if not 1 <= given.power <= POWER_MAX:
            raise InvalidFounding(f"validator 0x{given.address.hex()} has power {given.power}, not 1 to {POWER_MAX}")
        state.account(CONTRACT_ADDRESS).balance += given.bond
        write_validator(
            state,
            given.address,
            Validator(bootstrap=given.power, bond=given.bond, registered=1, vote_address=given.address),
        )
    chosen = choose_validators(state, parameters)
    if not chosen:
        raise InvalidFounding(
            f"no validator of genesis can vote: give one power and a bond of at least {parameters.bond_per_power} "
            "for each unit of it"
        )
    write_members(state, chosen)
    write_epoch(state, Epoch(power=total_power(state)))
