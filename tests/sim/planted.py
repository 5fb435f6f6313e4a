"""Home of faults that are planted in the code under test, to see that the checkers can see."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from consensus import rules, votelog, votes
from consensus.driver import Driver
from consensus.types import NO_ROUND, Equivocation, ValidatorSet, Vote
from consensus.votes import Tally, VoteBook
from tests.sim.disk import Disk

Planting = tuple[object, str, Callable[..., Any]]


def _no_sync() -> Planting:
    return Disk, "sync", lambda disk: None


def _forgotten_lock() -> Planting:
    recover = votelog.recover

    def forgetful(records: tuple[bytes, ...]) -> votelog.Recovered:
        log = recover(records)
        if log.memory is None:
            return log
        return replace(log, memory=replace(log.memory, locked_round=NO_ROUND, locked_id=None))

    return votelog, "recover", forgetful


def _forgotten_votes() -> Planting:
    recover = votelog.recover

    def forgetful(records: tuple[bytes, ...]) -> votelog.Recovered:
        return replace(recover(records), memory=None, votes=(), proposals=())

    return votelog, "recover", forgetful


def _two_thirds_suffice() -> Planting:
    return ValidatorSet, "is_quorum", lambda validators, power: 3 * power >= 2 * validators.total


def _votes_count_twice() -> Planting:
    add_other = votes._add_other

    def twice(book: VoteBook, tally: Tally, earlier: Vote, vote: Vote) -> tuple[VoteBook, Equivocation | None]:
        if earlier.block_id != vote.block_id:
            return add_other(book, tally, earlier, vote)
        power = tally.power_for(vote.block_id) + book.validators.power(vote.voter)
        return votes._with_tally(book, vote, replace(tally, powers={**tally.powers, vote.block_id: power})), None

    return votes, "_add_other", twice


def _unlogged_polka() -> Planting:
    return Driver, "_keep", lambda driver, effect, actions: None


def _no_lock() -> Planting:
    lock = rules._lock

    def unlocked(state: rules.State) -> rules.Outcome | None:
        outcome = lock(state)
        return outcome and (replace(outcome[0], locked_round=NO_ROUND, locked_id=None), outcome[1])

    at = rules._RULES.index(lock)
    return rules, "_RULES", (*rules._RULES[:at], unlocked, *rules._RULES[at + 1 :])  # type: ignore[return-value]


def _uncut_tail() -> Planting:
    return Disk, "truncate", lambda disk, length: None


FAULTS: Mapping[str, Callable[[], Planting]] = {
    "a vote is sent before it is synced": _no_sync,
    "the lock is forgotten on restart": _forgotten_lock,
    "the own votes are forgotten on restart": _forgotten_votes,
    "exactly two thirds are a quorum": _two_thirds_suffice,
    "a vote that comes twice counts twice": _votes_count_twice,
    "block and polka are not logged": _unlogged_polka,
    "there is no lock": _no_lock,
    "a torn tail is left in the log": _uncut_tail,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The code under test with one of FAULTS in it."""
    target, attribute, wrong = FAULTS[name]()
    with mock.patch.object(target, attribute, wrong):
        yield
