"""Home of golden vectors: models and samples made from SHA-256 streams, whose exact results are pinned by digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learning.architecture import PARAMETER_MAX, Architecture
from learning.loss_tables import LOGARITHMS, POWERS, TABLES_SHA256, digest

if TYPE_CHECKING:
    from learning.evaluation import Evaluator

_SHIFT = 16  # of steps
_TAIL_MAX = 33  # one more than the widest tile, so that every remainder occurs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One model and a batch; its steps add to the weights as in Evaluator.losses_of_steps."""

    name: str
    architecture: Architecture
    weights: NDArray[np.int32]
    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    scaled: NDArray[np.int64]


def first_difference(evaluator_of: Callable[[Architecture], Evaluator]) -> str | None:
    """Names the first golden vector of which an evaluator differs, or None."""
    if digest(POWERS, LOGARITHMS) != TABLES_SHA256:
        return "the tables of the loss differ from the pinned ones"
    for case in _all_cases():
        if result_digest(case, evaluator_of(case.architecture)) != DIGESTS[case.name]:
            return f"golden vector {case.name!r} differs"
    return None


def result_digest(case: Case, evaluator: Evaluator) -> str:
    """SHA-256 of everything that an evaluator says about a case: logits, losses, right answers, losses of steps."""
    logits = evaluator.logits(case.weights, case.inputs)
    losses = evaluator.losses(case.weights, case.inputs, case.labels)
    correct = evaluator.correct(case.weights, case.inputs, case.labels)
    masks = list(range(1 << len(case.scaled)))
    few = case.inputs[:9], case.labels[:9]
    of_steps = evaluator.losses_of_steps(case.weights, case.scaled, masks, _SHIFT, *few)
    return sha256(_bytes(logits) + _bytes(losses) + correct.to_bytes(8, "little") + _bytes(of_steps)).hexdigest()


@cache
def _all_cases() -> tuple[Case, ...]:
    """Kept, as making them takes as long as running them."""
    return tuple(cases())


def cases() -> Iterator[Case]:
    """All of them, a few milliseconds each."""
    shape = Architecture(layers=(97, 70, 41, 10), input_exponent=4)
    most = np.full(shape.parameters, PARAMETER_MAX, dtype=np.int32)
    signs = np.where(np.arange(shape.parameters) % 2, -1, 1).astype(np.int32)
    yield _case("all maximum", shape, most, full=True)
    yield _case("all minimum", shape, -most, full=True)
    yield _case("alternating signs", shape, most * signs, full=True)
    yield _case("random", shape, _integers("random", shape.parameters, 2**17))
    yield _case("random, saturating", shape, _integers("saturating", shape.parameters, PARAMETER_MAX))
    for offset in (-1, 0, 1):
        yield _next_to_the_bound(offset)
    for size in range(1, _TAIL_MAX + 1):
        yield _tail(size)
    yield _tables()
    yield _many_classes()


def _case(
    name: str, architecture: Architecture, weights: NDArray[np.int32], full: bool = False, rows: int = 131
) -> Case:
    """Random inputs (or all 255), labels, and three random steps, the last of which saturates."""
    width = architecture.input_width
    inputs = np.full(rows * width, 255) if full else _integers(name + " inputs", rows * width, 127) + 128
    labels = _integers(name + " labels", rows, 2**30).astype(np.int64) % architecture.classes
    steps = _integers(name + " steps", 3 * len(weights), 2**20).astype(np.int64).reshape(3, -1)
    return Case(
        name=name,
        architecture=architecture,
        weights=weights,
        inputs=inputs.astype(np.uint8).reshape(rows, width),
        labels=labels,
        scaled=steps << np.array([[8], [14], [22]]),
    )


