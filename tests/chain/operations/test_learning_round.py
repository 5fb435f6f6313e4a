"""Whole rounds through the learning contract with the real settlement."""

from __future__ import annotations

import numpy as np
import pytest

from chain import contract
from chain.judging import settlement_input
from chain.operations.call import Revert
from chain.operations.learning_state import Fate, RoundStatus, TaskStatus
from chain.operations.learning_store import read_tasks, read_validator
from chain.types import COIN
from learning.commitment import weights_root
from learning.record import CustodianFate, UpdateFate
from tests.chain.operations.learning_play import judge, play_round, play_round_from, settle_round, trained_delta
from tests.chain.operations.learning_world import (
    ARCHITECTURE,
    BALANCE,
    BOND,
    CUSTODIANS,
    MINERS,
    SAMPLES,
    SHARDS,
    VALIDATORS,
    make_world,
)


def test_a_round_pays_miners_custodians_and_evaluators_and_punishes_what_the_protocol_names():
    world = make_world()
    before = {who: world.balance(who) for who in (*MINERS, *CUSTODIANS, *VALIDATORS)}
    world.go_to(0, 2)
    fee = world.task_state.evaluation_fee
    honest = [world.commit_update(MINERS[i], f"honest {i}", delta=trained_delta(world, i)) for i in range(2)]
    rubbish = world.commit_update(MINERS[2], "rubbish")
    silent = world.commit_update(MINERS[3], "silent", delta=trained_delta(world, 3, 5))
    unheld = world.commit_update(MINERS[3], "unheld")
    for validator in VALIDATORS[:2]:  # 8 of 10 parts of power
        world.call(validator, "attestHeld", world.task, 0, bytes([0b01111]))
    world.call(VALIDATORS[2], "attestHeld", world.task, 0, bytes([0b11111]))
    world.go_to(1, 0)
    assert [update.fate for update in world.round(0).updates] == [Fate.PENDING] * 4 + [Fate.NOT_HELD]
    assert world.balance(MINERS[3]) == before[MINERS[3]] - BOND - fee

    for i, name in ((0, "honest 0"), (1, "honest 1")):
        world.reveal(MINERS[i], 0, honest[i], name)
    world.reveal(MINERS[2], 0, rubbish, "rubbish")
    world.go_to(1, 2)
    assert world.round(0).status is RoundStatus.OPENING
    world.open_shard(CUSTODIANS[0], 0)  # the other one misses it
    world.go_to(1, 4)
    assert world.round(0).status is RoundStatus.JUDGED
    assert world.task_state.unsettled == (0,)

    settlement = judge(world, 0)
    record = settlement.record
    assert record.accepted
    assert [line.fate for line in record.updates[2:]] == [UpdateFate.MALFORMED]
    assert record.samples == SAMPLES
    encoded = record.encode()
    world.attest(0, encoded, VALIDATORS[:2])
    world.call(VALIDATORS[2], "attest", world.task, 0, bytes(32))  # a wrong one
    events = world.call(MINERS[0], "settle", world.task, 0, encoded)

    rewards = [line.reward for line in record.updates]
    assert sum(rewards) > 0
    paid = [(name, values["miner"], values["amount"]) for name, values in events if name == "Rewarded"]
    assert paid == [("Rewarded", MINERS[i], rewards[i]) for i in range(2) if rewards[i]]
    penalised = [
        (values["account"], values["reason"], values["amount"]) for name, values in events if name == "Penalised"
    ]
    assert penalised == [(MINERS[2], 1, BOND), (MINERS[3], 2, BOND), (CUSTODIANS[1], 4, COIN)]
    assert events[-1] == (
        "RoundSettled",
        {
            "task": world.task,
            "round": 0,
            "parent": record.parent,
            "head": record.head,
            "lossBefore": record.loss_before,
            "lossAfter": record.loss_after,
            "samples": SAMPLES,
        },
    )
    for i in range(2):
        line = record.updates[i]
        assert world.balance(MINERS[i]) == before[MINERS[i]] - fee + line.reward - line.charge - line.cut
    assert world.balance(MINERS[2]) == before[MINERS[2]] - fee - BOND
    assert world.balance(MINERS[3]) == before[MINERS[3]] - fee - BOND  # the fee and bond of the unheld one came back
    assert world.balance(CUSTODIANS[0]) == sum(rewards) // 10
    assert world.custodian(CUSTODIANS[1]).bond == 59 * COIN
    shared = [3 * fee * power // 800_000 for power in (500_000, 300_000)]
    assert [world.balance(validator) for validator in VALIDATORS] == [*shared, 0]

    assert world.view("head", world.task) == (
        record.head, 0, record.loss_before, record.loss_after, SAMPLES, world.height,
    )  # fmt: skip
    assert contract.heads(world) == (record.head,)
    assert world.view("update", rubbish) == (world.task, 0, MINERS[2], Fate.MALFORMED, 0, 0, 0, BOND)
    assert world.view("update", silent) == (world.task, 0, MINERS[3], Fate.NOT_REVEALED, 0, 0, 0, BOND)
    assert world.view("update", unheld) == (world.task, 0, MINERS[3], Fate.NOT_HELD, 0, 0, 0, 0)
    line = record.updates[0]
    assert world.view("contributionOf", world.task, MINERS[0]) == (
        line.contribution,
        line.reward,
        line.charge,
        line.cut,
        1,
    )
    for i in range(2):
        assert read_validator(world, MINERS[i]).granted == rewards[i] * 1000 // COIN
    assert world.task_state.mean_pay == sum(rewards) // 8


def test_heads_momentum_copies_and_stale_bases_carry_over_from_round_to_round():
    world = make_world()
    first_head = world.task_state.head
    first = play_round(world, 0)
    settle_round(world, 0, first)
    assert [head.root for head in world.task_state.heads] == [first_head, first.record.head]
    assert (world.task_state.step_from, world.task_state.step_to) == (first_head, first.record.head)
    assert len(world.task_state.recent) == 2
    assert [opening.index for opening in world.task_state.previous] == [0, 0]

    copied = first.decoded[0].delta.astype(np.int64)
    roots = [
        world.commit_update(MINERS[0], "stale", delta=trained_delta(world, 50), base=first_head),
        world.commit_update(MINERS[1], "copy", delta=copied),
    ]
    world.hold(1)
    world.go_to(2, 0)
    world.reveal(MINERS[0], 1, roots[0], "stale")
    world.reveal(MINERS[1], 1, roots[1], "copy")
    world.go_to(2, 2)
    for custodian in CUSTODIANS:
        world.open_shard(custodian, 1)
    world.go_to(2, 4)
    given = settlement_input(world, world.parameters, world.task, 1, world.blobs.get)
    assert given.step is not None
    assert np.array_equal(given.step, first.step)
    assert [len(shard.labels) for shard in given.previous] == [SAMPLES, SAMPLES]
    assert np.array_equal(given.previous[0].labels, first.previous[0].labels)
    assert [past.miner for past in given.recent] == [MINERS[0], MINERS[1]]
    assert weights_root(ARCHITECTURE, given.head) == first.record.head
    assert [weights_root(ARCHITECTURE, update.base) for update in given.updates] == [first_head, first.record.head]
    second = judge(world, 1)
    assert second.record.updates[1].fate is UpdateFate.COPY
    settle_round(world, 1, second)
    assert world.balance(MINERS[1]) <= BALANCE + first.record.updates[1].reward


def test_a_custodian_that_reveals_an_update_is_not_used_and_a_round_without_shards_is_void():
    world = make_world()
    miner = CUSTODIANS[0]
    world.give(miner, 10 * COIN)
    world.go_to(0, 2)
    sealed = world.commit_update(miner, "own", delta=trained_delta(world, 1))
    world.hold(0)
    world.go_to(1, 0)
    world.reveal(miner, 0, sealed, "own")
    world.go_to(1, 2)
    world.open_shard(miner, 0)
    world.go_to(1, 4)
    settlement = judge(world, 0)
    assert settlement.record.void
    assert [line.fate for line in settlement.record.custodians] == [CustodianFate.UNUSED]
    events = settle_round(world, 0, settlement)
    assert [name for name, _ in events] == ["Penalised", "RoundSettled"]  # the other custodian stayed away
    assert world.round(0).status is RoundStatus.VOID
    assert world.round(0).updates[0].fate is Fate.VOID
    assert world.balance(miner) == 10 * COIN
    assert world.task_state.radius == settlement.record.radius
    assert len(world.task_state.recent) == 1


def test_a_task_ends_after_its_last_round_and_custodians_get_their_bonds_back():
    world = make_world(rounds=1)
    settlement = play_round(world, 0)
    world.go(world.height + 2)
    assert read_tasks(world)[0].status is TaskStatus.ACTIVE
    settle_round(world, 0, settlement)
    before = [world.balance(custodian) for custodian in CUSTODIANS]
    world.end_block()
    assert read_tasks(world)[0].status is TaskStatus.OVER
    assert [world.balance(custodian) for custodian in CUSTODIANS] == [each + 60 * COIN for each in before]
    assert world.view("task", world.task)[1:4] == (TaskStatus.OVER, 1, 5)
    assert contract.heads(world) == (settlement.record.head,)


def test_shards_run_out_and_then_no_updates_are_taken():
    world = make_world(rounds=10)
    for number in range(SHARDS):
        world.go_to(number, 2 if number == 0 else 5)
        settle_round(world, number, play_round_from(world, number))
    world.go_to(SHARDS, 5)
    with pytest.raises(Revert, match="0 custodians have a shard left"):
        world.commit_update(MINERS[0], "too late", delta=trained_delta(world, 0))
