"""A whole round: what is accepted and paid, what is turned away and why, and what the outcome depends on."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.commitment import weights_bytes, weights_root
from learning.evaluation import Evaluator
from learning.record import CustodianFate, Record, UpdateFate
from learning.round import PastUpdate, Settlement
from learning.rules import Rules
from learning.sealing import seal_update
from learning.settlement import settle
from learning.shards import Shard
from learning.updates import DELTA_MAX
from tests.learning.rounds import (
    COIN,
    NUMBERS,
    ROUND,
    TASK,
    Problem,
    ReferenceEvaluator,
    account,
    opened,
    revealed,
    round_of,
)

PROBLEM = Problem.of(1)
EVALUATOR = ReferenceEvaluator(PROBLEM.architecture)
SHARDS = tuple(opened(PROBLEM.shard(100 + i), i) for i in range(3))
STILL = np.zeros(PROBLEM.architecture.parameters, dtype=np.int64)


def judge(updates, shards=SHARDS, **changes) -> Settlement:
    settlement = settle(round_of(PROBLEM, updates, shards, **changes), EVALUATOR)
    check_consistent(settlement)
    return settlement


def check_consistent(settlement: Settlement) -> None:
    """What holds of every settlement."""
    record = settlement.record
    assert Record.decode(record.encode()) == record
    assert record.head == weights_root(PROBLEM.architecture, settlement.head)
    assert record.radius == settlement.radius
    assert settlement.head.dtype == np.int32
    assert not (record.void and record.accepted)
    if not record.accepted:
        assert all(line.reward == line.charge == 0 for line in record.updates)


def rewards_from(record: Record, price: int, cap: int) -> list[int]:
    """What the record's own numbers say that miners are paid."""
    loss = max(record.loss_momentum, NUMBERS["loss_floor"])
    raw = [price * max(line.contribution, 0) // loss for line in record.updates]
    limit = min(cap, price * record.value // loss)
    return [amount * limit // sum(raw) for amount in raw] if sum(raw) > limit else raw


def rules(**changes) -> Rules:
    return Rules.from_mapping({**NUMBERS, **changes}, PROBLEM.architecture)


def honest(count: int, **changes):
    return tuple(revealed(PROBLEM.head, PROBLEM.step(i), i, **changes) for i in range(count))


def fates(settlement: Settlement) -> list[UpdateFate]:
    return [line.fate for line in settlement.record.updates]


def same(left: Settlement, right: Settlement) -> bool:
    return left.record.encode() == right.record.encode() and weights_bytes(left.head) == weights_bytes(right.head)


def mean_loss(weights) -> int:
    shards = [PROBLEM.shard(100 + i) for i in range(3)]
    return sum(int(EVALUATOR.losses(weights, s.inputs, s.labels).sum()) for s in shards) // 48


def correct(weights) -> int:
    shards = [PROBLEM.shard(100 + i) for i in range(3)]
    return sum(EVALUATOR.correct(weights, shard.inputs, shard.labels) for shard in shards)


def test_steps_towards_the_target_are_accepted_and_paid():
    settlement = judge(honest(3))
    record = settlement.record
    assert fates(settlement) == [UpdateFate.ACCEPTED] * 3
    assert record.accepted
    assert (record.task, record.round, record.samples) == (TASK, ROUND, 48)
    assert record.parent == weights_root(PROBLEM.architecture, PROBLEM.head)
    assert record.loss_before == record.loss_momentum == mean_loss(PROBLEM.head)
    assert record.loss_after == mean_loss(settlement.head) < record.loss_before
    assert record.correct_before == correct(PROBLEM.head)
    assert record.correct_after == correct(settlement.head)
    assert (settlement.step == settlement.head - PROBLEM.head).all()
    assert settlement.step.dtype == np.int32
    for line in record.updates:
        assert line.contribution > 0
        assert 0 < line.charge < line.reward
        assert (line.cut, line.streak) == (0, 0)
    assert [line.reward for line in record.updates] == rewards_from(record, NUMBERS["price"], NUMBERS["cap"])
    total = sum(line.reward for line in record.updates)
    assert [(line.fate, line.reward) for line in record.custodians] == [(CustodianFate.USED, total // 30)] * 3
    assert [line.custodian for line in record.custodians] == sorted(shard.custodian for shard in SHARDS)
    decoded = [(past.miner, past.delta.tolist()) for past in settlement.decoded]
    assert decoded == [(account(i), PROBLEM.step(i).tolist()) for i in range(3)]
    order = sorted(range(3), key=lambda i: SHARDS[i].custodian)
    assert [s.labels.tolist() for s in settlement.previous] == [PROBLEM.shard(100 + i).labels.tolist() for i in order]


@settings(deadline=None, max_examples=20)
@given(players=st.sampled_from([3, 10]), data=st.data())
def test_the_outcome_does_not_depend_on_the_order_of_arrival(players, data):
    updates = honest(players)
    recent = tuple(PastUpdate(miner=account(50 + i), delta=PROBLEM.step(200 + i).astype(np.int32)) for i in range(2))
    expected = judge(updates, recent=recent)
    shuffled = judge(
        data.draw(st.permutations(updates)),
        data.draw(st.permutations(SHARDS)),
        recent=data.draw(st.permutations(recent)),
    )
    assert same(expected, shuffled)
    assert [past.miner for past in shuffled.decoded] == [past.miner for past in expected.decoded]


def test_an_update_that_changes_nothing_contributes_exactly_nothing():
    settlement = judge((*honest(7), revealed(PROBLEM.head, STILL, 7)))
    line = settlement.record.updates[-1]
    assert (line.fate, line.contribution, line.reward, line.streak) == (UpdateFate.NO_GAIN, 0, 0, 0)
    assert line.charge > 0
    assert settlement.record.accepted


@pytest.mark.parametrize("players", [9, 12, 20])
def test_beyond_eight_updates_one_that_changes_nothing_is_charged_more_than_it_is_paid(players):
    # Rows of strength three leave it what interactions of three and more others happen to add up to.
    settlement = judge((*honest(players), revealed(PROBLEM.head, STILL, players)))
    line, others = settlement.record.updates[-1], settlement.record.updates[:-1]
    assert abs(line.contribution) * 5 * players < sum(other.contribution for other in others)
    assert line.reward < line.charge


def test_one_bond_split_over_four_identities_is_the_same_step():
    step = PROBLEM.step(1)
    one = (*honest(1), revealed(PROBLEM.head, step, 9, bond=4 * COIN))
    four = (*honest(1), *(revealed(PROBLEM.head, step, 9 + i, miner=account(9)) for i in range(4)))
    whole, split = judge(one), judge(four)
    assert fates(whole) == [UpdateFate.ACCEPTED] * 2
    assert fates(split) == [UpdateFate.ACCEPTED] * 5
    # u = 4/5 as one, 4 times 1/5 as four; both rounded down to 2^-16, so the steps differ by rounding only.
    assert abs(whole.head.astype(int) - split.head).max() <= (int(abs(step).max()) >> 14) + 1
    pays = [line.reward for line in split.record.updates[1:]]
    assert len(set(pays)) == 1
    assert sum(pays) <= whole.record.updates[1].reward * 11 // 10


def test_bonds_count_up_to_eight_times_the_minimum():
    def heads(bond: int) -> bytes:
        return weights_bytes(judge((*honest(1), revealed(PROBLEM.head, PROBLEM.step(1), 1, bond=bond))).head)

    assert heads(8 * COIN) == heads(1000 * COIN) != heads(7 * COIN)


def test_steps_away_from_the_target_change_nothing_and_three_of_them_cost_bond():
    away = [revealed(PROBLEM.head, -PROBLEM.step(i), i, streak=i, bond=3 * COIN) for i in range(3)]
    settlement = judge(away)
    assert fates(settlement) == [UpdateFate.NO_GAIN] * 3
    assert not settlement.record.accepted
    assert settlement.record.value == 0
    assert weights_bytes(settlement.head) == weights_bytes(PROBLEM.head)
    assert settlement.step is None
    assert [(line.streak, line.cut) for line in settlement.record.updates] == [(1, 0), (2, 0), (0, 3 * COIN // 2)]
    assert all(line.reward == line.charge == 0 for line in settlement.record.updates)
    assert all(line.reward == 0 for line in settlement.record.custodians)


def test_a_gain_that_could_be_chance_is_not_accepted():
    settlement = judge(honest(2), rules=rules(significance_milli=100_000))
    assert fates(settlement) == [UpdateFate.NOT_SIGNIFICANT] * 2
    assert settlement.record.value > 0
    assert not settlement.record.accepted
    assert settlement.record.head == settlement.record.parent
    assert all(line.reward == line.charge == 0 < line.contribution for line in settlement.record.updates)


def test_a_helpful_update_among_harmful_ones_is_kept_alone():
    settlement = judge((*honest(2), revealed(PROBLEM.head, -PROBLEM.step(7), 2)))
    assert fates(settlement) == [UpdateFate.ACCEPTED] * 2 + [UpdateFate.NO_GAIN]
    assert settlement.record.updates[2].contribution < 0
    assert settlement.record.updates[2].charge > 0


def test_pay_is_capped():
    settlement = judge(honest(3), rules=rules(cap=COIN))
    assert [line.reward for line in settlement.record.updates] == rewards_from(settlement.record, 100 * COIN, COIN)
    assert COIN - 3 <= sum(line.reward for line in settlement.record.updates) <= COIN


class TestVoid:
    def test_too_few_usable_shards_leave_everything_as_it_was(self):
        broken = revealed(PROBLEM.head, STILL, 2, plaintext=b"?", streak=2)
        step, previous = PROBLEM.step(3).astype(np.int32), (PROBLEM.shard(5),)
        settlement = judge(
            (*honest(2, streak=1), broken), rules=rules(minimum_openings=4), step=step, previous=previous
        )
        record = settlement.record
        assert record.void
        assert fates(settlement) == [UpdateFate.VOID] * 3
        assert [(line.contribution, line.reward, line.charge, line.cut) for line in record.updates] == [
            (0, 0, 0, 0)
        ] * 3
        assert [line.streak for line in record.updates] == [1, 1, 2]
        assert [(line.fate, line.reward) for line in record.custodians] == [(CustodianFate.USED, 0)] * 3
        assert record.parent == record.head == weights_root(PROBLEM.architecture, PROBLEM.head)
        numbers = (record.samples, record.loss_before, record.loss_momentum, record.loss_after, record.correct_before)
        assert (*numbers, record.correct_after, record.momentum, record.value) == (0,) * 8
        assert settlement.step is step
        assert settlement.previous is previous
        assert settlement.radius == 2**40
        assert len(settlement.decoded) == 2  # revealed, so nobody may copy them later

    def test_without_any_shard_a_round_is_void(self):
        assert judge(honest(1), ()).record.void


class TestShards:
    @pytest.mark.parametrize("plaintext", [b"", b"?", bytes(8), bytes(8 + 16 * 8)])
    def test_malformed_ones_are_left_out_and_unpaid(self, plaintext):
        bad = opened(PROBLEM.shard(9), 9, plaintext=plaintext)
        with_bad, without = judge(honest(2), (*SHARDS, bad)), judge(honest(2))
        lines = {line.custodian: line for line in with_bad.record.custodians}
        assert (lines[bad.custodian].fate, lines[bad.custodian].reward) == (CustodianFate.MALFORMED, 0)
        assert dataclasses.replace(with_bad.record, custodians=without.record.custodians) == without.record

    def test_labels_beyond_the_classes_are_malformed(self):
        shard = PROBLEM.shard(9)
        labels = shard.labels.copy()
        labels[3] = PROBLEM.architecture.classes
        bad = opened(Shard(inputs=shard.inputs, labels=labels), 9)
        assert judge(honest(1), (bad,)).record.void

    def test_another_number_of_samples_is_malformed(self):
        assert judge(honest(1), (opened(PROBLEM.shard(9, samples=17), 9),)).record.void

    def test_one_that_was_sealed_for_another_place_is_malformed(self):
        moved = dataclasses.replace(SHARDS[0], index=SHARDS[0].index + 1)
        [line] = judge(honest(1), (moved,)).record.custodians
        assert line.fate is CustodianFate.MALFORMED

    def test_those_of_accounts_that_revealed_are_not_used(self):
        insider = opened(PROBLEM.shard(9), 9, custodian=account(1))
        with_insider, without = judge(honest(2), (*SHARDS, insider)), judge(honest(2))
        lines = {line.custodian: line for line in with_insider.record.custodians}
        assert (lines[account(1)].fate, lines[account(1)].reward) == (CustodianFate.UNUSED, 0)
        assert dataclasses.replace(with_insider.record, custodians=without.record.custodians) == without.record

    def test_those_of_accounts_that_revealed_something_malformed_are_not_used_either(self):
        broken = revealed(PROBLEM.head, STILL, 0, plaintext=b"?")
        settlement = judge((broken,), (opened(PROBLEM.shard(9), 9, custodian=account(0)),))
        assert settlement.record.void
        assert [line.fate for line in settlement.record.custodians] == [CustodianFate.UNUSED]


class TestMalformedUpdates:
    @pytest.mark.parametrize("length", [0, 4, 5, 5 + 4 * 52, 5 + 4 * 54, 10**6])
    def test_other_lengths_lose_the_bond_and_leave_the_others_alone(self, length):
        assert PROBLEM.architecture.parameters == 53
        bad = revealed(PROBLEM.head, STILL, 2, plaintext=bytes(length), bond=5 * COIN, streak=2)
        settlement, without = judge((*honest(2), bad)), judge(honest(2))
        line = settlement.record.updates[2]
        assert (line.fate, line.cut, line.charge, line.streak) == (UpdateFate.MALFORMED, 5 * COIN, 0, 2)
        assert settlement.record.updates[:2] == without.record.updates
        assert len(settlement.decoded) == 2

    def test_a_key_that_does_not_open_is_malformed(self):
        update = dataclasses.replace(honest(1)[0], key=bytes(32))
        assert fates(judge((update,))) == [UpdateFate.MALFORMED]

    def test_the_sealed_update_of_another_miner_is_malformed(self):
        stolen = dataclasses.replace(honest(1)[0], miner=account(77))
        assert fates(judge((stolen,))) == [UpdateFate.MALFORMED]

    def test_the_sealed_update_of_another_round_is_malformed(self):
        update = honest(1)[0]
        sealed = seal_update(b"", key=update.key, task=TASK, round_number=ROUND - 1, miner=update.miner)
        assert fates(judge((dataclasses.replace(update, sealed=sealed),))) == [UpdateFate.MALFORMED]

    @settings(deadline=None, max_examples=50)
    @given(sealed=st.binary(max_size=400), key=st.binary(max_size=40), shard=st.binary(max_size=200))
    def test_whatever_was_sent_becomes_a_fate(self, sealed, key, shard):
        update = dataclasses.replace(honest(1)[0], sealed=sealed, key=key)
        bad = dataclasses.replace(SHARDS[0], sealed=shard)
        settlement = judge((update,), (bad, *SHARDS[1:]))
        assert fates(settlement) == [UpdateFate.MALFORMED]
        assert settlement.record.samples == 32


class TestCopies:
    def test_the_copy_of_an_earlier_update_is_neither_paid_nor_cut(self):
        copy = revealed(PROBLEM.head, PROBLEM.step(0), 3, miner=account(44), streak=1)
        settlement, without = judge((*honest(2), copy)), judge(honest(2))
        line = settlement.record.updates[2]
        assert (line.fate, line.contribution, line.reward) == (UpdateFate.COPY, 0, 0)
        assert (line.charge, line.cut, line.streak) == (0, 0, 1)
        assert settlement.record.updates[:2] == without.record.updates
        assert len(settlement.decoded) == 3

    def test_the_earlier_of_two_is_no_copy(self):
        updates = [revealed(PROBLEM.head, PROBLEM.step(0), place) for place in (5, 3)]
        settlement = judge(updates)
        assert fates(settlement) == [UpdateFate.ACCEPTED, UpdateFate.COPY]
        assert [line.id for line in settlement.record.updates] == [updates[1].id, updates[0].id]

    def test_a_copy_of_a_recent_update_of_another_miner_is_found(self):
        delta = PROBLEM.step(0).astype(np.int32)
        assert fates(judge(honest(1), recent=(PastUpdate(miner=account(9), delta=delta),))) == [UpdateFate.COPY]
        assert fates(judge(honest(1), recent=(PastUpdate(miner=account(0), delta=delta),))) == [UpdateFate.ACCEPTED]


class TestMomentum:
    STEP = ((PROBLEM.target.astype(np.int64) - PROBLEM.head) // 8).astype(np.int32)

    def test_the_last_step_is_taken_again_as_far_as_spent_shards_say(self):
        settlement = judge((), step=self.STEP, previous=(PROBLEM.shard(55),))
        losses = []
        for quarters in (0, 1, 2, 4, 6, 8, 12):
            moved = (PROBLEM.head + ((quarters * self.STEP.astype(np.int64) + 2) >> 2)).astype(np.int32)
            shard = PROBLEM.shard(55)
            losses.append((int(EVALUATOR.losses(moved, shard.inputs, shard.labels).sum()), quarters, moved))
        _, quarters, moved = min(losses, key=lambda entry: entry[:2])
        assert settlement.record.momentum == quarters == 12
        assert settlement.record.loss_momentum == mean_loss(moved) < settlement.record.loss_before
        # It is not paid for, but stays, as it did not raise the loss; and it is no step that was accepted.
        assert weights_bytes(settlement.head) == weights_bytes(moved)
        assert not settlement.record.accepted
        assert settlement.step is self.STEP

    def test_a_step_that_does_harm_on_spent_shards_is_not_repeated(self):
        settlement = judge(honest(2), step=-self.STEP, previous=(PROBLEM.shard(55),))
        assert settlement.record.momentum == 0
        assert same(settlement, judge(honest(2)))

    def test_momentum_that_raises_this_rounds_loss_is_given_back(self):
        backwards = PROBLEM.shard(55)
        flipped = Shard(inputs=backwards.inputs, labels=(backwards.labels + 1) % PROBLEM.architecture.classes)
        settlement = judge((), step=-self.STEP, previous=(flipped,))
        assert settlement.record.momentum > 0
        assert settlement.record.loss_momentum > settlement.record.loss_before == settlement.record.loss_after
        assert weights_bytes(settlement.head) == weights_bytes(PROBLEM.head)

    def test_momentum_stays_where_it_makes_no_difference_to_this_round(self):
        hidden, inputs = 5, 6
        step = np.zeros_like(self.STEP)
        step[0 : hidden * inputs : inputs] = 8 * self.STEP[0 : hidden * inputs : inputs]  # of the first input only
        shards = []
        for number in range(3):
            shard = PROBLEM.shard(100 + number)
            dark = shard.inputs.copy()
            dark[:, 0] = 0
            shards.append(opened(Shard(inputs=dark, labels=shard.labels), number))
        settlement = judge((), shards, step=step, previous=(PROBLEM.shard(55),))
        assert settlement.record.momentum > 0
        assert settlement.record.loss_momentum == settlement.record.loss_before
        assert settlement.record.head != settlement.record.parent

    def test_without_a_step_or_spent_shards_there_is_none(self):
        for changes in ({"step": self.STEP}, {"previous": (PROBLEM.shard(55),)}):
            assert same(judge(honest(2), **changes), judge(honest(2)))


def test_the_new_step_counts_from_the_head_before_momentum():
    settlement = judge(honest(2), step=TestMomentum.STEP, previous=(PROBLEM.shard(55),))
    assert settlement.record.accepted
    assert settlement.record.momentum > 0
    assert (settlement.step == settlement.head - PROBLEM.head).all()


def test_half_of_what_the_head_moved_since_its_base_is_taken_from_a_stale_update():
    old = PROBLEM.head - 2 * PROBLEM.step(3, noise=0).astype(np.int32)
    stale = revealed(old, PROBLEM.step(0) + PROBLEM.step(3, noise=0), 0)
    fresh = revealed(PROBLEM.head, PROBLEM.step(0), 0)
    assert same(judge((stale,)), judge((fresh,)))


class TestRadius:
    def test_longer_steps_than_the_bond_weighted_median_are_clipped_to_it(self):
        long = revealed(PROBLEM.head, 2 * PROBLEM.step(2), 2)
        longer = revealed(PROBLEM.head, 4 * PROBLEM.step(2), 2)
        short = honest(2)
        heads = [judge((*short, update)).head.astype(int) for update in (long, longer)]
        assert abs(heads[0] - heads[1]).max() <= 2**21 >> 14  # equal but for the rounding of the factor

    def test_a_heavier_bond_moves_the_median(self):
        updates = [
            revealed(PROBLEM.head, PROBLEM.step(i) * 2**i // 4, i, bond=(1 + 7 * (i == 2)) * COIN) for i in range(3)
        ]
        light = [dataclasses.replace(update, bond=COIN) for update in updates]
        assert not same(judge(updates), judge(light))

    def test_steps_are_clipped_to_the_radius(self):
        radius = 2**18
        settlement = judge(honest(1), radius=radius)
        moved = settlement.head.astype(np.int64) - PROBLEM.head
        assert radius * 0.99 < np.sqrt((moved**2).sum()) <= radius + len(moved) ** 0.5

    def test_it_grows_where_more_would_be_better_and_shrinks_where_less_would(self):
        assert judge(honest(2), radius=2**18).radius == 2**18 * 3 // 2
        assert judge([revealed(PROBLEM.head, -PROBLEM.step(0), 0)], radius=2**18).radius == 2**19 // 3

    def test_it_keeps_to_its_bounds(self):
        assert (
            judge([revealed(PROBLEM.head, -PROBLEM.step(0), 0)], radius=2**18, radius_floor=2**18 - 1).radius
            == 2**18 - 1
        )
        assert judge([revealed(PROBLEM.head, PROBLEM.step(0, eighths=1, noise=0), 0)], radius=2**40).radius == 2**40

    def test_it_stays_where_nobody_took_part(self):
        assert judge((), radius=5, radius_floor=900).radius == 5


def test_a_round_without_valid_updates_only_measures():
    settlement = judge((revealed(PROBLEM.head, STILL, 0, plaintext=b"?"),))
    record = settlement.record
    assert (record.void, record.accepted, record.samples, record.value) == (False, False, 48, 0)
    assert record.loss_before == record.loss_after == mean_loss(PROBLEM.head)
    assert record.parent == record.head


def test_the_largest_values_everywhere_neither_overflow_nor_raise():
    most = 2**23 - 1
    signs = np.where(np.random.default_rng(4).integers(0, 2, len(PROBLEM.head)) == 1, 1, -1)
    head = (most * signs).astype(np.int32)
    problem = dataclasses.replace(PROBLEM, head=head)
    updates = [revealed(-head, sign * signs * DELTA_MAX, i, bond=10**30) for i, sign in enumerate((1, -1))]
    for players in (updates, [dataclasses.replace(updates[0], place=i, miner=updates[0].miner) for i in range(9)]):
        given = round_of(problem, players, SHARDS, step=head, previous=(PROBLEM.shard(55),), radius=2**40)
        settlement = settle(given, EVALUATOR)
        assert Record.decode(settlement.record.encode()) == settlement.record
        assert abs(settlement.head.astype(int)).max() <= most


def test_the_beacon_matters_only_beyond_eight_updates():
    other = hashlib.sha256(b"another").digest()
    assert same(judge(honest(8)), judge(honest(8), beacon=other))
    assert not same(judge(honest(9)), judge(honest(9), beacon=other))


@pytest.mark.parametrize("players", [3, 10])
def test_the_evaluator_of_nodes_gives_the_same_bits_as_the_plain_reference(players):
    given = round_of(PROBLEM, honest(players), SHARDS, step=TestMomentum.STEP, previous=(PROBLEM.shard(55),))
    assert same(settle(given, Evaluator(PROBLEM.architecture)), settle(given, EVALUATOR))


def test_nothing_that_was_given_is_changed():
    updates = honest(3)
    step, shard = TestMomentum.STEP.copy(), PROBLEM.shard(55)
    head, base = PROBLEM.head.copy(), updates[0].base.copy()
    judge(updates, step=step, previous=(shard,))
    assert (PROBLEM.head == head).all()
    assert (updates[0].base == base).all()
    assert (step == TestMomentum.STEP).all()


@pytest.mark.parametrize(
    "change",
    [
        {"updates": honest(1) * 2},
        {"shards": SHARDS[:1] * 2},
        {"head": PROBLEM.head[:-1]},
        {"task": bytes(31)},
        {"step": PROBLEM.head[:-1]},
        {"radius": 2**41},
        {"updates": honest(1, bond=0)},
    ],
)
def test_inputs_that_the_chain_cannot_hold_are_our_own_mistake(change):
    with pytest.raises(AssertionError):
        dataclasses.replace(round_of(PROBLEM, honest(1), SHARDS), **change)
