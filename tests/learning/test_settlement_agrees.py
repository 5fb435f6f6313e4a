"""Home of the test that settlement is what its page says: two implementations, one outcome, on random rounds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace

import numpy as np

from learning.architecture import Architecture
from learning.commitment import Int32Array, Int64Array, blob_root, weights_root
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.record import CustodianFate, Record, UpdateFate
from learning.round import OpenedShard, PastUpdate, RevealedUpdate, SettlementInput
from learning.rules import Rules
from learning.sealing import seal_shard, seal_update
from learning.settlement import settle
from learning.shards import Shard, UInt8Array, encode_shard
from learning.updates import encode_update
from tests.learning.plain_model import PlainModel, Sample
from tests.learning.plain_round import PlainRound, PlainRules, PlainShard, PlainUpdate
from tests.learning.plain_round import blob_root as plain_blob_root
from tests.learning.plain_round import weights_root as plain_weights_root
from tests.learning.plain_settlement import settle as plain_settle

WMAX = 2**23 - 1
COIN = 10**18
ROUNDS = 400
COUNTS = {0: 0.06, 1: 0.06, 2: 0.08, 3: 0.14, 5: 0.12, 7: 0.1, 8: 0.08, 10: 0.12, 12: 0.1, 14: 0.08, 18: 0.06}
ARCHITECTURES = (
    Architecture(layers=(3, 2)),
    Architecture(layers=(4, 3, 2), input_exponent=4),
    Architecture(layers=(5, 4, 3, 3), input_exponent=0, activation_exponent=7),
    Architecture(layers=(2, 6, 4), input_exponent=8, activation_exponent=12),
)


@dataclass(kw_only=True)
class Draw:
    """Draws one round; what is common to both sides is kept in their own words."""

    rng: np.random.Generator
    architecture: Architecture

    def coin(self, chance: float) -> bool:
        return bool(self.rng.random() < chance)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def octets(self, count: int) -> bytes:
        return self.rng.bytes(count)

    def weights(self) -> Int32Array:
        """Usual ones, small ones, and ones at the edge of what a parameter holds."""
        spread = int(self.rng.choice([2**16, 2**20, 2**22, 2 * WMAX]))
        drawn = self.rng.integers(-spread, spread + 1, self.architecture.parameters)
        return np.clip(drawn, -WMAX, WMAX).astype(np.int32)

    def delta(self, spread: int) -> Int64Array:
        return self.rng.integers(-spread, spread + 1, self.architecture.parameters).astype(np.int64)


def draw_rules(draw: Draw) -> Rules:
    choose = draw.rng.choice
    return Rules(
        price=int(choose([0, 7, 10**6])) * COIN if draw.coin(0.5) else 100 * COIN,
        cap=int(choose([1, 50, 10**9])) * COIN,
        loss_floor=int(choose([1, 2**20 // 100, 2**24])),
        significance_milli=int(choose([0, 1000, 1500])),
        charge_milli=int(choose([0, 400, 1000])),
        custodian_share_milli=int(choose([0, 100, 333])),
        bond_minimum=int(choose([1, 1000, COIN])),
        minimum_openings=int(choose([1, 1, 1, 2])),
        shard_samples=draw.number(1, 7),
        harm_sigma=draw.number(1, 3),
        harm_rounds=draw.number(1, 3),
        malformed_cut_milli=int(choose([0, 500, 1000])),
        harm_cut_milli=int(choose([0, 500, 1000])),
        architecture=draw.architecture,
    )


def teacher_labels(draw: Draw, teacher: Int32Array, inputs: UInt8Array) -> Int64Array:
    """Labels that a model gives, so that steps towards it do help; a few are wrong."""
    answers = Evaluator(draw.architecture, backend="reference").logits(teacher, inputs).argmax(axis=1)
    noise = draw.rng.integers(0, draw.architecture.classes, len(inputs))
    return np.where(draw.rng.random(len(inputs)) < 0.1, noise, answers).astype(np.int64)


def draw_shard(draw: Draw, samples: int, teacher: Int32Array) -> Shard:
    inputs = draw.rng.integers(0, 256, (samples, draw.architecture.input_width)).astype(np.uint8)
    return Shard(inputs=inputs, labels=teacher_labels(draw, teacher, inputs))


def spoiled_shard(draw: Draw, plain: bytes, samples: int) -> bytes:
    """A plaintext that is not the task's shard: too short, another count, or a label beyond the classes."""
    if draw.coin(0.3):
        return plain[:-1]
    if draw.coin(0.5):
        return (samples + 1).to_bytes(4, "little") + plain[4:]
    return plain[:-2] + draw.architecture.classes.to_bytes(2, "little")


