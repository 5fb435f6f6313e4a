"""Home of settling rounds in simulated histories: the real settlement, computed once for each input of a process."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from learning import settlement
from learning.round import SettlementInput
from tests.sim import task

RESULTS_MAX = 4096

_results: dict[tuple[bytes, str], tuple[bytes, bytes, bytes]] = {}


def settle(given: SettlementInput, backend: str) -> tuple[bytes, bytes, bytes]:
    """The record, the new head's root, and its weights as bytes. Pure, so that equal inputs need no second time."""
    key = (digest(given), backend)
    found = _results.get(key)
    if found is None:
        if len(_results) >= RESULTS_MAX:
            _results.clear()
        done = settlement.settle(given, task.evaluator(backend))
        found = (done.record.encode(), done.record.head, _bytes(done.head))
        _results[key] = found
    return found


def forget() -> None:
    """Compute everything anew: the code has changed."""
    _results.clear()


def digest(given: SettlementInput) -> bytes:
    """A hash of everything that settlement is given."""
    parts: list[object] = [
        given.task, given.round, given.beacon, given.head, given.step, given.radius, given.radius_floor, "updates",
    ]  # fmt: skip
    for update in given.updates:
        parts += [update.place, update.id, update.miner, update.bond, update.base, update.key, update.sealed]
        parts.append(update.streak)
    parts.append("shards")
    for shard in given.shards:
        parts += [shard.custodian, shard.index, shard.key, shard.sealed]
    parts.append("previous")
    for used in given.previous:
        parts += [used.inputs, used.labels]
    parts.append("recent")
    for past in given.recent:
        parts += [past.miner, past.delta]
    whole = hashlib.sha256(_rules(given))
    for part in parts:
        data = part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
        whole.update(len(data).to_bytes(4, "big") + data)
    return whole.digest()


def _rules(given: SettlementInput) -> bytes:
    return _rules_text(given.rules)


@lru_cache(maxsize=16)
def _rules_text(rules: object) -> bytes:
    return repr(rules).encode()


def _bytes(weights: object) -> bytes:
    from learning.commitment import weights_bytes

    return weights_bytes(weights)  # type: ignore[arg-type]
