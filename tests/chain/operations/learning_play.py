"""Home of rounds played for real: miners that train a little, and the real settlement."""

from __future__ import annotations

import numpy as np

from chain.judging import head_weights, settlement_input
from chain.operations.tasks import parse_spec
from learning.commitment import weights_bytes
from learning.evaluation import Evaluator
from learning.round import Settlement
from learning.settlement import settle
from tests.chain.operations.learning_world import (
    ARCHITECTURE,
    CUSTODIANS,
    MINERS,
    World,
    samples,
)

EVALUATOR = Evaluator(ARCHITECTURE, backend="reference")


def trained_delta(world: World, seed: int, steps: int = 200) -> np.ndarray:
    """A step that lowers the loss on samples of one's own, found by trying random directions."""
    spec = parse_spec(world.spec, world.parameters)
    head = head_weights(spec, world.task_state.head, world.blobs.get)
    data = samples(1000 + seed, 40)
    random = np.random.default_rng(seed)
    best, delta = int(EVALUATOR.losses(head, data.inputs, data.labels).sum()), np.zeros(len(head), np.int64)
    for _ in range(steps):
        tried = delta + random.normal(0, 60_000, len(head)).astype(np.int64)
        loss = int(EVALUATOR.losses((head + tried).astype(np.int32), data.inputs, data.labels).sum())
        if loss < best:
            best, delta = loss, tried
    return delta


def judge(world: World, number: int) -> Settlement:
    given = settlement_input(world, world.parameters, world.task, number, world.blobs.get)
    settlement = settle(given, EVALUATOR)
    world.blobs[settlement.record.head] = weights_bytes(settlement.head)
    return settlement


def play_round(world: World, number: int, seed: int = 0) -> Settlement:
    """Two honest miners commit, reveal and are judged; stands in the block after open."""
    world.go_to(number, 2)
    names = [f"honest {i} of {number}" for i in range(2)]
    roots = [
        world.commit_update(MINERS[i], name, delta=trained_delta(world, seed + 10 * number + i))
        for i, name in enumerate(names)
    ]
    world.hold(number)
    world.go_to(number + 1, 0)
    for i, name in enumerate(names):
        world.reveal(MINERS[i], number, roots[i], name)
    world.go_to(number + 1, 2)
    for custodian in CUSTODIANS:
        world.open_shard(custodian, number)
    world.go_to(number + 1, 4)
    return judge(world, number)


def settle_round(world: World, number: int, settlement: Settlement) -> list:
    record = settlement.record.encode()
    world.attest(number, record)
    return world.call(MINERS[3], "settle", world.task, number, record)


def play_round_from(world: World, number: int) -> Settlement:
    sealed = world.commit_update(MINERS[0], f"later {number}", delta=trained_delta(world, number))
    world.hold(number)
    world.go_to(number + 1, 0)
    world.reveal(MINERS[0], number, sealed, f"later {number}")
    world.go_to(number + 1, 2)
    for custodian in CUSTODIANS:
        world.open_shard(custodian, number)
    world.go_to(number + 1, 4)
    return judge(world, number)
