"""Home of initial weights: what every node expands a task's seed to."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from learning.architecture import PARAMETER_EXPONENT, Architecture
from learning.encoding import sha256, tag, u32, u64

SEED_BYTES = 32
_HASH_WORDS = 4  # 64-bit words in one hash
_WORD_BITS = 42  # of each word, its highest; times 2b + 1 < 2^22 they stay within 64 bits


def initial_weights(architecture: Architecture, seed: bytes) -> NDArray[np.int32]:
    """The weights int32[P] at 2^-20 that a 32-byte seed stands for.

    Biases are zero. Values of weight tensor t (counted from 0, biases not counted) are uniform in [-b, b] with
    b = isqrt(2^40 // fan_in), that is 1/sqrt(fan_in). They come in row-major order from the stream
    SHA-256(tag || seed || u32(t) || u64(counter)), counter = 0, 1, ..., read as little-endian 64-bit words: with h the
    upper 42 bits of a word the value is ((h * (2b + 1)) >> 42) - b, and no value's share is off by one part in 2^20.
    """
    assert len(seed) == SEED_BYTES, len(seed)
    weights = np.zeros(architecture.parameters, dtype=np.int32)
    for place, layer in enumerate(architecture.dense_layers):
        bound = isqrt((1 << 2 * PARAMETER_EXPONENT) // layer.fan_in)
        words = _words(seed, place, layer.bias_start - layer.weight_start)
        drawn = ((words >> np.uint64(64 - _WORD_BITS)) * np.uint64(2 * bound + 1)) >> np.uint64(_WORD_BITS)
        weights[layer.weight_start : layer.bias_start] = drawn.astype(np.int64) - bound
    return weights


def _words(seed: bytes, place: int, count: int) -> NDArray[np.uint64]:
    """The first `count` words of the stream of weight tensor `place`."""
    prefix = tag("initial-weights") + seed + u32(place)
    hashes = -(-count // _HASH_WORDS)
    stream = b"".join(sha256(prefix, u64(counter)) for counter in range(hashes))
    return np.frombuffer(stream, dtype="<u8")[:count].astype(np.uint64)
