"""Home of games that several tests look at: each is played once in a session."""

from __future__ import annotations

from functools import cache

from benchmarks.chain_attacks import HONEST, seats_beside
from benchmarks.chain_game import Outcome, play
from benchmarks.chain_setup import Setting
from benchmarks.strategies import HOSTILE


@cache
def alone(seed: int) -> Outcome:
    """Fifteen rounds of three honest miners."""
    return play(Setting(seed=seed, seats=HONEST))


@cache
def beside(seed: int) -> Outcome:
    """The same with the six hostile ones beside them."""
    return play(Setting(seed=seed, seats=seats_beside(HOSTILE)))
