"""Home of eth_call and eth_estimateGas: a message, read from JSON, is executed on a copy of a kept state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chain import contract
from chain.ledger import Environment, Outcome, execute_message, next_base_fee
from chain.state import KIND_ACCOUNT, View, WorkingState, decode_account
from chain.transactions import intrinsic_gas_of
from chain.types import CONTRACT_ADDRESS, ZERO_ADDRESS, Header
from rpc.formats import data, quantity
from rpc.jsonrpc import EXECUTION_REVERTED, INVALID_PARAMS, SERVER_ERROR, RpcError
from rpc.parameters import InvalidParameter, address, hash32, quantity256, shown
from rpc.parameters import data as parse_data
from rpc.parameters import quantity as parse_quantity
from rpc.records import Records

AccessList = tuple[tuple[bytes, tuple[bytes, ...]], ...]
GAS_OF_A_TRANSFER = 21_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a call object asks for; what it leaves out is None or empty. `fee` is the most it pays for a unit of gas."""

    sender: bytes
    to: bytes | None
    gas: int | None
    fee: int
    value: int
    data: bytes
    access_list: AccessList
    chain_id: int | None


def message(given: Any) -> Message:
    """The transaction object of eth_call and eth_estimateGas; fields that matter nothing to them are ignored."""
    if type(given) is not dict:
        raise InvalidParameter(f"a transaction object is needed, not {shown(given)}")
    take = _Fields(given)
    price = take("gasPrice", quantity256)
    fee, tip = take("maxFeePerGas", quantity256), take("maxPriorityFeePerGas", quantity256)
    if price is not None and (fee is not None or tip is not None):
        raise InvalidParameter("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")
    if fee is not None and tip is not None and tip > fee:
        raise InvalidParameter(f"maxFeePerGas ({fee}) < maxPriorityFeePerGas ({tip})")
    plain, called = take("data", parse_data), take("input", parse_data)
    if plain is not None and called is not None and plain != called:
        raise InvalidParameter(
            'both "data" and "input" are set and not equal. Please use "input" to pass transaction call data'
        )
    return Message(
        sender=take("from", address) or ZERO_ADDRESS,
        to=take("to", address),
        gas=take("gas", parse_quantity),
        fee=price if price is not None else fee or 0,
        value=take("value", quantity256) or 0,
        data=(called if called is not None else plain) or b"",
        access_list=take("accessList", _access_list) or (),
        chain_id=take("chainId", quantity256),
    )


