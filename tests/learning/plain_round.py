"""Home of a round as the plain settlement is given it, and of the bytes that the page commits to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.learning.plain_model import PlainModel, Sample

WMAX = 2**23 - 1
Numbers = list[int]


@dataclass(frozen=True, kw_only=True)
class PlainRules:
    price: int
    cap: int
    loss_floor: int
    significance_milli: int
    charge_milli: int
    custodian_share_milli: int
    bond_minimum: int
    minimum_openings: int
    shard_samples: int
    harm_sigma: int
    harm_rounds: int
    malformed_cut_milli: int
    harm_cut_milli: int


@dataclass(frozen=True, kw_only=True)
class PlainUpdate:
    id: bytes
    miner: bytes
    bond: int
    base: Numbers
    key: bytes
    sealed: bytes
    streak: int


@dataclass(frozen=True, kw_only=True)
class PlainShard:
    custodian: bytes
    index: int
    key: bytes
    sealed: bytes


@dataclass(frozen=True, kw_only=True)
class PlainRound:
    rules: PlainRules
    model: PlainModel
    task: bytes
    round: int
    beacon: bytes
    head: Numbers
    updates: list[PlainUpdate]  # in commit order
    shards: list[PlainShard]  # in order of custodian
    last_step: Numbers | None
    previous: list[Sample] | None  # all samples of the round judged before
    radius: int
    radius_floor: int
    recent: list[tuple[bytes, Numbers]]  # (miner, delta)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def tag(name: str) -> bytes:
    return f"lyceum/{name}/1".encode() + b"\0"


def tree_top(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return sha(b"\x01", tree_top(leaves[:left]), tree_top(leaves[left:]))


def chunk_leaves(data: bytes) -> list[bytes]:
    return [sha(b"\0", data[place : place + 65536]) for place in range(0, max(len(data), 1), 65536)]


def blob_root(data: bytes) -> bytes:
    return sha(b"\x02", len(data).to_bytes(8, "big"), tree_top(chunk_leaves(data)))


def weights_root(model: PlainModel, weights: Numbers) -> bytes:
    data = b"".join(value.to_bytes(4, "little", signed=True) for value in weights)
    leaves = [sha(b"\0", sha(model.json)), *chunk_leaves(data)]
    return sha(b"\x03", len(data).to_bytes(8, "big"), tree_top(leaves))


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed, associated)
    except (InvalidTag, ValueError):
        return None


def decode_update(given: PlainRound, update: PlainUpdate) -> Numbers | None:
    associated = tag("sealed-update") + given.task + given.round.to_bytes(4, "big") + update.miner
    plain = unseal(update.key, update.sealed, associated)
    count = given.model.parameters
    if plain is None or len(plain) != 5 + 4 * count or plain[0] != 0:
        return None
    if int.from_bytes(plain[1:5], "little") != count:
        return None
    delta = [int.from_bytes(plain[i : i + 4], "little", signed=True) for i in range(5, len(plain), 4)]
    return delta if all(-2 * WMAX <= value <= 2 * WMAX for value in delta) else None


def decode_shard(given: PlainRound, shard: PlainShard) -> list[Sample] | None:
    associated = tag("sealed-shard") + given.task + shard.custodian + shard.index.to_bytes(4, "big")
    plain = unseal(shard.key, shard.sealed, associated)
    count, width = given.rules.shard_samples, given.model.sizes[0]
    if plain is None or len(plain) != 8 + count * width + 2 * count:
        return None
    if plain[:8] != count.to_bytes(4, "little") + width.to_bytes(4, "little"):
        return None
    samples = []
    for k in range(count):
        start, place = 8 + k * width, 8 + count * width + 2 * k
        label = int.from_bytes(plain[place : place + 2], "little")
        samples.append(Sample(list(plain[start : start + width]), label))
    return samples if all(sample.label < given.model.sizes[-1] for sample in samples) else None
