"""Bytes, roots and records that must never change.

The vectors of bytes and roots come from separate code, written from docs/settlement.md with hashlib alone; those of
whole rounds from `settle` itself, so that a change of any bit of it is noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from learning.architecture import Architecture
from learning.commitment import (
    attestation_digest,
    beacon,
    blob_root,
    key_commitment,
    record_hash,
    update_id,
    weights_root,
)
from learning.contribution import coalitions
from learning.record import Record
from learning.round import PastUpdate, SettlementInput
from learning.sealing import seal_shard, seal_update
from learning.settlement import settle
from learning.shards import Shard, ShardKeys, encode_shard, prepare_shards
from learning.updates import encode_update
from tests.learning.rounds import BEACON, COIN, Problem, ReferenceEvaluator, opened, revealed, round_of

GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "learning-golden.json").read_text())
KEY, TASK, MINER, ROOT = (bytes([number]) * size for number, size in ((1, 32), (2, 32), (3, 20), (4, 32)))
SHARD = Shard(inputs=np.arange(12, dtype=np.uint8).reshape(3, 4), labels=np.array([0, 300, 65535], dtype=np.int64))


def pattern(length: int) -> bytes:
    return bytes(range(251)) * (length // 251) + bytes(range(length % 251))


def numbers(name: str, count: int, low: int, high: int) -> np.ndarray:
    """Integers in [low, high) from a hash, so that they depend on no library."""
    words = (hashlib.sha256(f"{name} {i}".encode()).digest()[:8] for i in range(count))
    return np.array([low + int.from_bytes(word, "big") % (high - low) for word in words], dtype=np.int64)


COMPUTED = {
    "key_commitment": lambda: key_commitment(key=KEY, miner=MINER, task=TASK, round_number=258),
    "update_id": lambda: update_id(chain_id=1280918341, task=TASK, round_number=258, miner=MINER, sealed_root=ROOT),
    "record_hash": lambda: record_hash(b"a record"),
    "attestation_digest": lambda: attestation_digest(record=ROOT, validator=MINER),
    "beacon": lambda: beacon(task=TASK, round_number=258, shard_keys=[KEY, ROOT], update_keys=[TASK]),
    "dense_update": lambda: encode_update(np.array([0, 1, -1, 16_777_214, -16_777_214], dtype=np.int64)),
    "shard": lambda: encode_shard(SHARD),
    "sealed_update": lambda: seal_update(b"plaintext", key=KEY, task=TASK, round_number=258, miner=MINER),
    "sealed_shard": lambda: seal_shard(b"plaintext", key=KEY, task=TASK, custodian=MINER, index=258),
    "shard_anchor": lambda: ShardKeys(seed=KEY, count=5).anchor,
    "shard_key_1_of_5": lambda: ShardKeys(seed=KEY, count=5).key(1),
    "shards_root": lambda: prepare_shards([SHARD, SHARD], seed=KEY, task=TASK, custodian=MINER).root,
    "weights_root": lambda: weights_root(
        Architecture(layers=(64, 300, 10)), np.arange(22_510, dtype=np.int32) * 7 - 70_000
    ),
    "coalitions_of_11": lambda: np.packbits(coalitions(11, BEACON)).tobytes(),
}


@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_bytes_are_golden(name):
    assert COMPUTED[name]().hex() == GOLDEN["bytes"][name]


def test_every_vector_is_used():
    assert sorted(GOLDEN["bytes"]) == sorted(COMPUTED)


@pytest.mark.parametrize(("length", "root"), sorted(GOLDEN["blob_roots"].items()))
def test_blob_roots_are_golden(length, root):
    assert blob_root(pattern(int(length))).hex() == root


def golden_problem() -> Problem:
    architecture = Architecture(layers=(6, 5, 3))
    return Problem(
        architecture=architecture,
        target=numbers("target", 53, -(2**21), 2**21).astype(np.int32),
        head=numbers("head", 53, -(2**19), 2**19).astype(np.int32),
    )


def golden_shard(number: int) -> Shard:
    """Labels by a rule that a model can learn in part: which third of the range the first byte lies in."""
    inputs = numbers(f"shard {number}", 96, 0, 256).astype(np.uint8).reshape(16, 6)
    return Shard(inputs=inputs, labels=inputs[:, 0].astype(np.int64) * 3 // 256)


def golden_round(players: int, minimum_openings: int) -> SettlementInput:
    problem = golden_problem()
    towards = problem.target.astype(np.int64) - problem.head
    steps = [towards // (i + 3) + numbers(f"step {i}", 53, -(2**18), 2**18) for i in range(players)]
    updates = [revealed(problem.head, step, i, bond=COIN * (1 + i % 3), streak=i % 3) for i, step in enumerate(steps)]
    updates[1] = revealed(problem.head - 1000, -steps[1], 1, streak=2)
    broken = revealed(problem.head, steps[0], players, plaintext=b"?", bond=3)
    given = round_of(
        problem,
        [*updates, broken],
        [opened(golden_shard(i), i) for i in range(3)],
        step=numbers("momentum", 53, -(2**16), 2**16).astype(np.int32),
        previous=(golden_shard(9),),
        radius=2**22,
        recent=(PastUpdate(miner=MINER, delta=steps[2].astype(np.int32)),),
    )
    return dataclasses.replace(given, rules=dataclasses.replace(given.rules, minimum_openings=minimum_openings))


@pytest.mark.parametrize("name", sorted(GOLDEN["rounds"]))
def test_rounds_are_golden(name):
    golden = GOLDEN["rounds"][name]
    given = golden_round(golden["players"], golden["minimum_openings"])
    settlement = settle(given, ReferenceEvaluator(given.rules.architecture))
    assert settlement.record == Record.decode(bytes.fromhex(golden["record"]))
    assert settlement.record.encode().hex() == golden["record"]
    assert settlement.head.tolist() == golden["head"]
