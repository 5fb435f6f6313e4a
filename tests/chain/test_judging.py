"""Settlement inputs put together from state and blobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.judging import MissingBlobs, live_blobs, settlement_input
from learning.record import CustodianFate
from tests.chain.operations.learning_play import judge, play_round, play_round_from, settle_round
from tests.chain.operations.learning_world import (
    CUSTODIANS,
    MINERS,
    SHARDS,
    make_world,
    prepared,
)


def test_judging_names_every_blob_that_it_misses():
    world = make_world()
    play_round(world, 0)
    everything = dict(world.blobs)
    round_ = world.round(0)
    manifests = {opening.shards_root for opening in round_.openings}
    sealed = {update.sealed_root for update in round_.updates}
    with pytest.raises(MissingBlobs) as missing:
        settlement_input(world, world.parameters, world.task, 0, {}.get)
    assert set(missing.value.roots) == manifests | sealed
    only_manifests = {key: everything[key] for key in manifests | sealed}
    with pytest.raises(MissingBlobs) as missing:
        settlement_input(world, world.parameters, world.task, 0, only_manifests.get)
    assert len(missing.value.roots) == len(CUSTODIANS)
    needed = only_manifests | {key: everything[key] for key in missing.value.roots}
    settlement_input(world, world.parameters, world.task, 0, needed.get)


def test_a_manifest_that_is_none_makes_its_shards_malformed_and_costs_bond():
    world = make_world()
    play_round(world, 0)
    world.blobs[world.custodian(CUSTODIANS[1]).shards_root] = b"no manifest"
    settlement = judge(world, 0)
    assert [line.fate for line in settlement.record.custodians] == [CustodianFate.USED, CustodianFate.MALFORMED]
    events = settle_round(world, 0, settlement)
    penalised = [values for name, values in events if name == "Penalised"]
    assert [(each["account"], each["reason"]) for each in penalised] == [(CUSTODIANS[1], 5)]
    assert [opening.custodian for opening in world.task_state.previous] == [CUSTODIANS[0]]


def test_live_blobs_are_those_that_a_later_round_can_still_need():
    world = make_world(settings={"cycle_blocks": 12, "copy_window_rounds": 1})
    settlement = play_round(world, 0)
    sealed = {update.sealed_root for update in world.round(0).updates}
    initial = world.task_state.head
    live = live_blobs(world, world.parameters, world.blobs.get)
    assert list(live) == sorted(set(live))
    assert sealed | {initial} <= set(live)
    assert len(set(live) - sealed - {initial}) == len(CUSTODIANS) * (1 + SHARDS)
    settle_round(world, 0, settlement)
    assert sealed | {initial, settlement.record.head} <= set(live_blobs(world, world.parameters, world.blobs.get))
    world.go_to(1, 5)
    settlement = play_round_from(world, 1)
    settle_round(world, 1, settlement)
    assert not sealed & set(live_blobs(world, world.parameters, world.blobs.get))


def test_judging_takes_the_streaks_that_state_has():
    world = make_world()
    settlement = play_round(world, 0)
    updates = tuple(replace(line, streak=1) for line in settlement.record.updates)
    record = replace(settlement.record, updates=updates)
    world.attest(0, record.encode())
    world.call(MINERS[0], "settle", world.task, 0, record.encode())
    world.go_to(1, 5)
    play_round_from(world, 1)
    given = settlement_input(world, world.parameters, world.task, 1, world.blobs.get)
    assert [update.streak for update in given.updates] == [1]


@pytest.mark.parametrize(("later", "recent"), [(2, 2), (3, 0)])
def test_copies_are_looked_for_within_the_window_counted_in_rounds_even_where_some_were_empty(later: int, recent: int):
    world = make_world(settings={"cycle_blocks": 12, "copy_window_rounds": 2})
    settle_round(world, 0, play_round(world, 0))
    world.go_to(later, 5)
    play_round_from(world, later)
    given = settlement_input(world, world.parameters, world.task, later, world.blobs.get)
    assert len(given.recent) == recent


def test_sealed_shards_of_the_world_are_the_custodians_own():
    world = make_world()
    for custodian in CUSTODIANS:
        assert prepared(custodian, world.task).root == world.custodian(custodian).shards_root