def _next_to_the_bound(offset: int) -> Case:
    """Activations all saturated, and columns whose sums of magnitudes are where int32 sums just fit, or just do not.

    65,538 * 32,767 < 2^31 <= 65,539 * 32,767. Biases make sums odd, and cross the bound at one below it.
    """
    architecture = Architecture(layers=(3, 70, 41, 2), input_exponent=0)
    first, second, third = architecture.dense_layers
    weights = np.zeros(architecture.parameters, dtype=np.int32)
    weights[first.weight_start : first.bias_start] = PARAMETER_MAX
    columns = np.full((second.fan_out, second.fan_in), 936 << 8)  # 70 * 936 = 65,520
    columns[:, 5] += (18 + offset) << 8
    columns[::2] *= -1
    weights[second.weight_start : second.bias_start] = columns.reshape(-1)
    weights[second.bias_start : third.weight_start] = np.arange(second.fan_out) - 20
    weights[third.weight_start :] = _integers("bound", architecture.parameters - third.weight_start, 2**16)
    return _case(f"odd sums next to the bound, {offset:+}", architecture, weights, full=True, rows=17)


def _tail(size: int) -> Case:
    """Every remainder of rows, inputs and columns by any tile."""
    architecture = Architecture(layers=(size, size, size + 1))
    name = f"tail of {size}"
    return _case(name, architecture, _integers(name, architecture.parameters, 2**20), rows=64 + size)


