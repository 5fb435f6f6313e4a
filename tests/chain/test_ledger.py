"""Tests of money: the fee market, what a transaction must have to stand in a block, and what it does to accounts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.abi import encode_call, revert_reason
from chain.ledger import (
    Environment,
    InexecutableTransaction,
    Outcome,
    apply_transaction,
    execute_message,
    gas_needed,
    next_base_fee,
)
from chain.parameters import Parameters
from chain.state import KIND_ACCOUNT, WorkingState, encode_account
from chain.transactions import GAS_BYTE, GAS_TRANSACTION, Transaction
from chain.types import COIN, CONTRACT_ADDRESS, GWEI, Header, Receipt
from tests.chain.ledger_world import ADDRESSES, BALANCE, PROPOSER, STRANGER, PlainChain, network, transaction

PARAMETERS = Parameters()
BASE_FEE = 7 * GWEI
ENVIRONMENT = Environment(
    chain_id=77,
    height=1,
    time_ms=1_000,
    proposer=PROPOSER,
    base_fee=BASE_FEE,
    gas_limit=PARAMETERS.block_gas_limit,
    parameters=PARAMETERS,
)
A = ADDRESSES[0]


@pytest.fixture(scope="module")
def genesis() -> Header:
    return PlainChain(genesis=network()).tip


@pytest.fixture
def state() -> WorkingState:
    return WorkingState(PlainChain(genesis=network()))


def apply(state: WorkingState, given: Transaction, environment: Environment = ENVIRONMENT) -> Receipt:
    return apply_transaction(state, given, environment.gas_limit, environment)


# ----------------------------------------------------------------------------------------------------- the fee market


@pytest.mark.parametrize(
    ("base_fee", "limit", "used", "expected"),
    [
        # TestCalcBaseFee of go-ethereum: used is the target, below it, above it
        (1_000_000_000, 20_000_000, 10_000_000, 1_000_000_000),
        (1_000_000_000, 20_000_000, 9_000_000, 987_500_000),
        (1_000_000_000, 20_000_000, 11_000_000, 1_012_500_000),
        # by hand: full is an eighth more, empty an eighth less, and a rise is at least 1
        (800, 20_000_000, 20_000_000, 900),
        (800, 20_000_000, 0, 700),
        (7, 20_000_000, 10_000_001, 8),
        (7, 20_000_000, 9_999_999, 7),
    ],
)
def test_base_fee_follows_the_use_of_gas(genesis: Header, base_fee: int, limit: int, used: int, expected: int) -> None:
    parent = replace(genesis, base_fee=base_fee, gas_limit=limit, gas_used=used)
    assert next_base_fee(parent, Parameters(base_fee_minimum=1)) == expected


@given(base_fee=st.integers(GWEI, 10**30), use=st.integers(0, 1000))
def test_base_fee_is_that_of_the_reference_formula(genesis: Header, base_fee: int, use: int) -> None:
    limit = PARAMETERS.block_gas_limit
    parent = replace(genesis, base_fee=base_fee, gas_limit=limit, gas_used=limit * use // 1000)
    assert next_base_fee(parent, PARAMETERS) == max(GWEI, expected_base_fee(parent))


def expected_base_fee(parent: Header) -> int:
    """EIP-1559's `expected_base_fee_per_gas`, with its names."""
    parent_gas_target = parent.gas_limit // 2
    if parent.gas_used == parent_gas_target:
        return parent.base_fee
    if parent.gas_used > parent_gas_target:
        gas_used_delta = parent.gas_used - parent_gas_target
        base_fee_per_gas_delta = max(parent.base_fee * gas_used_delta // parent_gas_target // 8, 1)
        return parent.base_fee + base_fee_per_gas_delta
    gas_used_delta = parent_gas_target - parent.gas_used
    return parent.base_fee - parent.base_fee * gas_used_delta // parent_gas_target // 8


def test_base_fee_never_falls_below_the_least(genesis: Header) -> None:
    assert next_base_fee(replace(genesis, base_fee=GWEI, gas_used=0), PARAMETERS) == GWEI


# ---------------------------------------------------------------------------------------- what can stand in a block


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"nonce": 1}, "nonce 1 where the account's next is 0"),
        ({"max_fee_per_gas": BASE_FEE - 1}, f"max fee per gas {BASE_FEE - 1} is less than the base fee {BASE_FEE}"),
        ({"gas_limit": 150_000_001}, "gas limit 150000001 where the block has 150000000 left"),
        ({"gas_limit": 20_999}, "intrinsic gas too low: gas 20999, minimum needed 21000"),
        ({"data": b"\1", "gas_limit": 21_015}, "intrinsic gas too low: gas 21015, minimum needed 21016"),
        ({"value": BALANCE - 2_100_000 * GWEI + 1}, f"balance {BALANCE} where gas * price + value is {BALANCE + 1}"),
    ],
)
def test_transaction_that_cannot_stand_changes_nothing(state: WorkingState, given: dict[str, int], reason: str) -> None:
    with pytest.raises(InexecutableTransaction, match=re.escape(reason)):
        apply(state, transaction(**given))
    assert state.changes() == {}


def test_everything_can_be_spent(state: WorkingState) -> None:
    apply(state, transaction(max_fee_per_gas=BASE_FEE, max_priority_fee_per_gas=0, value=BALANCE - 21_000 * BASE_FEE))
    assert state.account(A).balance == 0
    assert state.changes()[KIND_ACCOUNT + A] == encode_account(1, 0)


# -------------------------------------------------------------------------------------------------------- transfers


