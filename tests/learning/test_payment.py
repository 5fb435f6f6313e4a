"""Pay, charges and cuts in integers: never more than the cap, the bond, or what the round was worth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.payment import after_harm, is_harmful, malformed_cut, pay
from learning.rules import InvalidRules, Rules
from learning.steps import weights_of
from tests.learning.rounds import COIN, NUMBERS, small_architecture, small_rules

RULES = small_rules()


def paid(rules: Rules = RULES, **changes):
    given = {
        "contributions": [1000, -500, 3000],
        "weights": weights_of([COIN, COIN, 2 * COIN]),
        "bonds": [COIN, COIN, 2 * COIN],
        "loss": 2**20,
        "value": 5000,
        "custodians": 2,
    }
    return pay(rules, **{**given, **changes})


def test_pay_is_price_times_contribution_relative_to_the_loss():
    result = paid()
    assert result.rewards == (100 * COIN * 1000 // 2**20, 0, 100 * COIN * 3000 // 2**20)
    total = sum(result.rewards)
    assert result.charges == tuple(400 * u * total // (1000 * 2**16) for u in (2**14, 2**14, 2**15))
    assert result.custodian == 100 * total // 1000 // 2


def test_pay_above_the_rounds_worth_is_scaled_down_together():
    result = paid(value=2000)
    limit = 100 * COIN * 2000 // 2**20
    raw = [100 * COIN * 1000 // 2**20, 0, 100 * COIN * 3000 // 2**20]
    assert result.rewards == tuple(amount * limit // sum(raw) for amount in raw)


def test_pay_is_never_scaled_up():
    assert paid(value=10**9).rewards == paid(value=4000).rewards


def test_pay_ends_at_the_cap():
    rules = dataclasses.replace(RULES, cap=COIN // 100)
    assert COIN // 100 - 3 <= sum(paid(rules).rewards) <= COIN // 100


def test_a_loss_below_the_floor_counts_as_the_floor():
    assert paid(loss=5, value=50).rewards == paid(loss=RULES.loss_floor, value=50).rewards


def test_a_round_worth_less_than_a_unit_pays_nothing_and_charges_nothing():
    result = paid(value=0)
    assert (result.rewards, result.charges, result.custodian) == ((0, 0, 0), (0, 0, 0), 0)


@settings(deadline=None, max_examples=150)
@given(
    contributions=st.lists(st.integers(-(2**25), 2**25), min_size=1, max_size=6),
    loss=st.integers(0, 2**25),
    value=st.integers(0, 2**25),
    cap=st.integers(0, 10**24),
    custodians=st.integers(1, 5),
    data=st.data(),
)
def test_pay_keeps_its_bounds(contributions, loss, value, cap, custodians, data):
    bonds = [data.draw(st.integers(1, 10**20)) for _ in contributions]
    rules = dataclasses.replace(RULES, cap=cap)
    result = paid(
        rules,
        contributions=contributions,
        weights=weights_of(bonds),
        bonds=bonds,
        loss=loss,
        value=value,
        custodians=custodians,
    )
    total = sum(result.rewards)
    assert total <= min(cap, rules.price * value // max(loss, rules.loss_floor))
    assert all(reward == 0 for reward, beta in zip(result.rewards, contributions, strict=True) if beta <= 0)
    assert all(0 <= charge <= bond for charge, bond in zip(result.charges, bonds, strict=True))
    assert sum(result.charges) * 1000 <= rules.charge_milli * total
    assert result.custodian * custodians * 1000 <= rules.custodian_share_milli * total


def test_an_update_is_harmful_only_by_more_than_three_standard_errors():
    assert is_harmful(RULES, np.full(10, -1))  # 10^2 > 9 * 10
    assert not is_harmful(RULES, np.full(9, -1))  # 9^2 = 9 * 9
    assert not is_harmful(RULES, np.full(10, 1))
    assert not is_harmful(RULES, np.zeros(10, dtype=np.int64))
    assert is_harmful(RULES, np.full(10, -(2**33)))


def test_the_third_harmful_round_running_costs_half_the_bond():
    def after(streak: int, harmful: bool = True, charge: int = 0) -> tuple[int, int]:
        return after_harm(RULES, harmful=harmful, streak=streak, bond=2 * COIN, charge=charge)

    assert after(0) == (1, 0)
    assert after(1) == (2, 0)
    assert after(2) == (0, COIN)
    assert after(7) == (0, COIN)
    assert after(2, harmful=False) == (0, 0)
    assert after(2, charge=2 * COIN - 5) == (0, 5)  # charge and cut together are at most the bond


def test_malformed_updates_lose_the_share_that_the_rules_name():
    assert malformed_cut(RULES, 3 * COIN) == 3 * COIN
    assert malformed_cut(dataclasses.replace(RULES, malformed_cut_milli=333), 10) == 3


def test_rules_come_from_a_mapping_with_more_in_it():
    rules = Rules.from_mapping({**NUMBERS, "epoch": 5}, small_architecture())
    assert rules == RULES


@pytest.mark.parametrize("name", sorted(NUMBERS))
@pytest.mark.parametrize("value", [None, -1, 2**200, 1.0, True, "1"])
def test_rules_refuse_missing_numbers_and_bad_ones(name, value):
    with pytest.raises(InvalidRules, match=name):
        Rules.from_mapping({**NUMBERS, name: value}, small_architecture())


@pytest.mark.parametrize("name", ["loss_floor", "bond_minimum", "minimum_openings", "shard_samples", "harm_rounds"])
def test_what_is_divided_by_or_waited_for_is_at_least_one(name):
    with pytest.raises(InvalidRules, match=name):
        Rules.from_mapping({**NUMBERS, name: 0}, small_architecture())
