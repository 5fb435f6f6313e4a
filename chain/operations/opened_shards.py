"""Home of finding a shard that a custodian has opened, by the root of its sealed blob."""

from __future__ import annotations

from collections.abc import Callable

from chain.operations.learning_state import Opening
from chain.operations.learning_store import read_custodian, read_round
from chain.operations.tasks import TaskSpec
from chain.state import View
from learning.sealing import InvalidSeal, open_shard
from learning.shards import InvalidShard, Shard, decode_manifest, decode_shard

Blobs = Callable[[bytes], bytes | None]  # a root's bytes, None where they are not held


def opened_shard(view: View, task: bytes, spec: TaskSpec, blob: Blobs, root: bytes) -> Shard | None:
    """The opened shard whose sealed blob has this root; None if there is none, or its blobs are not held."""
    for number in range(spec.rounds):
        round_ = read_round(view, task, number)
        for opening in round_.openings if round_ else ():
            shard = _shard_of(view, task, spec, blob, opening, root)
            if shard is not None:
                return shard
    return None


def _shard_of(view: View, task: bytes, spec: TaskSpec, blob: Blobs, opening: Opening, root: bytes) -> Shard | None:
    custodian, manifest = read_custodian(view, task, opening.custodian), blob(opening.shards_root)
    sealed = blob(root)
    if custodian is None or manifest is None or sealed is None:
        return None
    samples, width = spec.shard_samples, spec.architecture.input_width
    try:
        entries = decode_manifest(manifest, shards=custodian.shards, samples=samples, width=width)
        if entries[opening.index].root != root:
            return None
        plaintext = open_shard(sealed, key=opening.key, task=task, custodian=opening.custodian, index=opening.index)
        return decode_shard(plaintext, samples=samples, width=width, classes=spec.architecture.classes)
    except (InvalidSeal, InvalidShard):
        return None
