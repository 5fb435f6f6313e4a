"""Home of what goes into the judging of one round and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from learning.commitment import Int32Array, Int64Array
from learning.encoding import ACCOUNT_BYTES, HASH_BYTES
from learning.record import CUSTODIANS_MAX, UPDATES_MAX, Record
from learning.rules import Rules
from learning.shards import Shard, UInt8Array

RADIUS_MAX = 2**40
STREAK_MAX = 2**32 - 2


class Evaluator(Protocol):
    """What judging needs of `learning.evaluation.Evaluator`: exact losses in 2^-20 nat under one architecture."""

    def losses(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> Int64Array:
        """Loss int64[B] of each sample."""
        ...

    def correct(self, weights: Int32Array, inputs: UInt8Array, labels: Int64Array) -> int:
        """How many samples are classified rightly."""
        ...

    def losses_of_steps(
        self,
        base: Int32Array,
        scaled: Int64Array,
        masks: npt.NDArray[np.bool_],
        shift: int,
        inputs: UInt8Array,
        labels: Int64Array,
    ) -> Int64Array:
        """Losses int64[M, B] under clamp(base + ((sum of scaled[i] where masks[r, i], + 2^(shift-1)) >> shift))."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RevealedUpdate:
    """An update whose key was revealed in time. What is in `sealed` is anyone's guess, the rest is the chain's."""

    place: int  # in commit order
    id: bytes
    miner: bytes
    bond: int
    base: Int32Array  # weights int32[P] of the head that it was trained from
    key: bytes
    sealed: bytes
    streak: int  # harmful rounds of this miner running, before this one


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedShard:
    """The shard that a custodian opened for the round; its key fits the chain of keys."""

    custodian: bytes
    index: int
    key: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PastUpdate:
    """A well-formed update as it was decoded, int32[P]: what later ones must not copy."""

    miner: bytes
    delta: Int32Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SettlementInput:
    """All that a round's outcome depends on; updates and shards may stand in any order."""

    rules: Rules
    task: bytes
    round: int
    beacon: bytes
    head: Int32Array  # weights int32[P], what the last settlement left
    updates: tuple[RevealedUpdate, ...]
    shards: tuple[OpenedShard, ...]
    step: Int32Array | None  # the last accepted step
    previous: tuple[Shard, ...]  # used in the last round that was not void; empty if there was none
    radius: int
    radius_floor: int
    recent: tuple[PastUpdate, ...]  # of the rounds before, within the copy window

    def __post_init__(self) -> None:
        """All of this comes from the chain's own state, so what does not hold is our mistake."""
        shape = (self.rules.architecture.parameters,)
        assert len(self.task) == HASH_BYTES, self.task
        assert len(self.beacon) == HASH_BYTES, self.beacon
        assert all(weights.shape == shape for weights in (self.head, *(u.base for u in self.updates))), shape
        assert self.step is None or self.step.shape == shape, shape
        assert all(past.delta.shape == shape for past in self.recent), shape
        assert len(self.updates) <= UPDATES_MAX, len(self.updates)
        assert len(self.shards) <= CUSTODIANS_MAX, len(self.shards)
        assert len({u.place for u in self.updates}) == len(self.updates), "two updates share a place"
        assert len({s.custodian for s in self.shards}) == len(self.shards), "a custodian opened two shards"
        assert all(len(u.id) == HASH_BYTES and len(u.miner) == ACCOUNT_BYTES for u in self.updates)
        assert all(u.bond > 0 and 0 <= u.streak <= STREAK_MAX for u in self.updates)
        assert 0 <= self.radius <= RADIUS_MAX, self.radius
        assert 0 <= self.radius_floor <= RADIUS_MAX, self.radius_floor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settlement:
    """A round's record, and what the next round of the task is given."""

    record: Record
    head: Int32Array
    step: Int32Array | None  # the last accepted step, this round's if it was accepted
    previous: tuple[Shard, ...]  # this round's used shards, or the ones given if it was void
    radius: int
    decoded: tuple[PastUpdate, ...]  # well-formed updates of this round in commit order, copies too
