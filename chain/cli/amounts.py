"""Home of amounts of coins as people write and read them: exact, to the last 10^-18."""

from __future__ import annotations

import argparse
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow

from chain.types import COIN

AMOUNT_MAX = 2**127 - 1
_EXACT = Context(prec=80, traps=[InvalidOperation, Inexact, Overflow])


def coins(text: str) -> int:
    """An amount in coins, like 2.5, as 10^-18 coin. Raises ArgumentTypeError, so it can be an argument's type."""
    try:
        amount = _EXACT.multiply(_EXACT.create_decimal(text), Decimal(COIN))
        if amount != amount.to_integral_value() or not 0 <= amount <= AMOUNT_MAX:
            raise InvalidOperation
        return int(amount)
    except DecimalException as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of coins: write it like 2.5") from error


def in_coins(amount: int, digits: int | None = None) -> str:
    """10^-18 coin as coins: exact and without zeros at its end, or rounded down to so many digits."""
    whole, rest = divmod(abs(amount), COIN)
    decimals = f"{rest:018d}"
    decimals = decimals.rstrip("0") if digits is None else decimals[:digits]
    return f"{'-' if amount < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"


def coins_text(amount: int) -> str:
    """10^-18 coin as a person says it: 1 coin, 2.5 coins."""
    return f"{in_coins(amount)} {'coin' if amount == COIN else 'coins'}"
