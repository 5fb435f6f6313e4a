"""Home of the plain game: coalitions of updates, the weights they make, and what each update adds to them."""

from __future__ import annotations

from tests.learning.plain_model import Sample
from tests.learning.plain_round import WMAX, Numbers, PlainRound, sha, tag


def clamp(vector: Numbers) -> Numbers:
    return [min(max(x, -WMAX), WMAX) for x in vector]


def add(a: Numbers, b: Numbers) -> Numbers:
    return [x + y for x, y in zip(a, b, strict=True)]


def subtract(a: Numbers, b: Numbers) -> Numbers:
    return [x - y for x, y in zip(a, b, strict=True)]


def dot(a: Numbers, b: Numbers) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def lower_median(values: Numbers) -> int:
    return sorted(values)[(len(values) - 1) // 2]


def weighted_sum(units: Numbers, deltas: list[Numbers], members: list[int]) -> Numbers:
    return [sum(units[i] * deltas[i][p] for i in members) for p in range(len(deltas[0]))]


def step_to(start: Numbers, units: Numbers, deltas: list[Numbers], members: list[int]) -> Numbers:
    """`W(S)` of step 7."""
    if not members:
        return start
    return clamp(add(start, [(x + 2**15) >> 16 for x in weighted_sum(units, deltas, members)]))


def coalitions(n: int, beacon: bytes) -> list[list[bool]]:
    """Step 8: for each row, who is in."""
    if n <= 8:
        return [[bool(row >> i & 1) for i in range(n)] for row in range(2**n)]
    order = 1
    while order < n:
        order *= 2
    words = random_words(beacon, order + n)
    permutation = list(range(order))
    for x in range(order - 1, 0, -1):
        y = words.pop(0) % (x + 1)
        permutation[x], permutation[y] = permutation[y], permutation[x]
    signs = [-1 if words.pop(0) & 1 else 1 for _ in range(n)]
    sylvester = [[(-1) ** (x & y).bit_count() for y in range(order)] for x in range(order)]
    rows = sylvester + [[-entry for entry in row] for row in sylvester]
    return [[row[permutation[i]] * signs[i] == 1 for i in range(n)] for row in rows]


def random_words(beacon: bytes, count: int) -> Numbers:
    words: Numbers = []
    while len(words) < count:
        digest = sha(tag("coalitions"), beacon, (len(words) // 4).to_bytes(8, "big"))
        words += [int.from_bytes(digest[place : place + 8], "big") for place in (0, 8, 16, 24)]
    return words


def game(
    given: PlainRound, start: Numbers, units: Numbers, deltas: list[Numbers], samples: list[Sample]
) -> list[Numbers]:
    """Step 9: `b_i[k]` for each valid update and sample."""
    gains = [[0] * len(samples) for _ in deltas]
    for row in coalitions(len(deltas), given.beacon) if deltas else []:
        weights = step_to(start, units, deltas, [i for i, inside in enumerate(row) if inside])
        losses = given.model.losses(weights, samples)
        for i, inside in enumerate(row):
            gains[i] = [b - loss if inside else b + loss for b, loss in zip(gains[i], losses, strict=True)]
    return gains


def by_custodian(values: Numbers, s: int, c: int) -> Numbers:
    return [sum(values[j * s : (j + 1) * s]) for j in range(c)]
