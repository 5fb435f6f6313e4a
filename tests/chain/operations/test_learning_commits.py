"""commitUpdate, attestHeld and the evaluation fee: what they do, and every reason for which they revert."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain.operations.call import Revert
from chain.operations.committing import next_evaluation_fee
from chain.operations.learning_state import Fate, RoundStatus
from chain.parameters import Parameters
from chain.types import COIN
from learning.commitment import update_id
from tests.chain.operations.learning_rounds import (
    FEE,
    A,
    B,
    committed,
    judged,
    key_hash,
    play,
)
from tests.chain.operations.learning_world import (
    BALANCE,
    BOND,
    CHAIN_ID,
    VALIDATORS,
    make_world,
    root,
)


def test_a_commit_holds_fee_and_bond_and_is_the_rounds_next_update():
    world = make_world()
    world.go_to(0, 2)
    sealed = world.commit_update(A, "mine", bond=3 * COIN)
    (update,) = world.round(0).updates
    identity = update_id(chain_id=CHAIN_ID, task=world.task, round_number=0, miner=A, sealed_root=sealed)
    assert (update.id, update.bond, update.fee, update.fate) == (identity, 3 * COIN, FEE, Fate.PENDING)
    assert update.committed_at == world.height
    assert world.balance(A) == BALANCE - 3 * COIN - FEE
    assert world.task_state.pending == (0,)
    assert world.view("update", sealed) == (world.task, 0, A, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "value", "reason"),
    [
        ({"round": 1}, BOND, "round 1 takes no updates, the present round is 0"),
        ({"base": root("no head")}, BOND, "is not one of the last 3 heads"),
        ({"size": 0}, BOND, "a sealed update must have 1 to 1048576 bytes, not 0"),
        ({"size": 1048577}, BOND, "a sealed update must have 1 to 1048576 bytes, not 1048577"),
        ({}, COIN + FEE - 1, f"value must be the fee {FEE} and a bond of at least {COIN}, not {COIN + FEE - 1}"),
        ({}, 0, "value must be the fee"),
    ],
)
def test_a_commit_that_does_not_fit_reverts(change: dict[str, Any], value: int, reason: str):
    world = make_world()
    world.go_to(0, 2)
    given = {"round": 0, "base": world.task_state.head, "sealed": root("sealed"), "size": 100} | change
    found = world.reason(A, "commitUpdate", world.task, *given.values(), key_hash(world, A), value=value)
    assert reason in found
    assert world.balance(A) == BALANCE


@pytest.mark.parametrize(
    ("cycle", "position", "phase"),
    [(0, 0, "REVEAL"), (0, 1, "REVEAL"), (0, 9, "HOLD"), (0, 11, "HOLD"), (4, 5, "OVER")],
)
def test_updates_are_taken_in_open_and_commit_only(cycle: int, position: int, phase: str):
    world = make_world()
    world.go_to(cycle, position)
    with pytest.raises(Revert, match=f"no updates are taken at height {world.height}: it is in phase {phase} of cycle"):
        world.commit_update(A, "out of time")


def test_updates_are_taken_from_the_end_of_reveal_to_the_start_of_hold():
    world = make_world()
    world.go(world.clock.start - 1)
    with pytest.raises(Revert, match="phase PENDING"):
        world.commit_update(A, "too early")
    world.go_to(0, 2)
    world.commit_update(A, "first")
    world.go_to(0, 8)
    world.commit_update(A, "last")
    assert [update.committed_at for update in world.round(0).updates] == [5, 11]


def test_one_account_commits_a_root_once_a_round_but_another_may_name_it_too():
    world = make_world()
    world.go_to(0, 2)
    sealed = world.commit_update(A, "mine")
    head = world.task_state.head
    arguments = (world.task, 0, head, sealed, 9)
    assert "already committed by this account" in world.reason(
        A, "commitUpdate", *arguments, key_hash(world, A), value=BOND + FEE
    )
    world.call(B, "commitUpdate", *arguments, key_hash(world, B), value=BOND + FEE)
    assert [update.miner for update in world.round(0).updates] == [A, B]
    assert world.view("update", sealed)[2] == B  # the last one, until one of them is revealed
    world.hold(0)
    world.go_to(1, 0)
    world.reveal(A, 0, sealed, "mine")
    assert world.view("update", sealed)[2] == A


def test_a_round_has_so_many_slots():
    world = make_world()
    committed(world, count=8)
    with pytest.raises(Revert, match="the round's 8 slots are taken"):
        world.commit_update(A, "one more")


def test_commits_are_refused_while_too_many_judged_rounds_are_unsettled():
    world = make_world(settings={"cycle_blocks": 12, "unsettled_rounds_max": 1})
    judged(world)
    with pytest.raises(Revert, match="no updates are taken while 1 judged rounds are unsettled"):
        world.commit_update(A, "wait")


def test_a_shard_that_the_round_before_is_about_to_use_is_not_counted_on():
    world = make_world(rounds=10)
    for number in range(4):
        play(world, number)
    world.go_to(4, 5)
    sealed = world.commit_update(A, "last")
    world.hold(4)
    world.go_to(5, 0)
    world.reveal(A, 4, sealed, "last")
    world.go_to(5, 2)
    assert world.round(4).status is RoundStatus.OPENING
    with pytest.raises(Revert, match="0 custodians have a shard left for this round, 1 are needed"):
        world.commit_update(A, "no shard for it")


def test_held_bits_add_up_over_a_validators_attestations():
    world = make_world()
    committed(world, count=2)
    world.call(VALIDATORS[0], "attestHeld", world.task, 0, b"\x02")
    world.call(VALIDATORS[0], "attestHeld", world.task, 0, b"\x01")
    world.commit_update(A, "update 9")
    world.call(VALIDATORS[0], "attestHeld", world.task, 0, b"\x04\0")
    assert world.round(0).holdings == ((VALIDATORS[0], b"\x07"),)


@pytest.mark.parametrize(
    ("bitmap", "fits"), [(b"", False), (b"\0", False), (b"\x04", False), (b"\x01\x01", False), (b"\x03", True)]
)
def test_a_bitmap_names_updates_of_the_round_and_no_others(bitmap: bytes, fits: bool):
    world = make_world()
    committed(world)
    if fits:
        world.call(VALIDATORS[0], "attestHeld", world.task, 0, bitmap)
    else:
        reason = world.reason(VALIDATORS[0], "attestHeld", world.task, 0, bitmap)
        assert reason == "the bitmap must name some of the round's 2 updates and no others"


def test_only_validators_attest_and_only_in_the_rounds_cycle():
    world = make_world()
    world.go_to(0, 2)
    assert world.reason(VALIDATORS[0], "attestHeld", world.task, 0, b"\1") == "round 0 has no updates"
    committed(world)
    assert world.reason(A, "attestHeld", world.task, 0, b"\1") == "only validators attest what they hold"
    world.hold(0)
    world.go_to(1, 0)
    reason = world.reason(VALIDATORS[0], "attestHeld", world.task, 0, b"\1")
    assert reason == "round 0 is past its cycle: it is HELD"


@pytest.mark.parametrize(
    ("validators", "kept"), [((0, 1), True), ((0, 2), True), ((1, 2), False), ((0,), False), ((0, 1, 2), True)]
)
def test_an_update_stays_if_more_than_two_thirds_of_power_hold_it(validators: tuple[int, ...], kept: bool):
    world = make_world()
    committed(world, count=1)
    world.hold(0, validators=tuple(VALIDATORS[i] for i in validators))
    world.go_to(1, 0)
    assert (world.round(0).status is RoundStatus.HELD) == kept
    assert (world.balance(A) == BALANCE) == (not kept)
    assert world.task_state.pending == ((0,) if kept else ())


def test_exactly_two_thirds_of_power_are_not_enough():
    world = make_world(parameters={"epoch_blocks": 1000})
    world.set_validators(tuple((validator, 1) for validator in VALIDATORS))
    committed(world, count=1)
    world.hold(0, validators=VALIDATORS[:2])
    world.go_to(1, 0)
    assert world.round(0).updates[0].fate is Fate.NOT_HELD


def test_what_accounts_attested_that_do_not_vote_any_more_is_dropped():
    world = make_world(parameters={"epoch_blocks": 1000})
    committed(world, count=1)
    world.hold(0, validators=VALIDATORS[:2])
    world.set_validators(((VALIDATORS[1], 1), (VALIDATORS[2], 1)))
    world.hold(0, validators=VALIDATORS[2:])
    assert [account for account, _ in world.round(0).holdings] == list(VALIDATORS[1:])


def test_the_evaluation_fee_follows_the_use_of_slots():
    parameters = Parameters(updates_per_round=8, evaluation_fee_minimum=1000)
    assert next_evaluation_fee(8000, 4, parameters) == 8000
    assert next_evaluation_fee(8000, 8, parameters) == 9000
    assert next_evaluation_fee(8000, 6, parameters) == 8500
    assert next_evaluation_fee(8000, 0, parameters) == 7000
    assert next_evaluation_fee(1001, 0, parameters) == 1000
    assert next_evaluation_fee(1000, 5, parameters) == 1000 + 1000 // 4 // 8
    assert next_evaluation_fee(1, 5, replace(parameters, evaluation_fee_minimum=0)) == 2


def test_full_rounds_raise_the_fee_of_the_next_and_empty_ones_lower_it():
    world = make_world()
    committed(world, count=8)
    world.go_to(1, 0)
    assert world.task_state.evaluation_fee == FEE * 9 // 8
    world.go_to(2, 0)
    assert world.task_state.evaluation_fee == FEE  # never below its minimum
