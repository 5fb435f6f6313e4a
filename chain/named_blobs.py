"""Home of which blobs the chain names: updates under way and lately judged, what custodians sealed, and heads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from chain.operations.founding import initial_head
from chain.operations.learning_state import Fate, RecentUpdate, Round, RoundStatus, TaskState, Update
from chain.operations.learning_store import read_custodian, read_round, read_spec, read_task, read_tasks
from chain.operations.tasks import TaskSpec, parse_spec
from chain.parameters import Parameters
from chain.state import View
from learning.shards import MANIFEST_ENTRY_BYTES, InvalidShard, decode_manifest

Blobs = Callable[[bytes], bytes | None]  # a root's bytes, None where they are not held

WEIGHT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBlob:
    """A blob that a node should hold, and exactly how long the chain says that it is."""

    root: bytes
    length: int
    task: bytes
    head: bool = False  # the root is a weights root under the task's architecture
    miner: bytes = b""  # of an update that is not held yet, so that it may still vanish; empty: kept for good
    manifest: bytes = b""  # root of the manifest that it is, or that lists it


def named_blobs(view: View, parameters: Parameters, manifest: Blobs, complete: Collection[bytes]) -> list[NamedBlob]:
    """What every node should hold beside the heads, which it makes itself; what is needed first comes first.

    Shards are known once their manifest is held. Manifests in `complete`, and what they list, are left out.
    """
    entries = read_tasks(view)
    found = [blob for entry in entries for blob in _updates(view, entry.task)]
    found += [blob for entry in entries for blob in _recent(view, entry.task)]
    for entry in entries:
        found += _custody(view, parameters, entry.task, manifest, complete)
    return _each_once(found)


def needed_blobs(
    view: View, parameters: Parameters, task: bytes, manifest: Blobs, roots: Collection[bytes]
) -> list[NamedBlob]:
    """Those of a task's blobs, heads included, that have these roots."""
    named = [head_blob(view, parameters, task, root) for root in _heads(view, parameters, task)]
    named += [*_updates(view, task), *_recent(view, task), *_custody(view, parameters, task, manifest, ())]
    return _each_once([blob for blob in named if blob.root in roots])


def _each_once(blobs: list[NamedBlob]) -> list[NamedBlob]:
    """Where it is needed first. Whoever copies another's root may say another length: only one of them can be right."""
    once: dict[tuple[bytes, int], NamedBlob] = {}
    for blob in blobs:
        once.setdefault((blob.root, blob.length), blob)
    return list(once.values())


def head_blob(view: View, parameters: Parameters, task: bytes, root: bytes) -> NamedBlob:
    """A head of a task that is there."""
    length = WEIGHT_BYTES * task_spec(view, parameters, task).architecture.parameters
    return NamedBlob(root=root, length=length, task=task, head=True)


def task_spec(view: View, parameters: Parameters, task: bytes) -> TaskSpec:
    """The specification of a task that is there."""
    spec_json = read_spec(view, task)
    assert spec_json is not None, task.hex()
    return parse_spec(spec_json, parameters)


def _state(view: View, task: bytes) -> TaskState:
    state = read_task(view, task)
    assert state is not None, task.hex()
    return state


def _rounds(view: View, task: bytes) -> Iterator[Round]:
    """Those under way, the oldest first."""
    state = _state(view, task)
    for number in (*state.unsettled, *state.pending):
        round_ = read_round(view, task, number)
        assert round_ is not None, number
        yield round_


def _updates(view: View, task: bytes) -> Iterator[NamedBlob]:
    """Of the rounds under way, but for those that nobody will judge."""
    for round_ in _rounds(view, task):
        committing = round_.status is RoundStatus.COMMITTING
        for update in round_.updates:
            if update.fate not in (Fate.NOT_HELD, Fate.NOT_REVEALED):
                miner = update.miner if committing else b""
                yield NamedBlob(root=update.sealed_root, length=update.size, task=task, miner=miner)


def _recent(view: View, task: bytes) -> Iterator[NamedBlob]:
    """Of ended rounds, among which copies are looked for."""
    for recent in _state(view, task).recent:
        update = _committed(view, task, recent)
        yield NamedBlob(root=recent.sealed_root, length=update.size, task=task)


def _committed(view: View, task: bytes, recent: RecentUpdate) -> Update:
    round_ = read_round(view, task, recent.round)
    assert round_ is not None, recent.round
    return next(each for each in round_.updates if (each.miner, each.sealed_root) == (recent.miner, recent.sealed_root))


def _custody(
    view: View, parameters: Parameters, task: bytes, manifest: Blobs, complete: Collection[bytes]
) -> Iterator[NamedBlob]:
    """Every custodian's manifest and sealed shards, first those that are to be opened next."""
    spec, state = task_spec(view, parameters, task), _state(view, task)
    for address in state.custodians:
        custodian = read_custodian(view, task, address)
        assert custodian is not None, address.hex()
        if custodian.shards_root in complete:
            continue
        own = custodian.shards_root
        yield NamedBlob(root=own, length=custodian.shards * MANIFEST_ENTRY_BYTES, task=task, manifest=own)
        listed = manifest(own) or b""
        next_ = max(0, state.judged - custodian.joined)
        for root, length in _shards(spec, listed, custodian.shards, min(next_, custodian.shards)):
            yield NamedBlob(root=root, length=length, task=task, manifest=own)


def _shards(spec: TaskSpec, manifest: bytes, shards: int, first: int) -> list[tuple[bytes, int]]:
    """Roots and lengths of what a manifest lists, from one shard on and around; none where it is malformed."""
    try:
        entries = decode_manifest(
            manifest, shards=shards, samples=spec.shard_samples, width=spec.architecture.input_width
        )
    except InvalidShard:
        return []
    return [(entry.root, entry.length) for entry in (*entries[first:], *entries[:first])]


def _heads(view: View, parameters: Parameters, task: bytes) -> list[bytes]:
    """Heads that judging may read, but for the initial one, which every node makes from its seed."""
    spec, state = task_spec(view, parameters, task), _state(view, task)
    roots = [head.root for head in state.heads] + [root for root in (state.step_from, state.step_to) if root]
    roots += [update.base for round_ in _rounds(view, task) for update in round_.updates]
    initial = initial_head(spec.architecture, spec.initial_seed)[0]
    return [root for root in dict.fromkeys(roots) if root != initial]
