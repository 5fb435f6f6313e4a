"""Home of the contract's money: what it holds for others, mints and burns, and the check that it adds up."""

from __future__ import annotations

from dataclasses import replace

from chain.operations.learning_state import Fate
from chain.operations.learning_store import (
    read_custodian,
    read_holders,
    read_round,
    read_supply,
    read_task,
    read_tasks,
    read_validator,
    write_supply,
)
from chain.state import View, WorkingState
from chain.types import CONTRACT_ADDRESS


def release(state: WorkingState, account: bytes, amount: int) -> None:
    """Pay `amount` of what the contract holds to an account."""
    held = state.account(CONTRACT_ADDRESS)
    assert 0 <= amount <= held.balance, (amount, held.balance)
    held.balance -= amount
    state.account(account).balance += amount


def burn(state: WorkingState, amount: int) -> None:
    """Burn `amount` of what the contract holds."""
    held = state.account(CONTRACT_ADDRESS)
    assert 0 <= amount <= held.balance, (amount, held.balance)
    held.balance -= amount
    supply = read_supply(state)
    write_supply(state, replace(supply, burnt=supply.burnt + amount))


def mint(state: WorkingState, account: bytes, amount: int) -> None:
    """Create `amount` in an account; the contract's own, where it is to hold it for somebody."""
    assert amount >= 0, amount
    state.account(account).balance += amount
    supply = read_supply(state)
    write_supply(state, replace(supply, minted=supply.minted + amount))


def held_for_others(view: View) -> int:
    """The sum of all bonds, fees and escrows that state says the contract holds: its balance, to the unit."""
    tasks = sum(_held_of_task(view, entry.task) for entry in read_tasks(view))
    return tasks + sum(read_validator(view, address).bond for address in read_holders(view))


def _held_of_task(view: View, task: bytes) -> int:
    state = read_task(view, task)
    assert state is not None, task.hex()
    held = state.escrow
    for address in state.custodians:
        custodian = read_custodian(view, task, address)
        assert custodian is not None, address.hex()
        held += custodian.bond
    for number in (*state.unsettled, *state.pending):
        found = read_round(view, task, number)
        assert found is not None, number
        held += sum(item.bond + item.fee for item in found.updates if item.fate is not Fate.NOT_HELD)
    return held
