"""Home of SHA-256 on sixteen messages at a time: numba kernels whose inner loops LLVM vectorises.

FIPS 180-4. hashlib is the definition (the tests hold the two equal); these exist because a call into hashlib costs
more than the compression itself, and a block hashes tens of thousands of tree nodes.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

LANES = 16
_u32 = numba.uint32

_ROUND_CONSTANTS = np.array(
    [
        0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
        0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
        0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
        0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
        0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
        0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
        0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
        0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
    ],
    dtype=np.uint32,
)  # fmt: skip
_INITIAL = np.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19],
    dtype=np.uint32,
)


def _padding_words() -> NDArray[np.uint32]:
    """Schedule of the block that pads a message of 64 bytes, which is always the same, for all lanes: (64, LANES)."""
    words = [0x80000000] + [0] * 14 + [512]
    for t in range(16, 64):
        x, y = words[t - 15], words[t - 2]
        low = _rotate(x, 7) ^ _rotate(x, 18) ^ x >> 3
        high = _rotate(y, 17) ^ _rotate(y, 19) ^ y >> 10
        words.append((words[t - 16] + low + words[t - 7] + high) & 0xFFFFFFFF)
    return np.repeat(np.array(words, np.uint32), LANES).reshape(64, LANES)


def _rotate(x: int, count: int) -> int:
    return (x >> count | x << (32 - count)) & 0xFFFFFFFF


_PADDING_WORDS = _padding_words()


@numba.njit(cache=True, nogil=True)
def begin(state: NDArray[np.uint32]) -> None:
    """Sets each lane of `state` (8, LANES) to the initial hash value."""
    for i in range(8):
        for j in range(LANES):
            state[i, j] = _INITIAL[i]


@numba.njit(cache=True, nogil=True)
def compress(state: NDArray[np.uint32], work: NDArray[np.uint32], words: NDArray[np.uint32]) -> None:
    """One block a lane, its words in `words[:16]` (64, LANES); overwrites the rest and `work` (8, LANES)."""
    for t in range(16, 64):
        for j in range(LANES):
            x = words[t - 15, j]
            y = words[t - 2, j]
            low = ((x >> _u32(7)) | (x << _u32(25))) ^ ((x >> _u32(18)) | (x << _u32(14))) ^ (x >> _u32(3))
            high = ((y >> _u32(17)) | (y << _u32(15))) ^ ((y >> _u32(19)) | (y << _u32(13))) ^ (y >> _u32(10))
            words[t, j] = _u32(words[t - 16, j] + low + words[t - 7, j] + high)
    _rounds(state, work, words)


@numba.njit(cache=True, nogil=True)
def compress_padding(state: NDArray[np.uint32], work: NDArray[np.uint32]) -> None:
    """The block that pads a 64-byte message."""
    _rounds(state, work, _PADDING_WORDS)


@numba.njit(cache=True, nogil=True)
def _rounds(state: NDArray[np.uint32], work: NDArray[np.uint32], words: NDArray[np.uint32]) -> None:
    """Eight rounds at a time, so that a lane's eight variables stay in registers and merely change their names."""
    for i in range(8):
        for j in range(LANES):
            work[i, j] = state[i, j]
    k = _ROUND_CONSTANTS
    for t in range(0, 64, 8):
        for j in range(LANES):
            a, b, c, d = work[0, j], work[1, j], work[2, j], work[3, j]
            e, f, g, h = work[4, j], work[5, j], work[6, j], work[7, j]
            d, h = _round(a, b, c, d, e, f, g, h, _u32(words[t, j] + k[t]))
            c, g = _round(h, a, b, c, d, e, f, g, _u32(words[t + 1, j] + k[t + 1]))
            b, f = _round(g, h, a, b, c, d, e, f, _u32(words[t + 2, j] + k[t + 2]))
            a, e = _round(f, g, h, a, b, c, d, e, _u32(words[t + 3, j] + k[t + 3]))
            h, d = _round(e, f, g, h, a, b, c, d, _u32(words[t + 4, j] + k[t + 4]))
            g, c = _round(d, e, f, g, h, a, b, c, _u32(words[t + 5, j] + k[t + 5]))
            f, b = _round(c, d, e, f, g, h, a, b, _u32(words[t + 6, j] + k[t + 6]))
            e, a = _round(b, c, d, e, f, g, h, a, _u32(words[t + 7, j] + k[t + 7]))
            work[0, j], work[1, j], work[2, j], work[3, j] = a, b, c, d
            work[4, j], work[5, j], work[6, j], work[7, j] = e, f, g, h
    for i in range(8):
        for j in range(LANES):
            state[i, j] = _u32(state[i, j] + work[i, j])


@numba.njit(cache=True, nogil=True)
def _round(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, word: int) -> tuple[int, int]:
    """One round on one lane: the new values of `d` and `h`, which the next round calls `e` and `a`."""
    high = ((e >> _u32(6)) | (e << _u32(26))) ^ ((e >> _u32(11)) | (e << _u32(21))) ^ ((e >> _u32(25)) | (e << _u32(7)))
    chosen = _u32(h + high + ((e & f) ^ (~e & g)) + word)
    low = ((a >> _u32(2)) | (a << _u32(30))) ^ ((a >> _u32(13)) | (a << _u32(19))) ^ ((a >> _u32(22)) | (a << _u32(10)))
    return _u32(d + chosen), _u32(chosen + low + ((a & b) ^ (a & c) ^ (b & c)))
