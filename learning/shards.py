"""Home of held-out shards: their encoding, the hash chain of their keys, and what a custodian publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from learning.commitment import Int64Array, blob_root
from learning.encoding import HASH_BYTES, sha256, tag
from learning.sealing import KEY_BYTES, SEAL_OVERHEAD_BYTES, seal_shard

UInt8Array: TypeAlias = npt.NDArray[np.uint8]

HEADER_BYTES = 8
LABEL_BYTES = 2
LABEL_MAX = 2**16 - 1
SHARDS_MAX = 65_536  # of one custodian; bounds manifests and how far a key chain is walked
MANIFEST_ENTRY_BYTES = HASH_BYTES + 4


class InvalidShard(ValueError):
    """A shard, a manifest or a shard key from outside that is not what the task and the custodian promised."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shard:
    """Held-out samples: inputs uint8[s, width] and their labels int64[s]."""

    inputs: UInt8Array
    labels: Int64Array

    def __post_init__(self) -> None:
        assert self.inputs.dtype == np.uint8, self.inputs.dtype
        assert self.inputs.ndim == 2, self.inputs.shape
        assert self.labels.dtype == np.int64, self.labels.dtype
        assert self.labels.shape == self.inputs.shape[:1], self.labels.shape


def encode_shard(shard: Shard) -> bytes:
    """The plaintext of a shard: count and width as little-endian uint32, inputs, labels as uint16.

    Raises InvalidShard where a label does not fit its two bytes.
    """
    if shard.labels.min(initial=0) < 0 or shard.labels.max(initial=0) > LABEL_MAX:
        raise InvalidShard(f"labels from {shard.labels.min()} to {shard.labels.max()}: use 0 to {LABEL_MAX}")
    count, width = shard.inputs.shape
    header = count.to_bytes(4, "little") + width.to_bytes(4, "little")
    encoded: bytes = header + shard.inputs.tobytes() + shard.labels.astype("<u2").tobytes()
    return encoded


def shard_bytes(*, samples: int, width: int) -> int:
    """The length of a shard's plaintext; its ciphertext has SEAL_OVERHEAD_BYTES more."""
    return HEADER_BYTES + samples * (width + LABEL_BYTES)


def decode_shard(data: bytes, *, samples: int, width: int, classes: int) -> Shard:
    """The shard that `data` encodes; raises InvalidShard unless it has exactly this shape and such labels."""
    if len(data) != shard_bytes(samples=samples, width=width):
        raise InvalidShard(f"{len(data)} bytes are not a shard of {samples} samples of {width} inputs")
    count = int.from_bytes(data[:4], "little")
    claimed = int.from_bytes(data[4:HEADER_BYTES], "little")
    if (count, claimed) != (samples, width):
        raise InvalidShard(f"a shard of {count} x {claimed}: the task's shards are {samples} x {width}")
    split = HEADER_BYTES + samples * width
    labels = np.frombuffer(data, dtype="<u2", offset=split).astype(np.int64)
    if labels.max(initial=0) >= classes:
        raise InvalidShard(f"label {labels.max()}: the task has {classes} classes")
    inputs = np.frombuffer(data, dtype=np.uint8, count=samples * width, offset=HEADER_BYTES)
    return Shard(inputs=inputs.reshape(samples, width).copy(), labels=labels)


def next_link(key: bytes) -> bytes:
    """`H`: what the key of a shard hashes to, the key of the shard before it (of the first, the anchor)."""
    return sha256(tag("shard-key"), key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardKeys:
    """The hash chain of a custodian's keys: it is walked backwards, so a key opens no later shard."""

    seed: bytes  # 32 secret random bytes
    count: int

    def __post_init__(self) -> None:
        assert len(self.seed) == KEY_BYTES, len(self.seed)
        assert 1 <= self.count <= SHARDS_MAX, self.count

    @property
    def anchor(self) -> bytes:
        """What goes on chain when the custodian joins."""
        return next_link(self.key(0))

    def key(self, index: int) -> bytes:
        """The key of shard `index`, `H^(count-1-index)(seed)`."""
        assert 0 <= index < self.count, (index, self.count)
        key = self.seed
        for _ in range(self.count - 1 - index):
            key = next_link(key)
        return key

    def keys(self) -> tuple[bytes, ...]:
        """All keys in the order of their shards."""
        chain = [self.seed]
        while len(chain) < self.count:
            chain.append(next_link(chain[-1]))
        return tuple(reversed(chain))


def verify_shard_key(last: bytes, gap: int, key: bytes) -> bool:
    """Whether `key` lies `gap` shards behind `last`: the key of the last opened shard, or the anchor.

    From the anchor, shard `i` has the gap `i + 1`. Costs `gap` hashes; no gap above SHARDS_MAX is tried.
    """
    if not 1 <= gap <= SHARDS_MAX or len(key) != KEY_BYTES:
        return False
    for _ in range(gap):
        key = next_link(key)
    return key == last


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """What the manifest says of one sealed shard: its blob root and the ciphertext's length in bytes."""

    root: bytes
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedShards:
    """All that a custodian publishes when it joins; `root` is what the chain calls shardsRoot."""

    anchor: bytes
    root: bytes
    manifest: bytes
    sealed: tuple[bytes, ...]


def prepare_shards(shards: Sequence[Shard], *, seed: bytes, task: bytes, custodian: bytes) -> PreparedShards:
    """Seal each shard under its key of the chain grown from `seed`, and list them in a manifest."""
    keys = ShardKeys(seed=seed, count=len(shards))
    sealed = tuple(
        seal_shard(encode_shard(shard), key=key, task=task, custodian=custodian, index=index)
        for index, (key, shard) in enumerate(zip(keys.keys(), shards, strict=True))
    )
    manifest = encode_manifest([ManifestEntry(root=blob_root(blob), length=len(blob)) for blob in sealed])
    return PreparedShards(anchor=keys.anchor, root=blob_root(manifest), manifest=manifest, sealed=sealed)


def encode_manifest(entries: Sequence[ManifestEntry]) -> bytes:
    """36 bytes a shard, in order: blob root, ciphertext length as little-endian uint32."""
    return b"".join(entry.root + entry.length.to_bytes(4, "little") for entry in entries)


def decode_manifest(data: bytes, *, shards: int, samples: int, width: int) -> tuple[ManifestEntry, ...]:
    """The entries of a manifest of so many shards; raises InvalidShard where count or a length is wrong."""
    if not 1 <= shards <= SHARDS_MAX or len(data) != shards * MANIFEST_ENTRY_BYTES:
        raise InvalidShard(f"{len(data)} bytes are not a manifest of {shards} (1 to {SHARDS_MAX}) shards")
    expected = shard_bytes(samples=samples, width=width) + SEAL_OVERHEAD_BYTES
    entries = []
    for start in range(0, len(data), MANIFEST_ENTRY_BYTES):
        length = int.from_bytes(data[start + HASH_BYTES : start + MANIFEST_ENTRY_BYTES], "little")
        if length != expected:
            raise InvalidShard(f"a sealed shard of {length} bytes: {samples} x {width} take {expected}")
        entries.append(ManifestEntry(root=data[start : start + HASH_BYTES], length=length))
    return tuple(entries)
