"""Home of the tests of fee history: the tips at percentiles of a block's gas, against the obvious computation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.types import Receipt
from rpc import fees
from rpc.fees import Fees, rewards_at, tips_of
from rpc.records import Records

if TYPE_CHECKING:
    from tests.rpc.live import LiveChain

RECEIPTS = st.lists(
    st.builds(
        Receipt,
        status=st.just(1),
        gas_used=st.integers(21_000, 500_000),
        effective_gas_price=st.integers(10, 15),
        logs=st.just(()),
    ),
    max_size=12,
)


def plain_reward(receipts: list[Receipt], base_fee: int, percentile: float) -> int:
    """Sort by tip, add up gas until the threshold is reached: the tip there."""
    ordered = sorted((receipt.effective_gas_price - base_fee, receipt.gas_used) for receipt in receipts)
    threshold = int(sum(gas for _, gas in ordered) * percentile / 100)
    total = 0
    for tip, gas in ordered:
        total += gas
        if total >= threshold:
            return tip
    return 0


@settings(deadline=None, max_examples=200)
@given(RECEIPTS, st.lists(st.integers(0, 100), max_size=5))
def test_rewards_are_the_tips_at_percentiles_of_gas(receipts: list[Receipt], wanted: list[int]) -> None:
    percentiles = sorted(float(each) for each in wanted)
    gas_used = sum(receipt.gas_used for receipt in receipts)
    expected = [plain_reward(receipts, 10, percentile) for percentile in percentiles]
    assert rewards_at(tips_of(receipts, 10), percentiles, gas_used) == expected


def test_an_empty_block_has_zero_rewards() -> None:
    assert rewards_at(tips_of([], 10), [0.0, 50.0, 100.0], 0) == [0, 0, 0]


def test_tips_are_kept_of_no_more_blocks_than_one_question_needs(
    live: LiveChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fees, "REWARD_BLOCKS_MAX", 2)
    asked = Fees(Records(live.node.service))
    for height in range(live.height + 1):
        asyncio.run(asked.history(1, height, (50.0,)))
    assert live.height >= 3
    assert len(asked._tips) == 2