class _Fields:
    """Takes parsed fields out of a JSON object, naming the field where one is wrong."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    def __call__(self, name: str, parse: Any) -> Any:
        value = self._given.get(name)
        if value is None:
            return None
        try:
            return parse(value)
        except InvalidParameter as error:
            raise InvalidParameter(f"{name}: {error}") from None


def _access_list(value: Any) -> AccessList:
    if type(value) is not list:
        raise InvalidParameter(f"an array is needed, not {shown(value)}")
    entries = []
    for entry in value:
        keys = entry.get("storageKeys") if type(entry) is dict else None
        if type(keys) is not list:
            raise InvalidParameter("an entry is an object of address and storageKeys")
        entries.append((address(entry.get("address")), tuple(hash32(key) for key in keys)))
    return tuple(entries)


class Execution:
    """Executes messages on kept states; nothing that they change remains."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._backend = records.backend

    def call(self, given: Message, reference: int | str | bytes) -> str:
        """eth_call: the return data. Raises RpcError with code 3 where the message reverts."""
        view, environment = self._at(reference)
        to = self._checked(given)
        limit = min(environment.gas_limit, given.gas) if given.gas is not None else environment.gas_limit
        intrinsic = intrinsic_gas_of(given.data, given.access_list)
        if intrinsic > limit:
            raise RpcError(SERVER_ERROR, f"intrinsic gas too low: have {limit}, want {intrinsic}")
        if given.fee:
            self._require_funds(view, given, limit * given.fee + given.value, environment.base_fee)
        outcome = self._run(view, given, to, limit, intrinsic, environment)
        return data(require_success(outcome).output)

    def estimate(self, given: Message, reference: int | str | bytes) -> str:
        """eth_estimateGas: exactly the gas that the message will use. Raises RpcError where it would fail."""
        view, environment = self._at(reference)
        to = self._checked(given)
        intrinsic = intrinsic_gas_of(given.data, given.access_list)
        balance = _balance(view, given.sender)
        if given.value > balance:
            raise RpcError(SERVER_ERROR, "insufficient funds for transfer")
        needed = intrinsic
        if to == CONTRACT_ADDRESS:
            needed += contract.operation_gas(given.data, self._backend.parameters)
        allowance = environment.gas_limit
        if given.gas is not None and given.gas >= GAS_OF_A_TRANSFER:
            allowance = min(allowance, given.gas)
        if given.fee:
            allowance = min(allowance, (balance - given.value) // given.fee)
        if needed > allowance:
            raise RpcError(SERVER_ERROR, f"gas required exceeds allowance ({allowance})")
        outcome = self._run(view, given, to, allowance, intrinsic, environment)
        return quantity(require_success(outcome).gas_used)

    def _at(self, reference: int | str | bytes) -> tuple[View, Environment]:
        """The state to execute on and what surrounds it.

        On the tip's state a message runs as in the next block, where a transaction that is sent now would, since the
        contract's phases go by height; on an older one as at the end of that block.
        """
        height = self._records.known_height(reference)
        header = self._backend.header(height)
        assert header is not None
        ahead = height == self._backend.tip().header.height
        return self._backend.state(height), self._environment(header, ahead)

    def _environment(self, header: Header, ahead: bool) -> Environment:
        parameters = self._backend.parameters
        return Environment(
            chain_id=header.chain_id,
            height=header.height + ahead,
            time_ms=header.time_ms,
            proposer=header.proposer,
            base_fee=next_base_fee(header, parameters) if ahead else header.base_fee,
            gas_limit=parameters.block_gas_limit,
            parameters=parameters,
        )

    def _checked(self, given: Message) -> bytes:
        if given.chain_id is not None and given.chain_id != self._backend.chain_id:
            raise RpcError(
                INVALID_PARAMS, f"chainId does not match node's (have={given.chain_id}, want={self._backend.chain_id})"
            )
        if given.to is None:
            raise RpcError(SERVER_ERROR, "contract creation is not supported: this chain runs no code of its users")
        return given.to

    def _require_funds(self, view: View, given: Message, cost: int, base_fee: int) -> None:
        if given.fee < base_fee:
            raise RpcError(
                SERVER_ERROR,
                f"max fee per gas less than block base fee: address {data(given.sender)}, "
                f"maxFeePerGas: {given.fee}, baseFee: {base_fee}",
            )
        balance = _balance(view, given.sender)
        if balance < cost:
            raise RpcError(
                SERVER_ERROR,
                f"insufficient funds for gas * price + value: address {data(given.sender)} have {balance} want {cost}",
            )

    @staticmethod
    def _run(
        view: View, given: Message, to: bytes, gas_limit: int, intrinsic: int, environment: Environment
    ) -> Outcome:
        return execute_message(
            WorkingState(view),
            sender=given.sender,
            to=to,
            value=given.value,
            data=given.data,
            gas_limit=gas_limit,
            intrinsic=intrinsic,
            environment=environment,
        )


def _balance(view: View, owner: bytes) -> int:
    stored = view.get(KIND_ACCOUNT + owner)
    return decode_account(stored)[1] if stored is not None else 0


def require_success(outcome: Outcome) -> Outcome:
    """The outcome, if it is one; else RpcError: a revert has code 3 and its data, any other failure none."""
    if outcome.succeeded:
        return outcome
    if outcome.output:
        message = f"execution reverted: {outcome.reason}" if outcome.reason else "execution reverted"
        raise RpcError(EXECUTION_REVERTED, message, data(outcome.output))
    raise RpcError(SERVER_ERROR, outcome.reason)
