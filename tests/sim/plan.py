"""Home of what a seed means: who votes with what power, what goes wrong and how often, and until when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from chain.crypto import address_of
from tests.sim.task import secret

NODES_MAX = 5
CUSTODIANS = 2
NEWCOMER = 4
"""The node whose account teaches, bonds and registers, if genesis gives it no power."""
PAYER = 9
"""Whose account pays small sums, beside all nodes."""

TRAITS = (
    "equivocation",  # to each peer a vote of its own for any block that was seen, or for nil
    "bad blocks",  # proposes what no rule allows, or more bytes than fit
    "two blocks",  # to each peer one of two proposals
    "silence",  # says nothing of its own
    "amnesia",  # forgets its log when it restarts, and votes nevertheless
    "forged commits",  # answers those that are behind with blocks that nobody decided
    "withheld blobs",  # commits to updates that nobody can get, and serves nothing
    "wrong attestations",  # of records that nobody computed, of blobs that it has not, and copies of others' words
    "false evidence",  # accuses the honest of what they did not do
)

_EQUAL = (1000, 1000, 1000, 1000, 0)
HONEST_POWERS = (
    _EQUAL,
    (1000, 2000, 3000, 4000, 0),
    (5000, 5000, 4000, 3000, 0),
    (1000, 1000, 1000, 3000, 0),
    (9000, 9000, 1000, 1000, 0),
    (0, 1000, 1000, 1000, 0),
    (800, 900, 1000, 1100, 0),
)
LIARS_POWERS = (
    ((0,), _EQUAL),
    ((0,), (2999, 2001, 2001, 2001, 0)),
    ((0,), (1999, 2000, 2000, 2000, 0)),
    ((0,), (900, 1000, 1000, 1000, 0)),
    ((0,), (1000, 1000, 2000, 3000, 0)),
    ((0, 1), (600, 600, 1300, 1300, 0)),
    ((0,), (1600, 1000, 1200, 1200, 0)),
)
"""Who lies, with less than a third of all power."""
THIRD_POWERS = (
    ((0,), (1000, 1000, 1000, 0, 0)),
    ((0,), (2000, 2000, 1000, 1000, 0)),
    ((0,), (3000, 2000, 2000, 2000, 0)),
)
"""Exactly a third lies: agreement must hold, progress may stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One history's circumstances. Rates are probabilities; times are milliseconds of simulated time."""

    powers: tuple[int, ...]
    liars: tuple[int, ...]
    traits: frozenset[str]
    progress: bool
    rounds: bool  # whether a round must be settled once faults have stopped
    loss: float
    duplication: float
    delay_ms_max: int
    delay_tail: float
    crash: float
    blackout: float
    down_ms_max: int
    partition: float
    one_way: float  # of partitions
    clock_skew_ms_max: int
    build_failure: float
    evaluation_ms_max: int
    blob_loss: float
    wiped: int | None  # a node that loses its vote log in a crash
    wiped_store: bool  # and its ledger
    epoch_blocks: int
    leaver: int | None  # a validator that takes its bond out
    quiet_at_ms: int
    quiet_at_height: int
    log_bytes_max: int

    @property
    def nodes(self) -> int:
        return len(self.powers)


@cache
def node_key(index: int) -> bytes:
    """The private key of a node's account."""
    return secret("node", index)


@cache
def account(index: int) -> bytes:
    return address_of(node_key(index))


@cache
def vote_key(index: int) -> bytes:
    """The private key by which a node votes: of its own for the newcomer, which genesis does not name."""
    return secret("vote", index) if index == NEWCOMER else node_key(index)


@cache
def voter(index: int) -> bytes:
    return address_of(vote_key(index))


@cache
def custodian_key(number: int) -> bytes:
    return secret("custodian", number)


@cache
def custodian(number: int) -> bytes:
    return address_of(custodian_key(number))


@cache
def peer_id(index: int) -> bytes:
    """What the others call a node."""
    return bytes([index + 1]) * 20


def make(seed: int) -> Plan:
    """The plan of a seed: half have liars, most have crashes, some of all nodes at once."""
    rng = random.Random(seed)
    lies = rng.random() < 0.5
    exact = lies and rng.random() < 0.3
    liars, powers = rng.choice(THIRD_POWERS if exact else LIARS_POWERS) if lies else ((), rng.choice(HONEST_POWERS))
    if rng.random() < 0.5:
        powers = powers[:NEWCOMER]
    crashes = rng.random() < 0.7
    # A key without its log is silent for a while: with a liar beside it, or with half of the power, nothing would move.
    alone = not lies and 3 * max(powers) < sum(powers)
    return Plan(
        powers=powers,
        liars=liars,
        traits=_traits(rng) if lies else frozenset(),
        progress=not exact,
        rounds=not exact and rng.random() < 0.4,
        loss=rng.choice((0.0, 0.05, 0.2, 0.5)),
        duplication=rng.choice((0.0, 0.05, 0.3)),
        delay_ms_max=rng.choice((5, 50, 400)),
        delay_tail=rng.choice((0.0, 0.02, 0.1)),
        crash=rng.choice((0.005, 0.02, 0.06)) if crashes else 0.0,
        blackout=rng.choice((0.0, 0.1, 0.4)) if crashes else 0.0,
        down_ms_max=rng.choice((100, 1_000, 6_000)),
        partition=rng.choice((0.0, 0.0, 0.3, 0.5)),
        one_way=rng.choice((0.0, 0.5, 1.0)),
        clock_skew_ms_max=rng.choice((0, 0, 1_000, 20_000)),
        build_failure=rng.choice((0.0, 0.1)),
        evaluation_ms_max=rng.choice((10, 10, 200, 3_000)),
        blob_loss=rng.choice((0.0, 0.0, 0.3, 0.8)),
        wiped=rng.randrange(4) if crashes and alone and rng.random() < 0.5 else None,
        wiped_store=rng.random() < 0.5,
        epoch_blocks=rng.choice((3, 4, 5, 8)),
        leaver=rng.choice((2, 3)) if not lies and rng.random() < 0.15 else None,
        quiet_at_ms=rng.choice((6_000, 12_000, 24_000)),
        quiet_at_height=rng.choice((5, 8, 12, 18)),
        log_bytes_max=rng.choice((500, 4_000, 1 << 20)),
    )


def _traits(rng: random.Random) -> frozenset[str]:
    """What liars do: one thing, a few, or a lot of things at once."""
    return frozenset(rng.sample(TRAITS, rng.choice((1, 2, 3, 6))))
