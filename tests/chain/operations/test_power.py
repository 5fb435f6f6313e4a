"""Rules of power: grants and their cap, decay, and who votes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.operations.learning_layouts import VALIDATORS_MAX
from chain.operations.learning_state import Epoch, Validator
from chain.operations.learning_store import (
    read_epoch,
    read_holders,
    read_validator,
    read_validators,
    write_epoch,
    write_members,
    write_validator,
)
from chain.operations.power import (
    choose_validators,
    end_epoch,
    grant,
    is_last_of_epoch,
    is_quorum,
    total_power,
    voting_power,
)
from chain.operations.treasury import burn
from chain.parameters import Parameters
from chain.state import WorkingState
from tests.chain.operations.learning_world import VALIDATORS, make_world

PARAMETERS = Parameters(bond_per_power=10)


class Nothing:
    def get(self, key: bytes) -> bytes | None:
        return None


def address(number: int) -> bytes:
    return bytes([number * 37 % 256]) + number.to_bytes(19, "big")


def founded(powers: list[int], *, bonds: list[int] | None = None) -> WorkingState:
    """A state in which accounts 0, 1, ... have bootstrap power, and bonds that let all of it vote."""
    state = WorkingState(Nothing())
    for number, power in enumerate(powers):
        bond = bonds[number] if bonds else power * 10
        own = Validator(bootstrap=power, bond=bond, registered=1, vote_address=address(number))
        write_validator(state, address(number), own)
    write_epoch(state, Epoch(power=sum(powers)))
    write_members(state, choose_validators(state, PARAMETERS))
    return state


def chosen(state: WorkingState, parameters: Parameters) -> tuple[tuple[bytes, int], ...]:
    return tuple((member.account, member.power) for member in choose_validators(state, parameters))


def powers(state: WorkingState) -> dict[bytes, int]:
    return {each: read_validator(state, each).power for each in read_holders(state)}


POWERS = st.lists(st.integers(1, 10**9), min_size=1, max_size=6)
GRANTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10**10)), max_size=12)


@given(bootstrap=POWERS, grants=GRANTS)
@settings(deadline=None, max_examples=150)
def test_grants_of_an_epoch_never_exceed_their_share_of_its_power_and_are_scaled_alike(
    bootstrap: list[int], grants: list[tuple[int, int]]
):
    state = founded(bootstrap)
    for number, amount in grants:
        grant(state, address(number), amount)
    asked = {address(n): sum(amount for m, amount in grants if m == n) for n, _ in grants}
    total = sum(asked.values())
    limit = min(total, sum(bootstrap) * PARAMETERS.power_grant_milli // 1000)
    end_epoch(state, 9, PARAMETERS)
    given_ = {each: read_validator(state, each).earned for each in read_holders(state)}
    assert sum(given_.values()) <= limit
    assert limit - sum(given_.values()) <= len(asked)
    for each, amount in asked.items():
        assert given_.get(each, 0) == (amount * limit // total if total else 0)
    assert read_epoch(state) == Epoch(power=total_power(state), granted=0)


@given(bootstrap=POWERS, grants=GRANTS.filter(lambda grants: sum(amount for _, amount in grants) > 0))
@settings(deadline=None, max_examples=150)
def test_with_grants_everybodys_power_decays_bootstrap_too(bootstrap: list[int], grants: list[tuple[int, int]]):
    state = founded(bootstrap)
    for number, amount in grants:
        grant(state, address(number), amount)
    end_epoch(state, 9, PARAMETERS)
    for number, power in enumerate(bootstrap):
        assert read_validator(state, address(number)).bootstrap == power * 995 // 1000
    assert total_power(state) <= sum(bootstrap) * 1095 // 1000


@given(bootstrap=POWERS, epochs=st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_without_grants_nothing_decays(bootstrap: list[int], epochs: int):
    state = founded(bootstrap)
    before = powers(state)
    for _ in range(epochs):
        end_epoch(state, 9, PARAMETERS)
    assert powers(state) == before


@given(bootstrap=POWERS, grants=GRANTS, seed=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_the_order_of_grants_does_not_matter(bootstrap: list[int], grants: list[tuple[int, int]], seed):
    shuffled = list(grants)
    seed.shuffle(shuffled)
    states = [founded(bootstrap), founded(bootstrap)]
    for state, order in zip(states, (grants, shuffled), strict=True):
        for number, amount in order:
            grant(state, address(number), amount)
        end_epoch(state, 9, PARAMETERS)
    assert states[0].changes() == states[1].changes()


def test_power_that_decays_to_nothing_leaves_no_trace():
    state = founded([10**6])
    grant(state, address(5), 1)
    end_epoch(state, 9, PARAMETERS)
    assert powers(state) == {address(0): 995_000, address(5): 1}
    grant(state, address(6), 1)
    end_epoch(state, 9, PARAMETERS)
    assert address(5) not in powers(state)
    assert powers(state)[address(6)] == 1


def test_no_lucky_first_round_buys_the_chain():
    state = founded([1000])
    grant(state, address(3), 10**18)
    end_epoch(state, 9, PARAMETERS)
    assert powers(state) == {address(0): 995, address(3): 100}


def test_voting_power_is_what_the_bond_covers():
    validator = Validator(earned=30, bootstrap=70, bond=555, registered=1)
    assert voting_power(validator, PARAMETERS) == 55
    assert voting_power(replace(validator, bond=10**9), PARAMETERS) == 100
    assert voting_power(replace(validator, registered=0), PARAMETERS) == 0


def test_validators_are_those_of_most_voting_power_ties_to_the_lower_address():
    state = founded([5, 9, 5, 7, 5, 0], bonds=[50, 20, 50, 70, 50, 50])
    by_power = chosen(state, replace(PARAMETERS, validators_max=3))
    lower = sorted(address(n) for n in (0, 2, 4))[:2]
    assert by_power == tuple(sorted([(address(3), 7), (lower[0], 5), (lower[1], 5)]))
    assert chosen(state, PARAMETERS) == tuple(
        sorted([(address(0), 5), (address(1), 2), (address(2), 5), (address(3), 7), (address(4), 5)])
    )
    many = founded([1] * (VALIDATORS_MAX + 5))
    assert len(chosen(many, replace(PARAMETERS, validators_max=10**6))) == VALIDATORS_MAX


def test_an_empty_next_set_keeps_the_old_one():
    state = founded([5, 7])
    before = read_validators(state)
    for number in (0, 1):
        validator = read_validator(state, address(number))
        write_validator(state, address(number), replace(validator, bond=0))
    end_epoch(state, 9, PARAMETERS)
    assert read_validators(state) == before


@pytest.mark.parametrize(("height", "last"), [(0, False), (8, False), (9, True), (10, False), (19, True), (20, False)])
def test_the_last_block_of_an_epoch(height: int, last: bool):
    assert is_last_of_epoch(height, Parameters(epoch_blocks=10)) == last


def test_the_set_changes_with_the_last_block_of_an_epoch_only():
    world = make_world(start=1000)
    state = WorkingState(world)
    for validator, lost in zip(VALIDATORS, (3, 0, 1), strict=True):
        held = read_validator(world, validator)
        write_validator(state, validator, replace(held, bond=held.bond - lost))
        burn(state, lost)
    world.commit(state)
    before = read_validators(world)
    world.go(9)
    assert read_validators(world) == before
    world.go(10)
    assert [power for _, power in read_validators(world)] == [499_999, 300_000, 199_999]


@pytest.mark.parametrize(("power", "quorum"), [(66, False), (67, True), (0, False), (100, True)])
def test_a_quorum_is_more_than_two_thirds(power: int, quorum: bool):
    assert is_quorum(power, ((address(1), 60), (address(2), 40))) == quorum
    assert not is_quorum(2, ((address(1), 1), (address(2), 1), (address(3), 1)))
