"""Task specifications, the numbers they choose, and their clock."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.operations.clock import Clock, Phase
from chain.operations.tasks import SETTINGS, InvalidTaskSpec, canonical_json, parse_spec, task_id
from chain.parameters import Parameters
from chain.types import COIN
from tests.chain.operations.learning_world import spec_json

PARAMETERS = Parameters()


def test_a_specification_is_its_canonical_json():
    data = spec_json(settings={"price": str(7 * COIN), "cycle_blocks": 30, "harm_rounds": 2})
    spec = parse_spec(data, PARAMETERS)
    assert spec.to_json() == data
    numbers = spec.numbers(PARAMETERS)
    assert (numbers.price, numbers.cycle_blocks, numbers.harm_rounds) == (7 * COIN, 30, 2)
    assert numbers.bond_minimum == PARAMETERS.bond_minimum
    rules = spec.rules(PARAMETERS)
    assert (rules.price, rules.cap, rules.minimum_openings) == (7 * COIN, PARAMETERS.round_cap, 1)
    assert (rules.shard_samples, rules.architecture) == (spec.shard_samples, spec.architecture)


def changed(**changes: Any) -> bytes:
    return spec_json(**changes)


def without(name: str) -> bytes:
    fields = json.loads(spec_json())
    del fields[name]
    return canonical_json(fields)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "a specification is a JSON object"),
        (b'{"a":NaN}', "NaN is no JSON"),
        (b"[" * 3000, "not JSON"),
        (spec_json() + b" ", "not canonical JSON"),
        (json.dumps(json.loads(spec_json())).encode(), "not canonical JSON"),
        (spec_json(description="x" * 5000), "at most 4096 are allowed"),
        (without("rounds"), "look at 'rounds'"),
        (changed(extra=1), "look at 'extra'"),
        (changed(start="1"), "start is '1': it must be of type int"),
        (changed(start=True), "start is True: it must be of type int"),
        (changed(native=1), "native is 1: it must be of type bool"),
        (changed(start=0), "start is 0: give an integer from 1 to"),
        (changed(start=2**41), "start is 2199023255552: give an integer"),
        (changed(rounds=0), "rounds is 0: give an integer from 1 to 1048576"),
        (changed(shard_samples=0), "shard_samples is 0"),
        (changed(shard_samples=4097), "shard_samples is 4097"),
        (changed(power_weight_milli=-1), "power_weight_milli is -1"),
        (changed(name=""), "name must be 1 to 64 printable characters"),
        (changed(name="x" * 65), "name must be 1 to 64 printable characters"),
        (changed(description="a\nb"), "description must be 1 to 1024 printable characters"),
        (changed(initial_seed="0x12"), "initial_seed is '0x12'"),
        (changed(initial_seed="0x" + "AB" * 32), "give 32 bytes as 0x and 64 lower-case digits"),
        (changed(architecture={}), "architecture: "),
        (changed(architecture={"kind": float("1e9")}), "architecture: "),
        (changed(schema={}), "schema must be"),
        (changed(schema={"columns": [["x", "0", "1"]], "labels": ["a", "b"]}), "the schema describes 1 inputs and 2"),
        (changed(settings={"tasks_max": 5}), "settings.tasks_max is not a number that a task may choose"),
        (changed(settings={"block_gas_limit": 5}), "settings.block_gas_limit is not a number that a task may choose"),
        (changed(settings={"price": 5}), "settings.price is 5: give an amount in decimal digits, in quotes"),
        (changed(settings={"price": "-5"}), "settings.price is '-5'"),
        (changed(settings={"price": "007"}), "not canonical JSON"),
        (changed(settings={"price": "9" * 40}), "settings.price is"),
        (changed(settings={"price": "9" * 39}), "settings: "),
        (changed(settings={"cycle_blocks": "20"}), "settings.cycle_blocks is '20': give an integer up to 1048576"),
        (changed(settings={"cycle_blocks": 2**21}), "settings.cycle_blocks is 2097152"),
        (changed(settings={"cycle_blocks": 7}), "settings: parameter cycle_blocks"),
        (changed(settings={"cycle_blocks": 8, "hold_blocks": 4}), "leaves no block for commits"),
        (changed(settings={"harm_cut_milli": 1001}), "settings: parameter harm_cut_milli"),
        (changed(settings={"staleness_max": 1}), "settings: parameter staleness_max"),
        (changed(settings={"loss_floor": 2**25 + 1}), "settings: loss_floor is 33554433"),
        (changed(settings={"update_bytes_max": 100}), "update_bytes_max is 100: raise it in settings"),
    ],
)
def test_specifications_that_are_none_are_refused_with_what_to_do(data: bytes, reason: str):
    with pytest.raises(InvalidTaskSpec) as refused:
        parse_spec(data, PARAMETERS)
    assert reason in str(refused.value)


@given(data=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(deadline=None, max_examples=200)
def test_anything_else_is_refused_too(data: bytes):
    with pytest.raises(InvalidTaskSpec):
        parse_spec(data, PARAMETERS)


def test_settings_are_numbers_of_the_table():
    assert set(SETTINGS) <= set(Parameters.__slots__)
    assert len(set(SETTINGS)) == len(SETTINGS)


def test_a_task_id_binds_chain_ordinal_and_specification():
    ids = {task_id(chain, ordinal, spec) for chain in (1, 2) for ordinal in (0, 1) for spec in (b"{}", spec_json())}
    assert len(ids) == 8
    # SHA-256 of "lyceum/task/1\0", u64(1), u32(0), SHA-256("{}"), by hashlib alone
    expected = "224ec3752deafcf52321ee393ee7b7d7c1700570e9f7914826ca6cce174f32b6"
    assert task_id(1, 0, b"{}").hex() == expected


# --------------------------------------------------------------------------------------------------------------- clock


def test_a_cycle_of_twelve_blocks():
    clock = Clock(start=5, cycle=12, reveal=2, open=3, hold=2, rounds=2)
    phases = [clock.phase_of(height) for height in range(3, 36)]
    cycle = [Phase.REVEAL] * 2 + [Phase.OPEN] * 3 + [Phase.COMMIT] * 5 + [Phase.HOLD] * 2
    assert phases == [Phase.PENDING] * 2 + cycle * 2 + cycle[:5] + [Phase.OVER] * 2
    assert clock.last_height == 33
    commits = [height for height in range(40) if clock.accepts_commits(height)]
    assert commits == [*range(7, 15), *range(19, 27)]
    assert [height for height in range(60) if clock.accepts_reveals(0, height)] == [17, 18]
    assert [height for height in range(60) if clock.accepts_openings(0, height)] == [19, 20, 21]
    assert [height for height in range(60) if clock.accepts_reveals(1, height)] == [29, 30]


@given(
    start=st.integers(1, 50),
    reveal=st.integers(1, 3),
    open_=st.integers(1, 3),
    commit=st.integers(1, 5),
    hold=st.integers(1, 3),
    rounds=st.integers(1, 4),
)
@settings(deadline=None, max_examples=100)
def test_every_round_has_its_commits_before_its_reveals_before_its_openings(
    start: int, reveal: int, open_: int, commit: int, hold: int, rounds: int
):
    cycle = reveal + open_ + commit + hold
    clock = Clock(start=start, cycle=cycle, reveal=reveal, open=open_, hold=hold, rounds=rounds)
    heights = range(start - 1, clock.last_height + 3 * cycle)
    for number in range(rounds):
        commits = [h for h in heights if clock.accepts_commits(h) and clock.cycle_of(h) == number]
        reveals = [h for h in heights if clock.accepts_reveals(number, h)]
        openings = [h for h in heights if clock.accepts_openings(number, h)]
        assert (len(commits), len(reveals), len(openings)) == (open_ + commit, reveal, open_)
        assert max(commits) + hold < min(reveals) <= max(reveals) + 1 == min(openings)
    assert not any(clock.accepts_commits(h) for h in heights if clock.cycle_of(h) >= rounds)
    assert max(openings) == clock.last_height
    assert clock.phase_of(clock.last_height) is Phase.OPEN
    assert clock.phase_of(clock.last_height + 1) is Phase.OVER
