"""Home of the tests of fee history: the tips at percentiles of a block's gas, against the obvious computation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.types import Receipt
from rpc.fees import rewards_at, tips_of

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
