"""Home of tests of amounts as people write them."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.cli.amounts import AMOUNT_MAX, coins, coins_text, in_coins


@settings(deadline=None, max_examples=200)
@given(amount=st.integers(0, AMOUNT_MAX))
def test_what_is_written_is_read_back_to_the_last_digit(amount: int) -> None:
    assert coins(in_coins(amount)) == amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "0.000000000000000001"), (10**18, "1"), (25 * 10**17, "2.5"), (-(10**17), "-0.1")],
)
def test_amounts_have_no_zeros_at_their_end(amount: int, text: str) -> None:
    assert in_coins(amount) == text


def test_rounded_amounts_never_say_more_than_there_is() -> None:
    assert in_coins(1_999_999_999_999_999_999, 2) == "1.99"
    assert in_coins(10**16 - 1, 2) == "0.00"
    assert [coins_text(10**18), coins_text(2 * 10**18)] == ["1 coin", "2 coins"]


@pytest.mark.parametrize(
    "text", ["", "x", "1.0000000000000000001", "-1", "nan", "inf", "1e999999999", "1e-999999999", "2e22", "0x10"]
)
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no amount of coins"):
        coins(text)
