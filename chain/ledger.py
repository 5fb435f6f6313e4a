"""Home of money: the fee market and what one transaction does to accounts and to the learning contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from chain import contract
from chain.errors import InvalidInput
from chain.parameters import Parameters
from chain.state import WorkingState
from chain.transactions import Transaction, intrinsic_gas
from chain.types import CONTRACT_ADDRESS, Header, Log, Receipt

TRANSFER_GAS = 21_000


class InexecutableTransaction(InvalidInput):
    """A transaction that can't stand at this place of a block: the block that holds it is invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a block gives to its transactions."""

    chain_id: int
    height: int
    time_ms: int
    proposer: bytes
    base_fee: int
    gas_limit: int
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What executing a message did. `reason` says why it failed, `output` is its return or revert data."""

    succeeded: bool
    gas_used: int
    output: bytes = b""
    logs: tuple[Log, ...] = ()
    reason: str = ""


def next_base_fee(parent: Header, parameters: Parameters) -> int:
    """The base fee of the block after `parent` (EIP-1559): up by at most 1/8 over the gas target, down below it."""
    target = parent.gas_limit // parameters.gas_elasticity
    fee = parent.base_fee
    distance = fee * abs(parent.gas_used - target) // target // parameters.base_fee_change_divisor
    if parent.gas_used > target:
        return fee + max(distance, 1)
    return max(fee - distance, parameters.base_fee_minimum)


def gas_needed(transaction: Transaction, parameters: Parameters) -> int:
    """All the gas that a transaction uses: intrinsic, and the fixed price of a call of the contract."""
    gas = intrinsic_gas(transaction)
    if transaction.to == CONTRACT_ADDRESS:
        gas += contract.operation_gas(transaction.data, parameters)
    return gas


def check(transaction: Transaction, nonce: int, balance: int, gas_left: int, environment: Environment) -> None:
    """Raises InexecutableTransaction unless the transaction may be the next one of its block."""
    if transaction.nonce != nonce:
        raise InexecutableTransaction(f"nonce {transaction.nonce} where the account's next is {nonce}")
    if transaction.max_fee_per_gas < environment.base_fee:
        raise InexecutableTransaction(
            f"max fee per gas {transaction.max_fee_per_gas} is less than the base fee {environment.base_fee}"
        )
    if transaction.gas_limit > gas_left:
        raise InexecutableTransaction(f"gas limit {transaction.gas_limit} where the block has {gas_left} left")
    cost = transaction.gas_limit * transaction.max_fee_per_gas + transaction.value
    if balance < cost:
        raise InexecutableTransaction(f"balance {balance} where gas * price + value is {cost}")


def apply_transaction(
    state: WorkingState, transaction: Transaction, gas_left: int, environment: Environment
) -> Receipt:
    """Execute one transaction; fees, value and effects go to `state`.

    Raises InexecutableTransaction, before anything is written, if it can't stand here.
    """
    sender = state.account(transaction.sender)
    check(transaction, sender.nonce, sender.balance, gas_left, environment)
    intrinsic = intrinsic_gas(transaction)
    if intrinsic > transaction.gas_limit:
        raise InexecutableTransaction(f"intrinsic gas too low: gas {transaction.gas_limit}, minimum needed {intrinsic}")
    tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - environment.base_fee)
    price = environment.base_fee + tip
    sender.nonce += 1
    if transaction.to == CONTRACT_ADDRESS:
        sender.balance -= transaction.gas_limit * price
        outcome = call_contract(
            state,
            transaction.sender,
            transaction.value,
            transaction.data,
            transaction.gas_limit,
            intrinsic,
            environment,
        )
        sender.balance += (transaction.gas_limit - outcome.gas_used) * price
        receipt = Receipt(
            status=int(outcome.succeeded),
            gas_used=outcome.gas_used,
            effective_gas_price=price,
            logs=outcome.logs,
        )
    else:
        sender.balance -= transaction.value + intrinsic * price
        if transaction.value:
            state.account(transaction.to).balance += transaction.value
        receipt = _receipt_of_transfer(intrinsic, price)
    if tip:
        state.account(environment.proposer).balance += receipt.gas_used * tip
    return receipt


@lru_cache(maxsize=1024)
def _receipt_of_transfer(gas_used: int, price: int) -> Receipt:
    """One object for all transfers at one price: a block is full of them, and many blocks are remembered."""
    return Receipt(status=1, gas_used=gas_used, effective_gas_price=price, logs=())


def call_contract(
    state: WorkingState,
    sender: bytes,
    value: int,
    data: bytes,
    gas_limit: int,
    intrinsic: int,
    environment: Environment,
) -> Outcome:
    """A call of the learning contract: on success its effects and `value` are merged into `state`, else nothing is."""
    gas = intrinsic + contract.operation_gas(data, environment.parameters)
    if gas > gas_limit:
        return Outcome(succeeded=False, gas_used=gas_limit, reason=f"out of gas: the call needs {gas}")
    child = state.child()
    if child.account(sender).balance < value:
        return Outcome(succeeded=False, gas_used=gas, reason="insufficient balance for transfer")
    child.account(sender).balance -= value
    child.account(CONTRACT_ADDRESS).balance += value
    try:
        done = contract.execute(child, call_context(sender, value, environment), data)
    except contract.Revert as revert:
        return Outcome(succeeded=False, gas_used=gas, output=revert.data, reason=revert.reason)
    state.merge(child)
    return Outcome(succeeded=True, gas_used=gas, output=done.output, logs=done.logs)


def call_context(sender: bytes, value: int, environment: Environment) -> contract.CallContext:
    return contract.CallContext(
        chain_id=environment.chain_id,
        height=environment.height,
        sender=sender,
        value=value,
        parameters=environment.parameters,
    )


def execute_message(
    state: WorkingState,
    *,
    sender: bytes,
    to: bytes,
    value: int,
    data: bytes,
    gas_limit: int,
    intrinsic: int,
    environment: Environment,
) -> Outcome:
    """What `eth_call` and `eth_estimateGas` run: a message without nonce and fees, on a state to be thrown away."""
    if state.account(sender).balance < value:
        return Outcome(succeeded=False, gas_used=intrinsic, reason="insufficient funds for transfer")
    if to == CONTRACT_ADDRESS:
        return call_contract(state, sender, value, data, gas_limit, intrinsic, environment)
    return Outcome(succeeded=True, gas_used=intrinsic)
