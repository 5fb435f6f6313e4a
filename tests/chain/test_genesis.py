"""What a genesis file may say: nothing that its network could not live with."""

from __future__ import annotations

import contextlib

import pytest

from chain.codec import decode_block, encode_block
from chain.errors import InvalidInput
from chain.genesis import InvalidGenesis, genesis_block, genesis_json, parse_genesis
from chain.parameters import PARAMETER_NAMES
from chain.storage.statetree import StateTree
from chain.transition import build_block
from chain.types import COIN
from chain.verification.replay import ReplayedState

VALIDATOR = b"v" * 20


def first_block(**parameters: int) -> None:
    """Make the network with these parameters, and its first block. Raises InvalidInput."""
    encoded = genesis_json(
        chain_id=5, time_ms=1, balances={}, validators=[(VALIDATOR, 1000, COIN)], tasks=[], parameters=parameters
    )
    genesis = parse_genesis(encoded)
    block, changes = genesis_block(genesis)
    state, tree = ReplayedState(), StateTree()
    state.change(changes)
    tree.update(changes)
    built = build_block(
        state,
        block.header,
        [],
        time_ms=2,
        proposer=VALIDATOR,
        last_commit=b"",
        parameters=genesis.parameters,
        state_root_of=lambda changes: tree.preview(changes)[0],
    )
    assert decode_block(encode_block(built.block)) == built.block


@pytest.mark.parametrize("name", PARAMETER_NAMES)
@pytest.mark.parametrize("value", [0, 1, 2**31, 2**63, 2**64, 2**128 - 1, 2**128])
def test_any_value_of_a_parameter_is_refused_or_makes_a_block(name: str, value: int) -> None:
    with contextlib.suppress(InvalidInput):
        first_block(**{name: value})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_no_json_are_refused(number: str) -> None:
    text = '{"chain_id":1,"time_ms":1,"parameters":{},"balances":{},"validators":[],"tasks":[{"spec":{"a":%s}}]}'
    with pytest.raises(InvalidGenesis, match="no JSON"):
        parse_genesis((text % number).encode())
