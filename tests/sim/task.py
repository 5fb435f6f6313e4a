"""Home of what simulated histories learn: one tiny task, its sealed shards, and updates that do some good."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

import numpy as np

from chain.genesis import Genesis, genesis_json, parse_genesis
from chain.operations.tasks import GenesisCustodian, GenesisTask, canonical_json, task_id
from chain.types import COIN
from learning.architecture import PARAMETER_MAX, Architecture
from learning.commitment import Int32Array, Int64Array, blob_root
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.shards import Shard, ShardKeys, prepare_shards

CHAIN_ID = 77
GENESIS_TIME_MS = 1_000_000
ARCHITECTURE = Architecture(layers=(3, 2, 2), input_exponent=8)
INITIAL_SEED = hashlib.sha256(b"initial weights").digest()
SHARD_SAMPLES = 16
SHARDS = 24
CYCLE_BLOCKS = 8
REVEAL_BLOCKS, OPEN_BLOCKS, HOLD_BLOCKS = 1, 1, 1
BALANCE = 10_000 * COIN
BOND = 2 * COIN
TEACHER_STEPS = 400
PARAMETERS = {
    "bond_minimum": COIN,
    "block_interval_ms": 200,
    "power_openings_minimum": 1,
    "power_per_coin": 40,
    "power_decay_milli": 900,
    "bond_per_power": COIN // 1000,
    "custodian_bond": 10 * COIN,
    "block_bytes_max": 1 << 16,
}


def secret(*name: object) -> bytes:
    """32 bytes that a name determines: keys and seeds of a simulated world."""
    return hashlib.sha256(repr(name).encode()).digest()


def spec_json() -> bytes:
    return canonical_json(
        {
            "name": "tiny",
            "description": "three inputs, two classes",
            "architecture": json.loads(ARCHITECTURE.to_json()),
            "initial_seed": "0x" + INITIAL_SEED.hex(),
            "shard_samples": SHARD_SAMPLES,
            "start": 1,
            "rounds": SHARDS,
            "native": True,
            "power_weight_milli": 1000,
            "schema": {"columns": [[f"x{i}", "0.0", "1.0"] for i in range(3)], "labels": ["no", "yes"]},
            "settings": {
                "cycle_blocks": CYCLE_BLOCKS,
                "reveal_blocks": REVEAL_BLOCKS,
                "open_blocks": OPEN_BLOCKS,
                "hold_blocks": HOLD_BLOCKS,
                "updates_per_round": 8,
            },
        }
    )


TASK = task_id(CHAIN_ID, 0, spec_json())


def samples(seed: int, count: int) -> Shard:
    """Samples whose class is whether the first input outweighs the second."""
    inputs = np.random.default_rng(seed).integers(0, 256, (count, 3), dtype=np.uint8)
    return Shard(inputs=inputs, labels=(inputs[:, 0] > inputs[:, 1]).astype(np.int64))


@lru_cache(maxsize=8)
def shard_keys(custodian: bytes) -> ShardKeys:
    return ShardKeys(seed=secret("shards", custodian), count=SHARDS)


@lru_cache(maxsize=8)
def custody(custodian: bytes) -> tuple[GenesisCustodian, tuple[bytes, ...]]:
    """What genesis says of a custodian, and its manifest and sealed shards."""
    shards = [samples(custodian[0] * 100 + i, SHARD_SAMPLES) for i in range(SHARDS)]
    made = prepare_shards(shards, seed=shard_keys(custodian).seed, task=TASK, custodian=custodian)
    given = GenesisCustodian(
        address=custodian,
        shards_root=made.root,
        key_anchor=made.anchor,
        shards=SHARDS,
        bond=PARAMETERS["custodian_bond"],
    )
    return given, (made.manifest, *made.sealed)


@lru_cache(maxsize=64)
def genesis(
    powers: tuple[tuple[bytes, int], ...], accounts: tuple[bytes, ...], custodians: tuple[bytes, ...], **numbers: int
) -> Genesis:
    """A network of validators with these powers, whose bonds cover ten times of it."""
    members = tuple(custody(address)[0] for address in sorted(custodians))
    parameters = PARAMETERS | numbers
    return parse_genesis(
        genesis_json(
            chain_id=CHAIN_ID,
            time_ms=GENESIS_TIME_MS,
            balances=dict.fromkeys((*accounts, *custodians), BALANCE),
            validators=[(address, power, 10 * power * parameters["bond_per_power"]) for address, power in powers],
            tasks=[GenesisTask(spec=spec_json(), custodians=members)],
            parameters=parameters,
        )
    )


@lru_cache(maxsize=8)
def blobs_of_genesis(custodians: tuple[bytes, ...]) -> dict[bytes, bytes]:
    return {blob_root(blob): blob for address in custodians for blob in custody(address)[1]}


@lru_cache(maxsize=4)
def evaluator(backend: str) -> Evaluator:
    return Evaluator(ARCHITECTURE, backend=backend)


@lru_cache(maxsize=1)
def teacher() -> Int64Array:
    """Weights that do well on the task, found by trying random directions: once a process."""
    head = initial_weights(ARCHITECTURE, INITIAL_SEED).astype(np.int64)
    data, random = samples(1, 64), np.random.default_rng(1)
    best = int(evaluator("float64").losses(head.astype(np.int32), data.inputs, data.labels).sum())
    for _ in range(TEACHER_STEPS):
        tried = np.clip(head + random.normal(0, 80_000, len(head)).astype(np.int64), -PARAMETER_MAX, PARAMETER_MAX)
        loss = int(evaluator("float64").losses(tried.astype(np.int32), data.inputs, data.labels).sum())
        if loss < best:
            best, head = loss, tried
    return head


def update_from(head: Int32Array, seed: int) -> Int64Array:
    """A step of some parameters toward the teacher, others by chance: each maker's own, so that none is a copy."""
    random = np.random.default_rng(seed)
    way = teacher() - head.astype(np.int64)
    noise = random.normal(0, 30_000, len(head)).astype(np.int64)
    return np.asarray(np.where(random.random(len(head)) < 0.5, way // 4, noise))