def _tables() -> Case:
    """Differences of two logits in steps of 2^-11 nat up to 16 nat: every entry of every table is used."""
    architecture = Architecture(layers=(2, 2), input_exponent=0)
    weights = np.array([0, 0, 2 << 8, 256 << 8, 0, 0], dtype=np.int32)
    differences = np.arange(2**15)
    inputs = np.stack([differences % 128, differences // 128], axis=1).astype(np.uint8)
    empty = np.zeros((0, len(weights)), dtype=np.int64)
    labels = differences % 2
    return Case(name="tables", architecture=architecture, weights=weights, inputs=inputs, labels=labels, scaled=empty)


def _many_classes() -> Case:
    """4,096 equal logits: the largest sum of exponentials, and ties that go to the lowest class."""
    architecture = Architecture(layers=(1, 4096))
    return _case("many classes", architecture, np.zeros(architecture.parameters, dtype=np.int32), rows=3)


def _integers(name: str, count: int, magnitude: int) -> NDArray[np.int32]:
    """int32[count] in [-magnitude, magnitude] from the stream SHA-256(name || counter)."""
    hashes = -(-count // 8)
    stream = b"".join(sha256(f"{name}/{counter}".encode()).digest() for counter in range(hashes))
    words = np.frombuffer(stream, dtype="<u4")[:count].astype(np.int64)
    return (words % (2 * magnitude + 1) - magnitude).astype(np.int32)


def _bytes(values: NDArray[np.int64]) -> bytes:
    return values.astype("<i8").tobytes()


DIGESTS = {
    "all maximum": "7f610930e394f9a6d8edbece229eaaf21194b2698c9f294e61e7178c93765a70",
    "all minimum": "d64e5702ca4e701588c6f026426ef9663b60f94e9ae83e0dd676b097e73d680a",
    "alternating signs": "6c55bf190e6c2aec3e42a9a47ef9d6bd7525314fc68c74926e8985c6bf68d51a",
    "random": "f933820d29d0bc541f1b21a7c13946da2837cba071448068a8c573d328151970",
    "random, saturating": "942efc24040602844a053918ad226ce49ac11a68b9f9be6d986d5a9f3b2e31c1",
    "odd sums next to the bound, -1": "90d41a9079a7a4e15959cc2b736e68dc515f119436b6ff037d0de7b9adf2c967",
    "odd sums next to the bound, +0": "bbfb36a0f6093c4070ee573fe500237c39bd899bbabfa8fafc43d88dc0372fe5",
    "odd sums next to the bound, +1": "8df3bc5c8b20123fcbbd1d4582d99d4a3b0fb53685a48f1a2ccb76b586903dd7",
    "tail of 1": "550502d6ee116cfd810e585f546671c60f64dfeb58e3a35ac530cc06a812a5d6",
    "tail of 2": "168bfe11096c0f69fc6bbde6b2323a5169eb9fb5a97373b5560fba7794468a08",
    "tail of 3": "d34daccd644f310597503b85e79f51ee8ba55eb8609ecbecb0ca91b2c2833c51",
    "tail of 4": "7cdbd7eaef67dccbc99bf5f76a4b6e61822abf8d86bf130bfa9c5f7a8a0584e3",
    "tail of 5": "fc47767b0044df3c5894760bd079bcf7b55d8dd0cb0a3b06cfab004b65f9dcfd",
    "tail of 6": "11d5fb06658cf7c5e67d20a9f1d33eea27f7cc0366dc7bf30142b309672cf189",
    "tail of 7": "f79bdc42fa19006025fad51308e7a89295836d1f138440df6abec13923533adc",
    "tail of 8": "1396e7a95491e1ac5560f331816e24bba8a1870357e31c11e84f738c0d203f5f",
    "tail of 9": "72661b21f196da372ba7ccd8009b54d10892b619d52e9128765db822d8264637",
    "tail of 10": "c499aee5265f929ff7bdd5a9531b1405faed770feb7b1cc70983190266b11007",
    "tail of 11": "7eb37c2dc9672f8daa0ce12fc1aae0097cd7afc28cf3b133c2c22bd87a58fc09",
    "tail of 12": "cec24848e8a0169e50a349fdb37689f8eceac249a97ac9e43c5cf394eb08ffa6",
    "tail of 13": "f8e6e26f07ff932bdfae0a94bc488da81348cace7d9ee671eae88c64810f713e",
    "tail of 14": "c7205037bbd84af7265ad755dc449ccde0b38bf9158421ceaad2d28e5b72f88f",
    "tail of 15": "c8860c85540b037fdaae61aecb090906fa85d50a2397a69ae3dd4a197c62cb1e",
    "tail of 16": "3e9052c14dfa18147d680bba5882b869f19346da2ce5a25124f15ae26ab7d29d",
    "tail of 17": "83f90830e159134701d6fbd0d648979b5265a37e31ba8799b2bd1b822f715b70",
    "tail of 18": "aea912110d6c8bdb10a0cdabd9a881e66d0611628ddfb7b4d3d753338922f2b8",
    "tail of 19": "dd4d30a9406be610064f9601fbefd3ed41264deaceb2f0d4fbc1197da17548e3",
    "tail of 20": "65c059c8b226fb6f4e5c1e4635c0f06f88b8aa8242bbf3b62b843292fa32eb21",
    "tail of 21": "23d0c7636d0b287e3047ffdce6a1fe18593d200077d313d7628dc03b031a50eb",
    "tail of 22": "19cbd4ba137c3dbad253777b36bcd844a038c34fa57437a8eef0943b0ded3c18",
    "tail of 23": "abb650d9f3220f6d1f0abf8d99d088c0ace0eabdcd629c4cfd4fa72a644df9f8",
    "tail of 24": "3e15419f80a0895205577def4d50140c2dc108b5f28b9e982e0bc10225cd5694",
    "tail of 25": "dcde5e58b78b11ce524785201c31a291950cff424ede09a940d64daba4abcec8",
    "tail of 26": "317032d6a597c3db500cef877bc6f49781cea72644c1be4dd0a168d673c12532",
    "tail of 27": "896315e502e6e9c7786dc88776ad79258f9133152aa6933fb6af4f9ef24b4658",
    "tail of 28": "79d87a70c0fdd68171d0d783dc2355e38f2c6c5fd67141e3155a1f55cae1b46d",
    "tail of 29": "8d9675d378b17ef4a9cdb41f3320749f7bb972227f6ada3fa382e131ef072684",
    "tail of 30": "28d7df34e9af6133ae64910e81f158db81d02df75873242daf111c2a54ea8465",
    "tail of 31": "c2f25f686f2b00313eb159c588cfd5abafcff18d9627b21586a4a91ea42260c6",
    "tail of 32": "1cea76bcfd484e8e884bfaa15469235df89837b9468d27bfc735cc88636b2642",
    "tail of 33": "6c2329d5dc8066a5502594b8dc6b6dc3d47ee1b6c8ffb8b396d507b8b29fb805",
    "tables": "65a83f8f68b1c38182cbea48787ae76bf7cc39fd0d0d46e902ef11e8dc612933",
    "many classes": "18d480df94605542dc8dda0ebebb0c82b9503993a19063a57f17332ea998a3e1",
}