def test_transfer_moves_value_burns_the_base_fee_and_tips_the_proposer(state: WorkingState) -> None:
    receipt = apply(state, transaction(value=5, max_priority_fee_per_gas=2 * GWEI))
    assert receipt == Receipt(status=1, gas_used=21_000, effective_gas_price=9 * GWEI, logs=())
    assert state.changes() == {
        KIND_ACCOUNT + A: encode_account(1, BALANCE - 5 - 21_000 * 9 * GWEI),
        KIND_ACCOUNT + STRANGER: encode_account(0, 5),
        KIND_ACCOUNT + PROPOSER: encode_account(0, 21_000 * 2 * GWEI),
    }


def test_tip_is_cut_to_what_the_fee_leaves(state: WorkingState) -> None:
    receipt = apply(state, transaction(max_fee_per_gas=BASE_FEE + 3, max_priority_fee_per_gas=5))
    assert receipt.effective_gas_price == BASE_FEE + 3
    assert state.account(PROPOSER).balance == 21_000 * 3


@pytest.mark.parametrize("kind", [0, 1])
def test_one_price_goes_beyond_the_base_fee_to_the_proposer(state: WorkingState, kind: int) -> None:
    apply(state, transaction(kind=kind, max_fee_per_gas=10 * GWEI, max_priority_fee_per_gas=10 * GWEI))
    assert state.account(PROPOSER).balance == 21_000 * (10 * GWEI - BASE_FEE)


def test_transfer_to_oneself_costs_the_fee_alone(state: WorkingState) -> None:
    apply(state, transaction(to=A, value=COIN))
    assert state.account(A).balance == BALANCE - 21_000 * (BASE_FEE + GWEI)


def test_transfer_of_nothing_makes_no_account(state: WorkingState) -> None:
    apply(state, transaction(value=0))
    assert KIND_ACCOUNT + STRANGER not in state.changes()


def test_data_to_an_account_is_carried_and_paid_for(state: WorkingState) -> None:
    receipt = apply(state, transaction(data=b"hello", gas_limit=50_000))
    assert (receipt.status, receipt.gas_used, receipt.logs) == (1, GAS_TRANSACTION + 5 * GAS_BYTE, ())
    assert state.account(A).balance == BALANCE - 1 - receipt.gas_used * (BASE_FEE + GWEI)


# ------------------------------------------------------------------------------------------- calls of the contract


def call_of(data: bytes, *, gas_limit: int = 200_000, value: int = 0) -> Transaction:
    return transaction(to=CONTRACT_ADDRESS, data=data, gas_limit=gas_limit, value=value)


def contract_balance(state: WorkingState) -> int:
    return state.account(CONTRACT_ADDRESS).balance


@pytest.mark.parametrize("data", [b"", b"\1\2\3\4", encode_call("unbond"), encode_call("head", bytes(32))])
def test_failed_call_pays_its_fixed_gas_and_gets_its_value_back(state: WorkingState, data: bytes) -> None:
    call, before = call_of(data, value=COIN), contract_balance(state)
    receipt = apply(state, call)
    assert receipt == Receipt(status=0, gas_used=gas_needed(call, PARAMETERS), effective_gas_price=8 * GWEI, logs=())
    assert (state.account(A).nonce, state.account(A).balance) == (1, BALANCE - receipt.gas_used * 8 * GWEI)
    assert contract_balance(state) == before
    assert state.account(PROPOSER).balance == receipt.gas_used * GWEI


def test_call_without_enough_gas_loses_it_all_and_does_nothing(state: WorkingState) -> None:
    needed = gas_needed(call_of(encode_call("validators")), PARAMETERS)
    before = contract_balance(state)
    receipt = apply(state, call_of(encode_call("validators"), gas_limit=needed - 1))
    assert receipt == Receipt(status=0, gas_used=needed - 1, effective_gas_price=8 * GWEI, logs=())
    assert state.account(A).balance == BALANCE - (needed - 1) * 8 * GWEI
    assert contract_balance(state) == before


def test_call_with_just_enough_gas_succeeds(state: WorkingState) -> None:
    call = call_of(encode_call("validators"))
    needed = gas_needed(call, PARAMETERS)
    assert needed == GAS_TRANSACTION + 4 * GAS_BYTE + PARAMETERS.gas_view
    receipt = apply(state, call_of(encode_call("validators"), gas_limit=needed))
    assert receipt == Receipt(status=1, gas_used=needed, effective_gas_price=8 * GWEI, logs=())


def test_view_takes_no_value(state: WorkingState) -> None:
    assert apply(state, call_of(encode_call("validators"), value=1)).status == 0


# ---------------------------------------------------------------------------------- messages without a transaction


def run(state: WorkingState, *, to: bytes, value: int, data: bytes = b"", gas_limit: int = 10**6) -> Outcome:
    return execute_message(
        state,
        sender=A,
        to=to,
        value=value,
        data=data,
        gas_limit=gas_limit,
        intrinsic=21_000,
        environment=ENVIRONMENT,
    )


def test_message_pays_no_fee_and_says_why_it_fails(state: WorkingState) -> None:
    reverted = run(state, to=CONTRACT_ADDRESS, value=COIN)
    assert (reverted.succeeded, reverted.reason) == (False, "empty calldata")
    assert revert_reason(reverted.output) == "empty calldata"
    assert run(state, to=STRANGER, value=BALANCE).succeeded
    assert run(state, to=STRANGER, value=BALANCE + 1).reason == "insufficient funds for transfer"
    short = run(state, to=CONTRACT_ADDRESS, value=0, data=encode_call("validators"), gas_limit=50_000)
    assert short.reason == "out of gas: the call needs 51000"
    assert state.changes() == {}
