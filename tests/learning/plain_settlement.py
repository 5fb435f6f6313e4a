"""Home of the second settlement: docs/settlement.md once more, slow and obvious, over Python integers and lists.

It shares nothing with `learning.settlement` but the text of that page and the table behind the log-sum-exp, so what both
compute to the same bit is what the page says. Paragraphs are numbered as the page's steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgpack

from tests.learning.plain_game import (
    add,
    by_custodian,
    clamp,
    coalitions,
    dot,
    game,
    lower_median,
    step_to,
    subtract,
    weighted_sum,
)
from tests.learning.plain_model import Sample
from tests.learning.plain_round import (
    Numbers,
    PlainRound,
    PlainUpdate,
    decode_shard,
    decode_update,
    weights_root,
)

RADIUS_MAX = 2**40
QUARTERS = (0, 1, 2, 4, 6, 8, 12)
ACCEPTED, NO_GAIN, NOT_SIGNIFICANT, COPY, MALFORMED, VOID = 1, 2, 3, 4, 5, 6
SHARD_USED, SHARD_UNUSED, SHARD_MALFORMED = 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class PlainResult:
    record: bytes
    head: Numbers
    last_step: Numbers | None
    radius: int


@dataclass(kw_only=True)
class _Line:
    """One update's line of the record, filled in as the steps go."""

    update: PlainUpdate
    delta: Numbers | None
    fate: int = 0
    beta: int = 0
    reward: int = 0
    charge: int = 0
    cut: int = 0
    streak: int = 0