def draw_shards(
    draw: Draw, rules: Rules, task: bytes, teacher: Int32Array, miners: list[bytes]
) -> tuple[OpenedShard, ...]:
    shards = []
    for place in range(int(draw.rng.choice([1, 1, 2, 3, 3, 4, 5]))):
        custodian = miners[place] if place < len(miners) and draw.coin(0.1) else draw.octets(20)
        index, key = draw.number(0, 1000), draw.octets(32)
        truth = draw.weights() if draw.coin(0.2) else teacher  # some custodians' data says something else
        plain = encode_shard(draw_shard(draw, rules.shard_samples, truth))
        if draw.coin(0.1):
            plain = spoiled_shard(draw, plain, rules.shard_samples)
        sealed = seal_shard(plain, key=key, task=task, custodian=custodian, index=index)
        if draw.coin(0.05):
            key = draw.octets(32)
        shards.append(OpenedShard(custodian=custodian, index=index, key=key, sealed=sealed))
    return tuple(sorted(shards, key=lambda shard: shard.custodian))


def spoiled_update(draw: Draw, plain: bytes) -> bytes:
    """A plaintext that no codec writes: shorter, longer, another codec or count, a value out of range."""
    return (
        plain[:-1],
        plain + b"\0",
        b"\x07" + plain[1:],
        plain[:1] + (5).to_bytes(4, "little") + plain[5:],
        plain[:-4] + (-2 * WMAX - 1).to_bytes(4, "little", signed=True),
        b"",
    )[draw.number(0, 5)]


def draw_delta(draw: Draw, base: Int32Array, teacher: Int32Array, earlier: list[Int64Array]) -> Int64Array:
    """A step towards the teacher, away from it, random, huge or zero, or (nearly) one seen before."""
    kind = draw.rng.random()
    gap = teacher.astype(np.int64) - base
    if kind < 0.2 and earlier:
        original = earlier[-1 if draw.coin(0.6) else draw.number(0, len(earlier) - 1)]
        noise = draw.rng.normal(size=len(original))
        share = float(draw.rng.choice([0, 0.02, 0.11, 0.13, 0.14, 0.15, 0.3]))  # 0.1429 is the edge of a copy
        noise *= share * np.linalg.norm(original) / np.linalg.norm(noise)
        copied: Int64Array = np.clip(original + noise.astype(np.int64), -2 * WMAX, 2 * WMAX)
        return copied
    part = draw.rng.random(len(gap)) < 0.6
    if kind < 0.7:
        return gap * part // draw.number(2, 8) + draw.delta(max(1, int(np.abs(gap).max()) // 20))
    if kind < 0.8:
        return -gap * part // draw.number(1, 12)
    return draw.delta(int(draw.rng.choice([0, 1, 2**12, 2**18, 2 * WMAX])))


def draw_updates(
    draw: Draw,
    rules: Rules,
    task: bytes,
    round_number: int,
    head: Int32Array,
    teacher: Int32Array,
    recent: tuple[PastUpdate, ...],
) -> tuple[RevealedUpdate, ...]:
    updates, earlier = [], [past.delta.astype(np.int64) for past in recent]
    miners = [past.miner for past in recent] + [draw.octets(20) for _ in range(10)]
    for place in range(int(draw.rng.choice(list(COUNTS), p=list(COUNTS.values())))):
        miner = miners[draw.number(0, len(miners) - 1)] if draw.coin(0.3) else draw.octets(20)
        base = head if draw.coin(0.7) else np.clip(head + draw.delta(2**17), -WMAX, WMAX).astype(np.int32)
        delta = draw_delta(draw, base, teacher, earlier)
        earlier.append(delta)
        plain, key = encode_update(delta), draw.octets(32)
        if draw.coin(0.07):
            plain = spoiled_update(draw, plain)
        sealed = seal_update(plain, key=key, task=task, round_number=round_number, miner=miner)
        update = RevealedUpdate(
            place=place,
            id=draw.octets(32),
            miner=miner,
            bond=rules.bond_minimum * draw.number(1, 12) + draw.number(0, 999),
            base=base,
            key=draw.octets(32) if draw.coin(0.03) else key,
            sealed=sealed,
            streak=draw.number(0, 2),
        )
        updates.append(update)
    return tuple(updates)


def draw_round(seed: int) -> SettlementInput:
    generator = np.random.Generator(np.random.PCG64(seed))
    draw = Draw(rng=generator, architecture=ARCHITECTURES[seed % len(ARCHITECTURES)])
    rules, task, round_number = draw_rules(draw), draw.octets(32), draw.number(0, 2**32 - 1)
    head, teacher = draw.weights(), draw.weights()
    recent = tuple(
        PastUpdate(miner=draw.octets(20), delta=draw_delta(draw, head, teacher, []).astype(np.int32))
        for _ in range(draw.number(0, 3))
    )
    updates = draw_updates(draw, rules, task, round_number, head, teacher, recent)
    shards = draw_shards(draw, rules, task, teacher, [update.miner for update in updates])
    step = (teacher.astype(np.int64) - head) // draw.number(-8, -3) * (-1 if draw.coin(0.7) else 1)
    previous = tuple(draw_shard(draw, rules.shard_samples, teacher) for _ in range(draw.number(0, 2)))
    return SettlementInput(
        rules=rules,
        task=task,
        round=round_number,
        beacon=draw.octets(32),
        head=head,
        updates=updates,
        shards=shards,
        step=step.astype(np.int32) if draw.coin(0.6) else None,
        previous=previous,
        radius=int(draw.rng.choice([0, 2**14, 2**20, 2**22, 2**26, 2**40])),
        radius_floor=int(draw.rng.choice([0, 2**13, 2**21, 2**40])),
        recent=recent,
    )


