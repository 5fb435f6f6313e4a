"""Home of the learning contract: ABI calls to operations, their fixed gas, and the ends of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from chain.abi import FUNCTIONS, InvalidCalldata, decode_arguments, function_of
from chain.operations import committing, opening, registration, settling, slashing, views
from chain.operations.attendance import members_on_parent
from chain.operations.call import CallContext, CallOutcome, Revert, require
from chain.operations.founding import InvalidFounding, genesis_learning
from chain.operations.learning_state import Validator
from chain.operations.learning_store import read_heads, read_members, read_validator, read_validators
from chain.operations.power import voters_of as voters_among
from chain.operations.ticks import begin_block, end_block
from chain.parameters import Parameters
from chain.state import View, WorkingState

__all__ = [
    "CallContext",
    "CallOutcome",
    "InvalidFounding",
    "Revert",
    "begin_block",
    "call_view",
    "end_block",
    "execute",
    "genesis_learning",
    "heads",
    "operation_gas",
    "validator_of",
    "validators_of",
    "voters_of",
    "voters_on_parent",
]

Operation: TypeAlias = Callable[..., CallOutcome]

_OPERATIONS: dict[str, Operation] = {
    "commitUpdate": committing.commit_update,
    "attestHeld": committing.attest_held,
    "revealUpdate": opening.reveal_update,
    "openShard": opening.open_shard,
    "attest": settling.attest,
    "settle": settling.settle,
    "registerValidator": registration.register_validator,
    "unbond": registration.unbond,
    "withdraw": registration.withdraw,
    "submitEvidence": slashing.submit_evidence,
}
_VIEWS: dict[str, Operation] = {
    "task": views.view_task,
    "head": views.view_head,
    "update": views.view_update,
    "contributionOf": views.view_contribution,
    "powerOf": views.view_power,
    "validators": views.view_validators,
}
_GAS = {
    "createTask": "gas_create_task",
    "closeTask": "gas_create_task",
    "joinCustody": "gas_join_custody",
    "openShard": "gas_open_shard",
    "commitUpdate": "gas_commit_update",
    "revealUpdate": "gas_reveal_update",
    "attestHeld": "gas_attest",
    "attest": "gas_attest",
    "settle": "gas_settle",
    "registerValidator": "gas_validator",
    "unbond": "gas_validator",
    "withdraw": "gas_validator",
    "submitEvidence": "gas_validator",
    "voteTask": "gas_validator",
    "voteCustodian": "gas_validator",
}
assert _VIEWS.keys() == {name for name, function in FUNCTIONS.items() if function.mutability == "view"}
assert _GAS.keys() | _VIEWS.keys() == FUNCTIONS.keys()


def operation_gas(calldata: bytes, parameters: Parameters) -> int:
    """The gas of a call beside its intrinsic gas: one price for each operation, whether it fails or not."""
    function = function_of(calldata)
    price = "gas_view" if function is None else _GAS.get(function.name, "gas_view")
    gas: int = getattr(parameters, price)
    return gas


def execute(state: WorkingState, context: CallContext, calldata: bytes) -> CallOutcome:
    """Carry out a call, an operation or a view; `context.value` is in the contract's balance already.

    Raises Revert. The caller works on a child of its state, and forgets it then.
    """
    name, arguments = _decode(context, calldata)
    operation = _OPERATIONS.get(name) or _VIEWS.get(name)
    if operation is None:
        raise Revert(f"{name}: not active in this version of the protocol")
    return operation(state, context, *arguments)


def call_view(view: View, context: CallContext, calldata: bytes) -> CallOutcome:
    """Answer a view's call from any state. Raises Revert, for operations too."""
    name, arguments = _decode(context, calldata)
    if name not in _VIEWS:
        raise Revert(f"{name} is not a view")
    return _VIEWS[name](view, context, *arguments)


def _decode(context: CallContext, calldata: bytes) -> tuple[str, tuple[object, ...]]:
    function = function_of(calldata)
    if function is None:
        raise Revert(f"unknown function selector 0x{calldata[:4].hex()}" if calldata else "empty calldata")
    payable = function.mutability == "payable"
    require(payable or context.value == 0, f"{function.name} takes no value, {context.value} was sent")
    try:
        return function.name, decode_arguments(function, calldata)
    except InvalidCalldata as error:
        raise Revert(str(error)) from error


def heads(view: View) -> tuple[bytes, ...]:
    """The weights roots of all tasks' newest heads, in the tasks' order: what a header's weights root commits to."""
    return read_heads(view)


def validators_of(view: View) -> tuple[tuple[bytes, int], ...]:
    """Who votes on the block after this state: (account, voting power) by account."""
    return read_validators(view)


def voters_of(view: View) -> tuple[tuple[bytes, int], ...]:
    """The same as consensus sees it: (address of the vote key, voting power) by that address."""
    return voters_among(read_members(view))


def voters_on_parent(view: View, height: int, parameters: Parameters) -> tuple[tuple[bytes, int], ...]:
    """Who voted on the block before that of `height`, after which `view` is: whose signatures its last commit has."""
    return voters_among(members_on_parent(view, height, parameters))


def validator_of(view: View, address: bytes) -> Validator:
    """An account's power, bond and registration."""
    return read_validator(view, address)