def settle(given: PlainRound) -> PlainResult:
    # 1. Shards
    fates, used = shard_fates(given)
    lines = [_Line(update=update, delta=None, streak=update.streak) for update in given.updates]
    if len(used) < given.rules.minimum_openings:
        for line in lines:
            line.fate = VOID
        same = weights_root(given.model, given.head)
        middle: list[object] = [same, same, 1, 0, 0, 0, 0, 0, 0, 0, 0, given.radius]
        record = write_record(given, middle, lines, fates, 0, len(used))
        return PlainResult(record=record, head=given.head, last_step=given.last_step, radius=given.radius)
    samples = [sample for shard in used for sample in shard]

    # 2 to 3. Decode and copies
    decode_all(given, lines)
    find_copies(given, lines)
    valid = [line for line in lines if line.fate == 0]

    # 4 to 7. Momentum, rebase, clip, weights
    quarters, start = momentum(given)
    bonds = [min(line.update.bond, 8 * given.rules.bond_minimum) for line in valid]
    deltas = prepare(given, valid, bonds, start)
    units = [(bond << 16) // sum(bonds) for bond in bonds]

    # 8 to 9. Coalitions, game
    gains = game(given, start, units, deltas, samples)
    rows_half = len(coalitions(len(valid), given.beacon)) // 2
    s, c = given.rules.shard_samples, len(used)
    for line, b in zip(valid, gains, strict=True):
        line.beta = lower_median(by_custodian(b, s, c)) // (rows_half * s)

    # 10. Accept
    losses_start = given.model.losses(start, samples)
    value, candidate, significant = best_candidate(given, valid, start, units, deltas, samples, losses_start)
    total_head = sum(given.model.losses(given.head, samples))
    if significant:
        new_head = candidate
    else:
        new_head = start if sum(losses_start) <= total_head else given.head

    # 11 to 14. Radius, pay, harm, fates
    radius = next_radius(given, start, units, deltas, samples)
    if significant:
        pay(given, valid, units, value, sum(losses_start) // (c * s))
    harm(given, valid, gains)
    for line in valid:
        line.fate = NO_GAIN if line.beta <= 0 else ACCEPTED if significant else NOT_SIGNIFICANT

    # 15. Record
    k = c * s
    roots = [weights_root(given.model, given.head), weights_root(given.model, new_head)]
    losses = [total_head // k, sum(losses_start) // k, sum(given.model.losses(new_head, samples)) // k]
    correct = [given.model.correct(given.head, samples), given.model.correct(new_head, samples)]
    middle = [*roots, 2 * significant, k, *losses, *correct, quarters, value // s, radius]
    record = write_record(given, middle, lines, fates, sum(line.reward for line in lines), c)
    last_step = subtract(new_head, given.head) if significant else given.last_step
    return PlainResult(record=record, head=new_head, last_step=last_step, radius=radius)


def shard_fates(given: PlainRound) -> tuple[Numbers, list[list[Sample]]]:
    fates, used = [], []
    miners = [update.miner for update in given.updates]
    for shard in given.shards:
        samples = decode_shard(given, shard)
        if samples is None:
            fates.append(SHARD_MALFORMED)
        elif shard.custodian in miners:
            fates.append(SHARD_UNUSED)
        else:
            fates.append(SHARD_USED)
            used.append(samples)
    return fates, used


def decode_all(given: PlainRound, lines: list[_Line]) -> None:
    for line in lines:
        line.delta = decode_update(given, line.update)
        if line.delta is None:
            line.fate = MALFORMED
            line.cut = line.update.bond * given.rules.malformed_cut_milli // 1000


def find_copies(given: PlainRound, lines: list[_Line]) -> None:
    earlier = list(given.recent)
    for line in lines:
        if line.delta is None:
            continue
        if any(m != line.update.miner and is_copy(line.delta, e) for m, e in earlier):
            line.fate = COPY
        earlier.append((line.update.miner, line.delta))


def is_copy(delta: Numbers, other: Numbers) -> bool:
    inner = dot(delta, other)
    return delta == other or (inner > 0 and 100 * inner**2 > 98 * dot(delta, delta) * dot(other, other))


def momentum(given: PlainRound) -> tuple[int, Numbers]:
    if given.last_step is None or given.previous is None:
        return 0, given.head
    best = None
    for k in QUARTERS:
        head = clamp(add(given.head, [(k * m + 2) >> 2 for m in given.last_step]))
        total = sum(given.model.losses(head, given.previous))
        if best is None or total < best[0]:
            best = (total, k, head)
    assert best is not None
    return best[1], best[2]


def prepare(given: PlainRound, valid: list[_Line], bonds: Numbers, start: Numbers) -> list[Numbers]:
    """Steps 5 and 6: the deltas as they play, rebased and clipped."""
    deltas = []
    for line in valid:
        drift = [(x + 1) >> 1 for x in subtract(given.head, line.update.base)]
        assert line.delta is not None
        deltas.append(subtract(line.delta, drift))
    if not valid:
        return []
    norms = [math.isqrt(dot(delta, delta)) for delta in deltas]
    limit = min(given.radius, weighted_median(norms, bonds))
    for i, norm in enumerate(norms):
        if norm > limit:
            factor = (limit << 16) // norm
            deltas[i] = [(x * factor + 2**15) >> 16 for x in deltas[i]]
    return [subtract(clamp(add(start, delta)), start) for delta in deltas]


def weighted_median(norms: Numbers, bonds: Numbers) -> int:
    """The norm of the first update, by norm and place, at which half of all bonds is reached."""
    cumulated = 0
    for norm, place in sorted((norm, place) for place, norm in enumerate(norms)):
        cumulated += bonds[place]
        if 2 * cumulated >= sum(bonds):
            return norm
    raise AssertionError("all bonds are at least half of all bonds")


def best_candidate(
    given: PlainRound,
    valid: list[_Line],
    start: Numbers,
    units: Numbers,
    deltas: list[Numbers],
    samples: list[Sample],
    losses_start: Numbers,
) -> tuple[int, Numbers, bool]:
    """Step 10: `v` and the weights of the better candidate, and whether it is significant."""
    chosen = [i for i, line in enumerate(valid) if line.beta > 0]
    if not chosen:
        return 0, start, False
    s = given.rules.shard_samples
    unit = sum(units[i] for i in chosen)
    scaled = [(x + unit // 2) // unit for x in weighted_sum(units, deltas, chosen)]
    best = None
    for weights in (step_to(start, units, deltas, chosen), clamp(add(start, scaled))):
        differences = subtract(losses_start, given.model.losses(weights, samples))
        value = lower_median(by_custodian(differences, s, len(samples) // s))
        if best is None or value > best[0]:
            best = (value, weights, differences)
    assert best is not None
    value, weights, d = best
    enough = 10**6 * sum(d) ** 2 > given.rules.significance_milli**2 * dot(d, d)
    return value, weights, sum(d) > 0 and enough and value > 0


def next_radius(given: PlainRound, start: Numbers, units: Numbers, deltas: list[Numbers], samples: list[Sample]) -> int:
    if not deltas:
        return given.radius
    mean = weighted_sum(units, deltas, list(range(len(deltas))))
    totals = []
    for shift in (17, 16, 15):
        weights = clamp(add(start, [(x + 2 ** (shift - 1)) >> shift for x in mean]))
        totals.append(sum(given.model.losses(weights, samples)))
    best = totals.index(min(totals))
    radius = (given.radius * 2 // 3, given.radius, given.radius * 3 // 2)[best]
    return min(max(radius, given.radius_floor), RADIUS_MAX)


def pay(given: PlainRound, valid: list[_Line], units: Numbers, value: int, loss: int) -> None:
    rules = given.rules
    loss = max(loss, rules.loss_floor)
    raw = [rules.price * max(line.beta, 0) // loss for line in valid]
    limit = min(rules.cap, rules.price * (value // rules.shard_samples) // loss)
    for line, amount in zip(valid, raw, strict=True):
        line.reward = amount * limit // sum(raw) if sum(raw) > limit else amount
    total = sum(line.reward for line in valid)
    for line, unit in zip(valid, units, strict=True):
        line.charge = min(rules.charge_milli * unit * total // (1000 << 16), line.update.bond)


def harm(given: PlainRound, valid: list[_Line], gains: list[Numbers]) -> None:
    for line, b in zip(valid, gains, strict=True):
        z = sum(b)
        harmful = z < 0 and z**2 > given.rules.harm_sigma**2 * dot(b, b)
        line.streak = line.streak + 1 if harmful else 0
        if line.streak >= given.rules.harm_rounds:
            cut = line.update.bond * given.rules.harm_cut_milli // 1000
            line.cut = min(cut, line.update.bond - line.charge)
            line.streak = 0


def amount_bytes(amount: int) -> bytes:
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")


def write_record(
    given: PlainRound, middle: list[object], lines: list[_Line], fates: Numbers, total: int, used: int
) -> bytes:
    updates = []
    for line in lines:
        amounts = [amount_bytes(amount) for amount in (line.reward, line.charge, line.cut)]
        updates.append([line.update.id, line.fate, line.beta, *amounts, line.streak])
    custodians = []
    for shard, fate in zip(given.shards, fates, strict=True):
        reward = given.rules.custodian_share_milli * total // 1000 // used if fate == SHARD_USED else 0
        custodians.append([shard.custodian, fate, amount_bytes(reward)])
    fields = [1, given.task, given.round, *middle, updates, custodians]
    return bytes(msgpack.packb(fields, use_bin_type=True))
