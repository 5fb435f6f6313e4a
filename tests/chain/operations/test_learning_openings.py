"""revealUpdate and openShard: what they do, and every reason for which they revert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chain.operations.learning_state import Fate, RoundStatus
from chain.operations.learning_store import read_update_location
from chain.types import COIN
from tests.chain.operations.learning_rounds import (
    FEE,
    A,
    B,
    committed,
    held,
    judged,
    nothing_gained,
    opening,
    settle,
)
from tests.chain.operations.learning_world import (
    BALANCE,
    BOND,
    CUSTODIANS,
    VALIDATORS,
    World,
    make_world,
    root,
    shard_keys,
)


@pytest.mark.parametrize(
    ("prepare", "sender", "arguments", "reason"),
    [
        (held, A, lambda world, roots: (1, roots[0], root("update 0")), "keys of round 1 are not taken at height 15"),
        (opening, A, lambda world, roots: (0, roots[0], root("update 0")), "they are in the first 2 blocks from 15 on"),
        (committed, A, lambda world, roots: (0, roots[0], root("update 0")), "keys of round 0 are not taken at height"),
        (held, A, lambda world, roots: (0, roots[1], root("update 1")), "this account committed no update with sealed"),
        (held, A, lambda world, roots: (0, roots[0], root("update 1")), "the key is not the one that was committed"),
    ],
)
def test_reveals_out_of_time_or_without_the_key_revert(
    prepare: Callable[[World], list[bytes]], sender: bytes, arguments: Callable[..., Any], reason: str
):
    world = make_world()
    roots = prepare(world)
    assert reason in world.reason(sender, "revealUpdate", world.task, *arguments(world, roots))


def test_an_update_is_revealed_once_and_only_if_it_was_held():
    world = make_world()
    roots = committed(world, count=2)
    for validator in VALIDATORS:
        world.call(validator, "attestHeld", world.task, 0, b"\x01")
    world.go_to(1, 0)
    (event,) = world.call(A, "revealUpdate", world.task, 0, roots[0], root("update 0"))
    assert event == ("UpdateRevealed", {"task": world.task, "miner": A, "round": 0, "sealedRoot": roots[0]})
    assert world.round(0).updates[0].revealed_at == world.height
    assert (
        world.reason(A, "revealUpdate", world.task, 0, roots[0], root("update 0")) == "this update is already revealed"
    )
    reason = world.reason(B, "revealUpdate", world.task, 0, roots[1], root("update 1"))
    assert reason == "this update is left out, as validators did not hold its blob in time"
    assert read_update_location(world, roots[1]).place == 1


def test_reveals_of_a_round_without_updates_revert():
    world = make_world()
    world.go_to(1, 0)
    assert world.reason(A, "revealUpdate", world.task, 0, root("x"), root("y")) == "round 0 has no updates"


def test_a_round_without_a_revealed_update_is_empty_and_burns_no_shard():
    world = make_world()
    held(world)
    world.go_to(1, 2)
    assert world.round(0).status is RoundStatus.EMPTY
    assert [update.fate for update in world.round(0).updates] == [Fate.NOT_REVEALED] * 2
    assert [world.balance(miner) for miner in (A, B)] == [BALANCE - BOND - FEE] * 2
    assert (world.task_state.pending, world.task_state.unsettled, world.task_state.judged) == ((), (), 0)
    key = shard_keys(CUSTODIANS[0]).key(0)
    reason = world.reason(CUSTODIANS[0], "openShard", world.task, 0, key)
    assert reason == "round 0 opens no shards: it is EMPTY"
    world.go_to(1, 4)
    assert [world.custodian(each).bond for each in CUSTODIANS] == [60 * COIN] * 2
    assert world.view("contributionOf", world.task, A) == (0, 0, 0, BOND, 1)


def test_a_shard_is_opened_with_the_next_key_of_the_chain():
    world = make_world()
    opening(world)
    custodian = CUSTODIANS[0]
    (event,) = world.call(custodian, "openShard", world.task, 0, shard_keys(custodian).key(0))
    assert event == ("ShardOpened", {"task": world.task, "custodian": custodian, "round": 0})
    (opened,) = world.round(0).openings
    assert (opened.index, opened.key) == (0, shard_keys(custodian).key(0))
    assert (world.custodian(custodian).opened, world.custodian(custodian).last_key) == (1, opened.key)
    reason = world.reason(custodian, "openShard", world.task, 0, shard_keys(custodian).key(0))
    assert reason == "this custodian has already opened its shard for this round"


@pytest.mark.parametrize(
    ("prepare", "sender", "round_number", "key", "reason"),
    [
        (opening, A, 0, shard_keys(CUSTODIANS[0]).key(0), "this account is no custodian of the task"),
        (held, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[0]).key(0), "they are in the 2 blocks from 17 on"),
        (judged, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[0]).key(0), "shards for round 0 are not opened at height 19"),
        (opening, CUSTODIANS[0], 1, shard_keys(CUSTODIANS[0]).key(0), "shards for round 1 are not opened at height 17"),
        (opening, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[0]).key(1), "the key is not that of shard 0"),
        (opening, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[1]).key(0), "the key is not that of shard 0"),
        (opening, CUSTODIANS[0], 0, bytes(32), "the key is not that of shard 0"),
    ],
)
def test_openings_that_are_out_of_time_or_not_of_the_chain_revert(
    prepare: Callable[[World], list[bytes]], sender: bytes, round_number: int, key: bytes, reason: str
):
    world = make_world()
    prepare(world)
    assert reason in world.reason(sender, "openShard", world.task, round_number, key)


def test_after_a_missed_opening_the_key_two_links_on_opens_the_next_shard():
    world = make_world()
    opening(world)
    world.open_shard(CUSTODIANS[0], 0)
    world.go_to(1, 4)
    settle(world, nothing_gained(world))
    world.commit_update(A, "second")
    world.hold(1)
    world.go_to(2, 0)
    world.call(A, "revealUpdate", world.task, 1, world.round(1).updates[0].sealed_root, root("second"))
    world.go_to(2, 2)
    late = CUSTODIANS[1]
    reason = world.reason(late, "openShard", world.task, 1, shard_keys(late).key(0))
    assert reason == "the key is not that of shard 1"
    world.call(late, "openShard", world.task, 1, shard_keys(late).key(1))
    assert world.custodian(late).opened == 2