def plain_samples(shards: tuple[Shard, ...]) -> list[Sample] | None:
    rows = [(row, label) for shard in shards for row, label in zip(shard.inputs, shard.labels, strict=True)]
    return [Sample(row.tolist(), int(label)) for row, label in rows] or None


def as_plain(given: SettlementInput) -> PlainRound:
    """The same round in the plain side's words."""
    numbers = {item.name: getattr(given.rules, item.name) for item in fields(PlainRules)}
    updates = [
        PlainUpdate(
            id=update.id,
            miner=update.miner,
            bond=update.bond,
            base=update.base.tolist(),
            key=update.key,
            sealed=update.sealed,
            streak=update.streak,
        )
        for update in given.updates
    ]
    shards = [
        PlainShard(custodian=shard.custodian, index=shard.index, key=shard.key, sealed=shard.sealed)
        for shard in given.shards
    ]
    return PlainRound(
        rules=PlainRules(**numbers),
        model=PlainModel(given.rules.architecture.to_json()),
        task=given.task,
        round=given.round,
        beacon=given.beacon,
        head=given.head.tolist(),
        updates=updates,
        shards=shards,
        last_step=None if given.step is None else given.step.tolist(),
        previous=plain_samples(given.previous),
        radius=given.radius,
        radius_floor=given.radius_floor,
        recent=[(past.miner, past.delta.tolist()) for past in given.recent],
    )


def covered(record: Record, given: SettlementInput) -> Counter[str]:
    """What a round exercised."""
    players = sum(outcome.fate in (1, 2, 3) for outcome in record.updates)
    bare = record.momentum > 0 and record.head != record.parent and not record.accepted
    cut = any(outcome.cut and outcome.fate is not UpdateFate.MALFORMED for outcome in record.updates)
    accounts = Counter(update.miner for update in given.updates)
    return Counter(
        [f"update {outcome.fate.name}" for outcome in record.updates]
        + [f"shard {outcome.fate.name}" for outcome in record.custodians]
        + ["exact"] * (0 < players <= 8)
        + ["Hadamard rows"] * (players > 8)
        + ["no valid update"] * (players == 0 and not record.void)
        + ["an account with two updates"] * (max(accounts.values(), default=0) > 1)
        + ["several custodians"] * (sum(line.fate is CustodianFate.USED for line in record.custodians) > 1)
        + ["momentum"] * (record.momentum > 0)
        + ["momentum alone"] * bare
        + ["radius grows"] * (record.radius > given.radius)
        + ["radius shrinks"] * (record.radius < given.radius)
        + ["charge"] * any(outcome.charge for outcome in record.updates)
        + ["harm cut"] * cut
    )


def test_both_settlements_agree_on_every_bit() -> None:
    seen: Counter[str] = Counter()
    for seed in range(ROUNDS):
        given = draw_round(seed)
        shuffled = replace(given, updates=given.updates[::-1], shards=given.shards[::-1])
        settled = settle(shuffled, Evaluator(given.rules.architecture))
        plain = plain_settle(as_plain(given))
        assert settled.record.encode() == plain.record, f"seed {seed}"
        assert settled.head.tolist() == plain.head, f"seed {seed}"
        assert (None if settled.step is None else settled.step.tolist()) == plain.last_step, f"seed {seed}"
        assert settled.radius == plain.radius, f"seed {seed}"
        seen += covered(settled.record, given)
    expected = {f"update {fate.name}" for fate in UpdateFate} | {f"shard {fate.name}" for fate in CustodianFate}
    expected |= {"exact", "Hadamard rows", "no valid update", "an account with two updates", "several custodians"}
    expected |= {"momentum", "momentum alone", "radius grows", "radius shrinks", "charge", "harm cut"}
    assert {name: seen[name] for name in expected if seen[name] < 5} == {}, "the rounds drawn show too little"


def test_both_roots_agree_on_every_shape_of_tree() -> None:
    for length in (0, 1, 65_535, 65_536, 65_537, 3 * 65_536, 5 * 65_536 + 7):
        data = np.random.Generator(np.random.PCG64(length)).bytes(length)
        assert blob_root(data) == plain_blob_root(data), length
    for layers in ((3, 2), (163, 100, 2), (700, 100, 3)):
        architecture = Architecture(layers=layers)
        weights = initial_weights(architecture, bytes(32))
        plain = plain_weights_root(PlainModel(architecture.to_json()), weights.tolist())
        assert weights_root(architecture, weights) == plain, layers
