"""Home of pay, charges and penalties: from contributions to amounts, in integers throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from learning.commitment import Int64Array
from learning.contribution import sum_of_squares
from learning.rules import Rules
from learning.steps import WEIGHT_SHIFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """What an accepted round pays, in 10^-18 coin: to each valid update, from each, and to each used shard."""

    rewards: tuple[int, ...]
    charges: tuple[int, ...]
    custodian: int


def no_pay(updates: int) -> Pay:
    """What a round pays that was not accepted."""
    return Pay(rewards=(0,) * updates, charges=(0,) * updates, custodian=0)


def pay(
    rules: Rules,
    *,
    contributions: Sequence[int],
    weights: Sequence[int],
    bonds: Sequence[int],
    loss: int,
    value: int,
    custodians: int,
) -> Pay:
    """Price contributions relative to the mean loss; `loss` and `value` in 2^-20 nat a sample.

    Rewards are scaled down together where they exceed the cap or what the round as a whole was worth, never up.
    """
    loss = max(loss, rules.loss_floor)
    raw = [rules.price * max(contribution, 0) // loss for contribution in contributions]
    limit = min(rules.cap, rules.price * value // loss)
    due = sum(raw)
    rewards = [amount * limit // due for amount in raw] if due > limit else raw
    total = sum(rewards)
    charges = [
        min(rules.charge_milli * weight * total // (1000 << WEIGHT_SHIFT), bond)
        for weight, bond in zip(weights, bonds, strict=True)
    ]
    share = rules.custodian_share_milli * total // 1000 // custodians
    return Pay(rewards=tuple(rewards), charges=tuple(charges), custodian=share)


def malformed_cut(rules: Rules, bond: int) -> int:
    """What a malformed update loses of its bond."""
    return bond * rules.malformed_cut_milli // 1000


def is_harmful(rules: Rules, paired: Int64Array) -> bool:
    """Whether an update's paired values int64[K] sum to less than zero by harm_sigma standard errors."""
    total = int(paired.sum())  # far within int64
    return total < 0 and total**2 > rules.harm_sigma**2 * sum_of_squares(paired)


def after_harm(rules: Rules, *, harmful: bool, streak: int, bond: int, charge: int) -> tuple[int, int]:
    """The new streak of harmful rounds, and what is cut of the bond; charge and cut never exceed the bond."""
    if not harmful:
        return 0, 0
    if streak + 1 < rules.harm_rounds:
        return streak + 1, 0
    return 0, min(bond * rules.harm_cut_milli // 1000, bond - charge)
