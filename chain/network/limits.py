"""Home of how fast a peer may talk: token buckets in frames and bytes for each kind of message.

Who talks faster is not read from until its debt is paid, which TCP makes it feel. That costs an honest node in a burst
a moment, and a flooding one everything above its share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chain.network.messages import Kind

BURST_S: Final = 2.0  # a bucket holds what its rate gives in so long
ARRIVALS_BURST_S: Final = 4.0
FLOOD_FACTOR: Final = 10  # who sends so many bursts at once is no honest node


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a peer may send of one kind. A single frame of the kind's greatest size always passes."""

    frames_per_second: float
    bytes_per_second: float


KIB: Final = 1 << 10
MIB: Final = 1 << 20
OTHER: Final = Rate(frames_per_second=100, bytes_per_second=8 * MIB)
PIECES: Final = Rate(frames_per_second=2000, bytes_per_second=24 * MIB)
GIVEN: Final = Rate(frames_per_second=2000, bytes_per_second=8 * MIB)
"""What one peer is given in answers: less than it may send of any kind of them, so that nobody is held back for it."""
RATES: Final[dict[int, Rate]] = {
    Kind.GET_PEERS: Rate(frames_per_second=2, bytes_per_second=KIB),
    Kind.PEERS: Rate(frames_per_second=2, bytes_per_second=64 * KIB),
    Kind.NOT_HELD: Rate(frames_per_second=500, bytes_per_second=64 * KIB),
    Kind.TRANSACTION_HASHES: Rate(frames_per_second=100, bytes_per_second=320 * KIB),  # 9,600 hashes
    Kind.GET_TRANSACTIONS: Rate(frames_per_second=500, bytes_per_second=MIB),
    Kind.TRANSACTIONS: Rate(frames_per_second=500, bytes_per_second=8 * MIB),
    Kind.COMPACT_PROPOSAL: Rate(frames_per_second=50, bytes_per_second=4 * MIB),
    Kind.WHOLE_PROPOSAL: Rate(frames_per_second=20, bytes_per_second=8 * MIB),
    Kind.VOTES: Rate(frames_per_second=1000, bytes_per_second=512 * KIB),
    Kind.STATUS: Rate(frames_per_second=50, bytes_per_second=128 * KIB),
    Kind.GET_PROPOSAL_TRANSACTIONS: Rate(frames_per_second=50, bytes_per_second=MIB),
    Kind.PROPOSAL_TRANSACTIONS: Rate(frames_per_second=50, bytes_per_second=8 * MIB),
    Kind.GET_BLOCKS: Rate(frames_per_second=50, bytes_per_second=16 * KIB),
    Kind.BLOCKS: Rate(frames_per_second=100, bytes_per_second=16 * MIB),
    Kind.GET_HEADERS: Rate(frames_per_second=50, bytes_per_second=16 * KIB),
    Kind.HEADERS: Rate(frames_per_second=100, bytes_per_second=16 * MIB),
    Kind.HAVE_BLOBS: Rate(frames_per_second=50, bytes_per_second=128 * KIB),
    Kind.GET_BLOB_CHUNK: Rate(frames_per_second=400, bytes_per_second=64 * KIB),
    Kind.BLOB_CHUNK: Rate(frames_per_second=1000, bytes_per_second=16 * MIB),
    Kind.GET_LIGHT_BLOCK: Rate(frames_per_second=200, bytes_per_second=16 * KIB),
    Kind.GET_SNAPSHOT_CHUNK: Rate(frames_per_second=200, bytes_per_second=16 * KIB),
    Kind.SNAPSHOT_CHUNK: Rate(frames_per_second=500, bytes_per_second=16 * MIB),
}


class Bucket:
    """Frames and bytes that may still be sent; both may go below zero once, and then must come back."""

    __slots__ = ("_bytes", "_frames", "_rate", "_then")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._frames = rate.frames_per_second * BURST_S
        self._bytes = rate.bytes_per_second * BURST_S
        self._then = now

    def take(self, frame_bytes: int, now: float) -> float:
        """Take a frame; seconds until the bucket is out of debt, 0 if it is in none."""
        rate, passed = self._rate, now - self._then
        self._then = now
        frames = self._frames + passed * rate.frames_per_second
        data = self._bytes + passed * rate.bytes_per_second
        frames_max, bytes_max = rate.frames_per_second * BURST_S, rate.bytes_per_second * BURST_S
        self._frames = frames = (frames if frames < frames_max else frames_max) - 1
        self._bytes = data = (data if data < bytes_max else bytes_max) - frame_bytes
        if frames >= 0 and data >= 0:
            return 0.0
        return max(-frames / rate.frames_per_second, -data / rate.bytes_per_second)


class Meter:
    """The buckets of one peer, made as kinds come; there are no more than kinds."""

    __slots__ = ("_buckets", "_rates")

    def __init__(self, rates: Mapping[int, Rate] = RATES) -> None:
        self._rates = rates
        self._buckets: dict[int, Bucket] = {}

    def take(self, kind: int, frame_bytes: int, now: float) -> float:
        """Count a frame; seconds for which nothing more may be read."""
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = Bucket(self._rates.get(kind, OTHER), now)
        return bucket.take(frame_bytes, now)

    def is_flood(self, kind: int, frames: int) -> bool:
        """Whether so many frames of a kind at once are more than any honest node sends."""
        return frames > FLOOD_FACTOR * BURST_S * self._rates.get(kind, OTHER).frames_per_second


class Arrivals:
    """How often somebody new may come from each of at most `ranges_max` ranges; the one longest quiet is forgotten."""

    __slots__ = ("_left", "_ranges_max")

    def __init__(self, ranges_max: int) -> None:
        self._ranges_max = ranges_max
        self._left: dict[str, tuple[float, float]] = {}  # how many may come, and when it was so

    def take(self, reach: str, per_second: float, now: float) -> bool:
        """Whether one may come now. Those who may not do not count, so that who else is there gets its turn."""
        most = max(1.0, per_second * ARRIVALS_BURST_S)
        left, then = self._left.pop(reach, (most, now))
        left = min(most, left + (now - then) * per_second)
        allowed = left >= 1
        self._left[reach] = left - allowed, now
        if len(self._left) > self._ranges_max:
            del self._left[next(iter(self._left))]
        return allowed
