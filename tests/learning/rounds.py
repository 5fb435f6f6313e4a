"""Small rounds that really learn, for tests: a target model labels the samples, and steps lead towards it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from learning import reference
from learning.architecture import Architecture
from learning.commitment import Int32Array, Int64Array
from learning.encoding import u32
from learning.round import OpenedShard, RevealedUpdate, SettlementInput
from learning.rules import Rules
from learning.sealing import seal_shard, seal_update
from learning.shards import Shard, encode_shard
from learning.updates import encode_update

COIN = 10**18
TASK = hashlib.sha256(b"task").digest()
BEACON = hashlib.sha256(b"beacon").digest()
ROUND = 7
NUMBERS = {
    "price": 100 * COIN,
    "cap": 50 * COIN,
    "loss_floor": 2**20 // 100,
    "significance_milli": 1000,
    "charge_milli": 400,
    "custodian_share_milli": 100,
    "bond_minimum": COIN,
    "minimum_openings": 1,
    "shard_samples": 16,
    "harm_sigma": 3,
    "harm_rounds": 3,
    "malformed_cut_milli": 1000,
    "harm_cut_milli": 500,
}


def small_architecture(inputs: int = 6, hidden: int = 5, classes: int = 3) -> Architecture:
    return Architecture(layers=(inputs, hidden, classes))


def small_rules(**changes) -> Rules:
    return Rules.from_mapping({**NUMBERS, **changes}, small_architecture())


class ReferenceEvaluator:
    """Evaluation by the plain reference, one model at a time."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture

    def losses(self, weights, inputs, labels):
        logits = reference.logits(self.architecture, weights, inputs)
        return reference.cross_entropy(logits, self.architecture.logit_exponent, labels)

    def correct(self, weights, inputs, labels):
        return int((reference.predictions(reference.logits(self.architecture, weights, inputs)) == labels).sum())

    def losses_of_steps(self, base, scaled, masks, shift, inputs, labels):
        rows = []
        for mask in masks:
            moved = base + ((scaled[mask].sum(axis=0) + (1 << (shift - 1))) >> shift)
            weights = np.clip(moved, -(2**23) + 1, 2**23 - 1).astype(np.int32)
            rows.append(self.losses(weights, inputs, labels))
        return np.stack(rows)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A head, and the target that it should become."""

    architecture: Architecture
    target: Int32Array
    head: Int32Array

    @classmethod
    def of(cls, seed: int, architecture: Architecture | None = None) -> Problem:
        architecture = architecture or small_architecture()
        random = np.random.default_rng(seed)
        target = random.integers(-(2**21), 2**21, architecture.parameters).astype(np.int32)
        head = random.integers(-(2**19), 2**19, architecture.parameters).astype(np.int32)
        return cls(architecture=architecture, target=target, head=head)

    def shard(self, seed: int, samples: int = NUMBERS["shard_samples"]) -> Shard:
        inputs = np.random.default_rng(seed).integers(0, 256, (samples, self.architecture.input_width), dtype=np.uint8)
        labels = reference.predictions(reference.logits(self.architecture, self.target, inputs))
        return Shard(inputs=inputs, labels=labels.astype(np.int64))

    def step(self, seed: int, eighths: int = 2, noise: int = 2**17) -> Int64Array:
        """Some eighths of the way to the target, and noise."""
        random = np.random.default_rng(seed)
        towards = (self.target.astype(np.int64) - self.head) * eighths // 8
        return towards + random.integers(-noise, noise + 1, len(self.head))


def account(number: int) -> bytes:
    return hashlib.sha256(b"account" + u32(number)).digest()[:20]


def revealed(
    base: Int32Array,
    delta: Int64Array,
    place: int,
    *,
    miner: bytes | None = None,
    bond: int = COIN,
    streak: int = 0,
    plaintext: bytes | None = None,
) -> RevealedUpdate:
    """An update sealed as a miner seals it; `plaintext` instead of the delta's own where it is to be malformed."""
    miner = account(place) if miner is None else miner
    key = hashlib.sha256(b"update key" + u32(place)).digest()
    plaintext = encode_update(delta) if plaintext is None else plaintext
    return RevealedUpdate(
        place=place,
        id=hashlib.sha256(b"update" + u32(place)).digest(),
        miner=miner,
        bond=bond,
        base=base,
        key=key,
        sealed=seal_update(plaintext, key=key, task=TASK, round_number=ROUND, miner=miner),
        streak=streak,
    )


def opened(shard: Shard, number: int, *, custodian: bytes | None = None, plaintext: bytes | None = None) -> OpenedShard:
    custodian = account(1000 + number) if custodian is None else custodian
    key = hashlib.sha256(b"shard key" + u32(number)).digest()
    plaintext = encode_shard(shard) if plaintext is None else plaintext
    sealed = seal_shard(plaintext, key=key, task=TASK, custodian=custodian, index=number)
    return OpenedShard(custodian=custodian, index=number, key=key, sealed=sealed)


def round_of(problem: Problem, updates, shards, **changes) -> SettlementInput:
    given = {
        "rules": Rules.from_mapping(NUMBERS, problem.architecture),
        "task": TASK,
        "round": ROUND,
        "beacon": BEACON,
        "head": problem.head,
        "updates": tuple(updates),
        "shards": tuple(shards),
        "step": None,
        "previous": (),
        "radius": 2**40,
        "radius_floor": 2**10,
        "recent": (),
    }
    return SettlementInput(**{**given, **changes})
