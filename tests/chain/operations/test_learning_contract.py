"""The learning contract as a whole: calls that are none, gas, views, and what later versions add."""

from __future__ import annotations

from typing import Any

import pytest

from chain import contract
from chain.abi import FUNCTIONS, encode_call, revert_reason
from chain.operations.call import Revert
from chain.parameters import Parameters
from tests.chain.operations.learning_rounds import (
    A,
)
from tests.chain.operations.learning_world import (
    VALIDATORS,
    make_world,
)


@pytest.mark.parametrize(
    ("calldata", "value", "reason"),
    [
        (b"", 0, "empty calldata"),
        (b"", 5, "empty calldata"),
        (b"\x01", 0, "unknown function selector 0x01"),
        (b"\xde\xad\xbe\xef" + bytes(64), 0, "unknown function selector 0xdeadbeef"),
        (encode_call("validators") + b"\0", 0, "not canonically encoded"),
        (encode_call("task", bytes(32))[:-1], 0, "do not decode"),
        (encode_call("attest", bytes(32), 0, bytes(32)), 1, "attest takes no value, 1 was sent"),
        (encode_call("task", bytes(32)), 0, f"unknown task {bytes(32).hex()}"),
        (encode_call("head", bytes(32)), 0, "unknown task"),
        (encode_call("contributionOf", bytes(32), A), 0, "unknown task"),
        (encode_call("update", bytes(32)), 0, "no update was committed with sealed root"),
    ],
)
def test_calls_that_are_none_revert_with_their_reason(calldata: bytes, value: int, reason: str):
    world = make_world()
    before = dict(world.values)
    with pytest.raises(Revert, match=reason) as reverted:
        world.raw_call(A, calldata, value)
    assert revert_reason(reverted.value.data) == reverted.value.reason
    assert world.values == before


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("createTask", (b"{}",)),
        ("closeTask", (bytes(32),)),
        ("joinCustody", (bytes(32), bytes(32), bytes(32), 5)),
        ("voteTask", (bytes(32),)),
        ("voteCustodian", (bytes(32), A)),
    ],
)
def test_operations_of_later_versions_decode_and_revert(name: str, arguments: tuple[Any, ...]):
    assert make_world().reason(A, name, *arguments) == f"{name}: not active in this version of the protocol"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gas_is_fixed_by_the_function(name: str):
    parameters = Parameters()
    calldata = FUNCTIONS[name].selector
    price = contract.operation_gas(calldata, parameters)
    assert price == contract.operation_gas(calldata + bytes(1000), parameters) > 0
    if FUNCTIONS[name].mutability == "view":
        assert price == parameters.gas_view


def test_unknown_calls_cost_the_gas_of_a_view():
    assert contract.operation_gas(b"", Parameters()) == Parameters().gas_view
    assert contract.operation_gas(b"\0\0\0\0", Parameters()) == Parameters().gas_view
    assert contract.operation_gas(encode_call("settle", bytes(32), 0, b""), Parameters()) == Parameters().gas_settle


def test_an_operation_is_no_view():
    world = make_world()
    with pytest.raises(Revert, match="attest is not a view"):
        contract.call_view(world, world.context(), encode_call("attest", bytes(32), 0, bytes(32)))


def test_every_operation_on_an_unknown_task_reverts():
    world = make_world()
    unknown = bytes(32)
    for name, arguments in {
        "openShard": (unknown, 0, unknown),
        "commitUpdate": (unknown, 0, unknown, unknown, 5, unknown),
        "revealUpdate": (unknown, 0, unknown, unknown),
        "attestHeld": (unknown, 0, b"\1"),
        "attest": (unknown, 0, unknown),
        "settle": (unknown, 0, b""),
    }.items():
        assert world.reason(A, name, *arguments) == f"unknown task {unknown.hex()}"


def test_the_view_of_a_task_follows_its_clock():
    world = make_world(rounds=1)
    seen = []
    while world.height < world.clock.last_height + 2:
        _, status, cycle, phase, *_ = world.view("task", world.task)
        seen.append((status, cycle, phase))
        world.end_block()
    pending, first, second = [(1, 0, 0)] * 2, [(1, 0, 1)] * 2 + [(1, 0, 2)] * 2, [(1, 1, 1)] * 2 + [(1, 1, 2)] * 2
    assert seen == pending + first + [(1, 0, 3)] * 5 + [(1, 0, 4)] * 3 + second + [(2, 1, 5)]
    spec, *_, head, loss, escrow = world.view("task", world.task)
    assert (spec.encode(), head, loss, escrow) == (world.spec, world.task_state.head, 0, 0)


def test_views_of_power_and_validators():
    world = make_world()
    assert world.view("validators") == (VALIDATORS, (500_000, 300_000, 200_000))
    assert world.view("powerOf", VALIDATORS[1]) == (300_000, 300_000)
    assert world.view("powerOf", A) == (0, 0)
