"""Home of what the pool asks of a transaction before it lets it in, in the words of go-ethereum.

Wallets match on these texts ("nonce too low", "insufficient funds for gas * price + value", ...): they are an
interface, and change for nobody's taste.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.errors import InvalidInput
from chain.transactions import Transaction
from chain.types import GWEI


class RefusedTransaction(InvalidInput):
    """A well-formed transaction that the pool does not take, now or ever; the message says why."""


class RefusedByAccount(RefusedTransaction):
    """One that the sender's account does not allow now: after the next block it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the pool holds and what it asks for."""

    transactions_max: int = 8192
    bytes_max: int = 32 << 20
    nonces_ahead_max: int = 256  # a sender's transactions reach less than this beyond the account's nonce
    base_fee_minimum: int = GWEI
    replacement_percent: int = 10  # both fees of a replacement exceed those of what it replaces by this


def check_static(transaction: Transaction, intrinsic: int, block_gas_limit: int, limits: Limits) -> None:
    """What needs no account: gas within the block's and above the intrinsic, fees that can ever be taken."""
    if transaction.gas_limit > block_gas_limit:
        raise RefusedTransaction(f"exceeds block gas limit: gas {transaction.gas_limit}, limit {block_gas_limit}")
    if transaction.gas_limit < intrinsic:
        raise RefusedTransaction(f"intrinsic gas too low: gas {transaction.gas_limit}, minimum needed {intrinsic}")
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise RefusedTransaction(
            "max priority fee per gas higher than max fee per gas: "
            f"maxPriorityFeePerGas: {transaction.max_priority_fee_per_gas}, maxFeePerGas: {transaction.max_fee_per_gas}"
        )
    if transaction.max_fee_per_gas < limits.base_fee_minimum:
        raise RefusedTransaction(
            f"max fee per gas less than block base fee: address 0x{transaction.sender.hex()}, "
            f"maxFeePerGas: {transaction.max_fee_per_gas}, baseFee: {limits.base_fee_minimum}"
        )


def check_nonce(nonce: int, account_nonce: int, limits: Limits) -> None:
    if nonce < account_nonce:
        raise RefusedTransaction(f"nonce too low: next nonce {account_nonce}, tx nonce {nonce}")
    if nonce >= account_nonce + limits.nonces_ahead_max:
        raise RefusedByAccount(
            f"nonce too high: next nonce {account_nonce}, tx nonce {nonce}, "
            f"less than {limits.nonces_ahead_max} ahead may wait: send the missing ones first"
        )


def check_funds(cost: int, queued_cost: int, balance: int) -> None:
    """The balance must cover the costs of all that the sender has waiting (`queued_cost`) and of this one."""
    if cost > balance:
        raise RefusedByAccount(
            f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, overshot {cost - balance}"
        )
    if queued_cost + cost > balance:
        raise RefusedByAccount(
            f"insufficient funds for gas * price + value: balance {balance}, queued cost {queued_cost}, "
            f"tx cost {cost}, overshot {queued_cost + cost - balance}"
        )


def check_replacement(old: Transaction, new: Transaction, limits: Limits) -> None:
    """Both fees must rise, by at least `replacement_percent` (rounded down)."""
    factor = 100 + limits.replacement_percent
    fee, tip = old.max_fee_per_gas, old.max_priority_fee_per_gas
    if new.max_fee_per_gas < max(fee + 1, fee * factor // 100) or new.max_priority_fee_per_gas < max(
        tip + 1, tip * factor // 100
    ):
        raise RefusedTransaction(
            f"replacement transaction underpriced: maxFeePerGas {new.max_fee_per_gas} and maxPriorityFeePerGas "
            f"{new.max_priority_fee_per_gas} must exceed {fee} and {tip} by {limits.replacement_percent} %"
        )


def effective_tip(transaction: Transaction, base_fee: int) -> int:
    """What a proposer gets per gas; negative where the fee does not cover the base fee."""
    return min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee)
