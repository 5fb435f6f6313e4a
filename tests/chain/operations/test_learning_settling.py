"""attest and settle: how records find their quorum, and what they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain import contract
from chain.operations.call import Revert
from chain.operations.learning_state import RoundStatus
from chain.operations.learning_store import read_miner
from chain.types import COIN, CONTRACT_ADDRESS
from learning.record import (
    UpdateFate,
)
from tests.chain.operations.learning_rounds import (
    FEE,
    A,
    B,
    accepted,
    held,
    judged,
    line,
    nothing_gained,
    opener,
    opening,
    play,
    settle,
    void_record,
)
from tests.chain.operations.learning_world import (
    BALANCE,
    BOND,
    CUSTODIANS,
    VALIDATORS,
    make_world,
    root,
)


def test_attestations_are_for_judged_rounds_by_validators():
    world = make_world()
    opening(world)
    reason = world.reason(VALIDATORS[0], "attest", world.task, 0, bytes(32))
    assert reason == "round 0 does not wait for settlement: it is OPENING"
    for custodian in CUSTODIANS:
        world.open_shard(custodian, 0)
    world.go_to(1, 4)
    assert world.reason(A, "attest", world.task, 0, bytes(32)) == "only validators attest records"
    assert world.reason(VALIDATORS[0], "attest", world.task, 1, bytes(32)) == "round 1 has no updates"
    world.call(VALIDATORS[0], "attest", world.task, 0, bytes(32))
    world.call(VALIDATORS[0], "attest", world.task, 0, root("changed its mind"))
    assert world.round(0).attestations == ((VALIDATORS[0], root("changed its mind")),)


@pytest.mark.parametrize(("validators", "enough"), [((0,), False), ((1, 2), False), ((0, 2), True), ((0, 1), True)])
def test_a_record_needs_more_than_two_thirds_of_power(validators: tuple[int, ...], enough: bool):
    world = make_world()
    judged(world)
    record = nothing_gained(world).encode()
    world.attest(0, record, tuple(VALIDATORS[i] for i in validators))
    if enough:
        world.call(A, "settle", world.task, 0, record)
        assert world.round(0).status is RoundStatus.SETTLED
        assert world.reason(A, "settle", world.task, 0, record) == "round 0 does not wait for settlement: it is SETTLED"
    else:
        assert "of the power attested this record: more than two thirds" in world.reason(
            A, "settle", world.task, 0, record
        )


def test_an_attestation_of_another_validator_counts_for_nobody_else():
    world = make_world()
    judged(world)
    record = nothing_gained(world).encode()
    world.attest(0, record, VALIDATORS[:1])
    copied = dict(world.round(0).attestations)[VALIDATORS[0]]
    world.call(VALIDATORS[1], "attest", world.task, 0, copied)
    assert world.reason(A, "settle", world.task, 0, record).startswith("500000 of the power")


def test_rounds_are_settled_in_order():
    world = make_world()
    judged(world)
    sealed = world.commit_update(A, "second")
    world.hold(1)
    world.go_to(2, 0)
    world.reveal(A, 1, sealed, "second")
    world.go_to(2, 2)
    for custodian in CUSTODIANS:
        world.open_shard(custodian, 1)
    world.go_to(2, 4)
    assert world.task_state.unsettled == (0, 1)
    second = nothing_gained(world, 1)
    world.attest(1, second.encode())
    reason = world.reason(A, "settle", world.task, 1, second.encode())
    assert reason == "round 0 is settled before round 1"
    settle(world, nothing_gained(world))
    world.call(A, "settle", world.task, 1, second.encode())
    assert world.task_state.unsettled == ()


def test_bytes_that_are_no_record_revert():
    world = make_world()
    judged(world)
    assert "not a settlement record" in world.reason(A, "settle", world.task, 0, b"")
    assert "not a settlement record" in world.reason(A, "settle", world.task, 0, nothing_gained(world).encode() + b"\0")


def test_a_void_settlement_returns_bonds_and_fees_and_punishes_those_who_did_not_open():
    world = make_world()
    opening(world)
    world.go_to(1, 4)
    events = settle(world, void_record(world))
    assert [name for name, _ in events] == ["Penalised", "Penalised", "RoundSettled"]
    assert [world.balance(miner) for miner in (A, B)] == [BALANCE, BALANCE]
    assert [world.custodian(each).bond for each in CUSTODIANS] == [59 * COIN] * 2
    assert world.round(0).status is RoundStatus.VOID
    assert world.task_state.settled == 1
    assert world.task_state.measured.height == 0
    assert [update.round for update in world.task_state.recent] == [0, 0]


def test_charges_come_out_of_the_reward_and_cuts_out_of_the_bond():
    world = make_world()
    judged(world)
    record = accepted(nothing_gained(world))
    record = line(record, reward=COIN, charge=COIN // 4)
    harmful = replace(record.updates[1], cut=BOND // 2, charge=COIN // 8, streak=0)
    record = replace(record, updates=(record.updates[0], harmful))
    record = opener(record, reward=COIN // 20)
    events = settle(world, record)
    assert world.balance(A) == BALANCE - FEE + COIN - COIN // 4
    assert world.balance(B) == BALANCE - FEE - BOND // 2 - COIN // 8
    assert world.balance(CUSTODIANS[0]) == COIN // 20
    assert [(name, values.get("reason"), values.get("amount")) for name, values in events] == [
        ("Rewarded", None, COIN),
        ("Penalised", 3, BOND // 2),
        ("CustodianRewarded", None, COIN // 20),
        ("RoundSettled", None, None),
    ]
    assert world.view("contributionOf", world.task, A) == (5, COIN, COIN // 4, 0, 1)
    assert world.view("contributionOf", world.task, B) == (-1, 0, COIN // 8, BOND // 2, 1)


def test_heads_are_kept_as_far_back_as_a_base_may_be():
    world = make_world(rounds=10)
    roots = [world.task_state.head]
    for number in range(4):
        roots.append(root(f"head {number}"))
        play(world, number, lambda record, head=roots[-1]: replace(accepted(record), head=head))
    assert [head.root for head in world.task_state.heads] == roots[-3:]
    assert [head.round for head in world.task_state.heads] == [1, 2, 3]
    world.go_to(4, 5)
    with pytest.raises(Revert, match="is not one of the last 3 heads"):
        world.commit_update(A, "too old", base=roots[1])
    world.commit_update(A, "just not", base=roots[2])


def test_momentum_alone_moves_the_head_but_is_no_step():
    world = make_world()
    play(world, 0, accepted)
    step = (world.task_state.step_from, world.task_state.step_to)
    assert step[1] == root("new")
    play(world, 1, lambda record: replace(record, momentum=2, head=root("by momentum")))
    assert (world.task_state.step_from, world.task_state.step_to) == step
    assert world.task_state.head == root("by momentum")
    assert contract.heads(world) == (root("by momentum"),)


@pytest.mark.parametrize(("needed", "granted"), [(2, 1000), (3, 0)])
def test_pay_earns_power_only_where_enough_custodians_opened(needed: int, granted: int):
    world = make_world(parameters={"power_openings_minimum": needed, "epoch_blocks": 10**6})
    play(world, 0, lambda record: line(accepted(record), reward=COIN))
    assert contract.validator_of(world, A).granted == granted


def test_a_tasks_weight_scales_the_power_that_it_earns():
    world = make_world(parameters={"epoch_blocks": 10**6}, power_weight_milli=250)
    play(world, 0, lambda record: line(accepted(record), reward=COIN))
    assert contract.validator_of(world, A).granted == 250


def test_a_streak_is_the_longest_of_a_miners_measured_updates_and_copies_keep_it():
    world = make_world(rounds=10)
    play(world, 0, lambda record: line(record, streak=1))
    assert read_miner(world, world.task, A).streak == 1
    play(world, 1, lambda record: line(record, fate=UpdateFate.COPY, contribution=0, streak=1))
    assert read_miner(world, world.task, A).streak == 1
    play(world, 2, lambda record: line(record, streak=2))
    assert read_miner(world, world.task, A).streak == 2
    play(world, 3, lambda record: line(record, streak=0))
    assert read_miner(world, world.task, A).streak == 0


def test_a_good_update_does_not_hide_a_harmful_one_of_the_same_miner():
    world = make_world()
    roots = held(world, count=3)
    for i in (0, 2):
        world.reveal(A, 0, roots[i], f"update {i}")
    world.go_to(1, 2)
    world.open_shard(CUSTODIANS[0], 0)
    world.go_to(1, 4)
    settle(world, line(nothing_gained(world), streak=1))
    assert read_miner(world, world.task, A).streak == 1


def test_a_missed_opening_costs_half_the_trailing_mean_pay_but_never_more_than_the_bond():
    world = make_world(custodian_bond=3 * COIN, settings={"cycle_blocks": 12, "custodian_bond": str(COIN)})
    judged(world)
    settle(world, line(accepted(nothing_gained(world)), reward=40 * COIN))
    assert world.task_state.mean_pay == 5 * COIN
    for number, expected in ((1, 3 * COIN - 5 * COIN // 2), (2, 0)):
        sealed = world.commit_update(A, f"later {number}")
        world.hold(number)
        world.go_to(number + 1, 0)
        world.reveal(A, number, sealed, f"later {number}")
        world.go_to(number + 1, 4)
        settle(world, void_record(world, number), number)
        assert [world.custodian(each).bond for each in CUSTODIANS] == [expected] * 2


def test_a_round_that_nobody_settles_in_time_is_void():
    world = make_world(settings={"cycle_blocks": 12, "settle_grace_cycles": 1})
    judged(world)
    record = nothing_gained(world)
    world.go_to(2, 3)
    assert world.round(0).status is RoundStatus.JUDGED
    world.go_to(2, 4)
    assert world.round(0).status is RoundStatus.VOID
    assert [world.balance(miner) for miner in (A, B)] == [BALANCE, BALANCE]
    assert (world.task_state.unsettled, world.task_state.settled) == ((), 0)
    assert len(world.task_state.recent) == 2
    reason = world.reason(A, "settle", world.task, 0, record.encode())
    assert reason == "round 0 does not wait for settlement: it is VOID"


def test_what_the_chain_saw_itself_is_punished_even_in_a_round_that_nobody_settled():
    world = make_world(settings={"cycle_blocks": 12, "settle_grace_cycles": 1})
    roots = held(world)
    world.reveal(A, 0, roots[0], "update 0")
    world.go_to(1, 2)
    world.open_shard(CUSTODIANS[0], 0)
    world.go_to(2, 4)
    assert world.balance(A) == BALANCE
    assert world.balance(B) == BALANCE - BOND - FEE
    assert [world.custodian(each).bond for each in CUSTODIANS] == [60 * COIN, 59 * COIN]


def test_fees_that_do_not_divide_by_power_are_burnt():
    world = make_world()
    judged(world, count=1)
    record = nothing_gained(world).encode()
    world.attest(0, record, (VALIDATORS[0], VALIDATORS[1]))
    held_before = world.balance(CONTRACT_ADDRESS)
    world.call(A, "settle", world.task, 0, record)
    shares = [FEE * 500_000 // 800_000, FEE * 300_000 // 800_000, 0]
    assert [world.balance(each) for each in VALIDATORS] == shares
    assert held_before - world.balance(CONTRACT_ADDRESS) == BOND + FEE
