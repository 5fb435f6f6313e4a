"""What genesis writes for learning, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain import contract
from chain.contract import InvalidFounding
from chain.operations.learning_state import TaskStatus
from chain.operations.learning_store import read_epoch, read_task, read_tasks
from chain.operations.tasks import GenesisCustodian, GenesisTask, GenesisValidator, InvalidTaskSpec, task_id
from chain.parameters import Parameters
from chain.state import WorkingState
from chain.types import COIN, CONTRACT_ADDRESS
from learning.commitment import weights_root
from learning.initial import initial_weights
from learning.steps import norm
from tests.chain.operations.learning_world import ARCHITECTURE, account, root, spec_json

PARAMETERS = Parameters(tasks_max=2)
CUSTODIAN = GenesisCustodian(
    address=account("c"), shards_root=root("manifest"), key_anchor=root("anchor"), shards=3, bond=50 * COIN
)
VALIDATOR = GenesisValidator(address=account("v"), power=100, bond=COIN)


class Nothing:
    def get(self, key: bytes) -> bytes | None:
        return None


def founded(
    *,
    specs: tuple[bytes, ...] = (spec_json(settings={}),),
    custodians: tuple[GenesisCustodian, ...] = (CUSTODIAN,),
    validators: tuple[GenesisValidator, ...] = (VALIDATOR,),
) -> WorkingState:
    state = WorkingState(Nothing())
    tasks = [GenesisTask(spec=spec, custodians=custodians) for spec in specs]
    contract.genesis_learning(state, 9, PARAMETERS, tasks, validators, root("genesis"))
    return state


def test_genesis_holds_bonds_and_starts_from_the_seeds_weights():
    other = spec_json(settings={}, name="other", initial_seed="0x" + "11" * 32)
    state = founded(specs=(spec_json(settings={}), other))
    weights = [initial_weights(ARCHITECTURE, seed) for seed in (root("seed"), b"\x11" * 32)]
    assert contract.heads(state) == tuple(weights_root(ARCHITECTURE, each) for each in weights)
    assert [entry.task for entry in read_tasks(state)] == [
        task_id(9, 0, spec_json(settings={})),
        task_id(9, 1, other),
    ]
    assert {entry.status for entry in read_tasks(state)} == {TaskStatus.ACTIVE}
    assert state.account(CONTRACT_ADDRESS).balance == 2 * 50 * COIN + COIN
    assert contract.validators_of(state) == ((VALIDATOR.address, 100),)
    assert contract.validator_of(state, VALIDATOR.address).bootstrap == 100
    assert read_epoch(state).power == 100


def test_the_trust_radius_starts_at_half_the_norm_of_the_initial_weights():
    task = read_task(founded(), task_id(9, 0, spec_json(settings={})))
    assert task is not None
    half = norm(initial_weights(ARCHITECTURE, root("seed")).astype("int64")) // 2
    assert (task.radius, task.radius_floor) == (half, half // 10)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"specs": (spec_json(settings={}),) * 3}, InvalidFounding, "genesis has 3 tasks, tasks_max is 2"),
        ({"specs": (b"{}",)}, InvalidTaskSpec, "a specification has the fields"),
        ({"specs": (spec_json(settings={}, native=False),)}, InvalidTaskSpec, "is sponsored"),
        ({"custodians": ()}, InvalidFounding, "has 0 custodians: from 1"),
        ({"custodians": (CUSTODIAN, CUSTODIAN)}, InvalidFounding, "names a custodian twice"),
        ({"custodians": (replace(CUSTODIAN, shards=0),)}, InvalidFounding, "seals 1 to 4096 shards, not 0"),
        ({"custodians": (replace(CUSTODIAN, shards=4097),)}, InvalidFounding, "seals 1 to 4096 shards, not 4097"),
        ({"custodians": (replace(CUSTODIAN, bond=50 * COIN - 1),)}, InvalidFounding, "bond is at least"),
        ({"validators": (VALIDATOR, VALIDATOR)}, InvalidFounding, "twice"),
        ({"validators": ()}, InvalidFounding, "no validator of genesis can vote"),
        ({"validators": (replace(VALIDATOR, bond=1),)}, InvalidFounding, "no validator of genesis can vote"),
        ({"validators": (replace(VALIDATOR, power=0),)}, InvalidFounding, "has power 0"),
        ({"validators": (replace(VALIDATOR, power=2**112 + 1),)}, InvalidFounding, "has power"),
    ],
)
def test_a_genesis_that_does_not_fit_together_is_refused(changes: dict[str, Any], error: type[Exception], reason: str):
    with pytest.raises(error) as refused:
        founded(**changes)
    assert reason in str(refused.value)
