"""Home of what judging a round needs: its settlement's input, put together from state and blobs; and what to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from chain.errors import InvalidInput
from chain.operations.founding import initial_head
from chain.operations.learning_state import Opening, RecentUpdate, Round, TaskState, Update
from chain.operations.learning_store import read_custodian, read_miner, read_round, read_spec, read_task, read_tasks
from chain.operations.opened_task import OpenedTask, opened
from chain.operations.tasks import TaskSpec
from chain.parameters import Parameters
from chain.state import View
from learning.architecture import Architecture
from learning.commitment import Int32Array, InvalidWeights, beacon, blob_root, weights_from_bytes, weights_root
from learning.initial import initial_weights
from learning.round import OpenedShard, PastUpdate, RevealedUpdate, SettlementInput
from learning.sealing import InvalidSeal, open_shard, open_update
from learning.shards import InvalidShard, ManifestEntry, Shard, decode_manifest, decode_shard
from learning.updates import InvalidUpdate, decode_update

Blobs: TypeAlias = Callable[[bytes], bytes | None]  # a root's bytes, None where they are not held


class MissingBlobs(InvalidInput):
    """Blobs without which a round can't be judged are not held; fetch them and ask again."""

    def __init__(self, roots: tuple[bytes, ...]) -> None:
        super().__init__(f"{len(roots)} blobs are not held, the first is {roots[0].hex()}: fetch them")
        self.roots = roots


def settlement_input(
    view: View, parameters: Parameters, task: bytes, round_number: int, blob: Blobs
) -> SettlementInput:
    """All that `learning.settlement.settle` needs to judge the oldest judged round of a task.

    Raises MissingBlobs, naming all that can be known to be missing. What miners and custodians have put into blobs may
    be anything: it is judged, not refused, here. Blobs must be those of their roots.
    """
    place = _read(view, parameters, task)
    assert place.state.unsettled[:1] == (round_number,), (place.state.unsettled, round_number)
    round_ = read_round(view, task, round_number)
    assert round_ is not None, round_number
    source = _Source(place=place, round_number=round_number, round=round_, shards=_shard_counts(view, place))
    held = _fetch(source, blob)
    return SettlementInput(
        rules=place.spec.rules(parameters),
        task=task,
        round=round_number,
        beacon=beacon(
            task=task,
            round_number=round_number,
            shard_keys=[opening.key for opening in round_.openings],
            update_keys=[update.key for update in round_.updates if update.key],
        ),
        head=_weights(place.spec, place.state.head, held),
        updates=_revealed_updates(view, source, held),
        shards=tuple(_opened_shard(source, opening, held) for opening in round_.openings),
        step=_last_step(place.spec, place.state, held),
        previous=tuple(_used_shard(source, opening, held) for opening in place.state.previous),
        radius=place.state.radius,
        radius_floor=place.state.radius_floor,
        recent=_recent_updates(source, held),
    )


def _revealed_updates(view: View, source: _Source, held: Mapping[bytes, bytes]) -> tuple[RevealedUpdate, ...]:
    return tuple(
        RevealedUpdate(
            place=index,
            id=update.id,
            miner=update.miner,
            bond=update.bond,
            base=_weights(source.place.spec, update.base, held),
            key=update.key,
            sealed=held[update.sealed_root],
            streak=read_miner(view, source.place.id, update.miner).streak,
        )
        for index, update in enumerate(source.round.updates)
        if update.key
    )


def head_weights(spec: TaskSpec, root: bytes, blob: Blobs) -> Int32Array | None:
    """The weights int32[P] of a head: from its blob, or from the seed if it is the initial one; None if not held."""
    if root == initial_head(spec.architecture, spec.initial_seed)[0]:
        return _initial_weights(spec.architecture, spec.initial_seed)
    data = blob(root)
    return None if data is None else weights_from_bytes(data, spec.architecture.parameters)


def is_committed(root: bytes, data: bytes, architecture: Architecture) -> bool:
    """Whether bytes are what a root commits to: a blob, or the weights of a head under this architecture."""
    if blob_root(data) == root:
        return True
    try:
        return weights_root(architecture, weights_from_bytes(data, architecture.parameters)) == root
    except InvalidWeights:
        return False


@lru_cache(maxsize=8)
def _initial_weights(architecture: Architecture, seed: bytes) -> Int32Array:
    return initial_weights(architecture, seed)


def live_blobs(view: View, parameters: Parameters, blob: Blobs) -> tuple[bytes, ...]:
    """The roots of every blob that active tasks may still need, ascending: heads, updates, manifests, sealed shards.

    An update's blob is needed until `copy_window_rounds` rounds after its round has ended. Shards of a manifest that
    `blob` does not hold are not known.
    """
    live: set[bytes] = set()
    for entry in read_tasks(view):
        place = _read(view, parameters, entry.task)
        live.update(_roots_of_state(place.state))
        for number in (*place.state.unsettled, *place.state.pending):
            round_ = read_round(view, entry.task, number)
            assert round_ is not None, number
            live.update(root for update in round_.updates for root in (update.base, update.sealed_root))
        for address in place.state.custodians:
            custodian = read_custodian(view, entry.task, address)
            assert custodian is not None, address.hex()
            live.add(custodian.shards_root)
            live.update(each.root for each in _entries(place, custodian.shards, blob(custodian.shards_root) or b""))
    return tuple(sorted(live))


def _roots_of_state(state: TaskState) -> Iterable[bytes]:
    yield from (head.root for head in state.heads)
    yield from (root for root in (state.step_from, state.step_to) if root)
    yield from (update.sealed_root for update in state.recent)


# -------------------------------------------------------------------------------------------------------- gathering


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A round to be judged, and how many shards the manifests of its task's custodians list."""

    place: OpenedTask
    round_number: int
    round: Round
    shards: Mapping[bytes, int]  # by custodian

    @property
    def recent(self) -> tuple[RecentUpdate, ...]:
        oldest = self.round_number - self.place.numbers.copy_window_rounds
        return tuple(update for update in self.place.state.recent if update.round >= oldest)


def _read(view: View, parameters: Parameters, task: bytes) -> OpenedTask:
    spec_json, state = read_spec(view, task), read_task(view, task)
    assert spec_json is not None, task.hex()
    assert state is not None, task.hex()
    return opened(spec_json, state, task, parameters)


def _shard_counts(view: View, place: OpenedTask) -> dict[bytes, int]:
    custodians = {address: read_custodian(view, place.id, address) for address in place.state.custodians}
    return {address: custodian.shards for address, custodian in custodians.items() if custodian is not None}


def _fetch(source: _Source, blob: Blobs) -> dict[bytes, bytes]:
    """Every blob that judging reads, by root. Raises MissingBlobs."""
    openings = (*source.round.openings, *source.place.state.previous)
    found = {root: blob(root) for root in _first_roots(source, openings)}
    for opening in openings:
        entry = _entry(source, opening, found[opening.shards_root] or b"")
        if entry is not None and entry.root not in found:
            found[entry.root] = blob(entry.root)
    missing = tuple(root for root, data in found.items() if data is None)
    if missing:
        raise MissingBlobs(missing)
    return {root: data for root, data in found.items() if data is not None}


def _first_roots(source: _Source, openings: Iterable[Opening]) -> Iterable[bytes]:
    """The roots that state names; those of shards stand in the manifests among them."""
    spec, state = source.place.spec, source.place.state
    revealed: list[Update] = [update for update in source.round.updates if update.key]
    weights = (state.head, state.step_from, state.step_to, *(update.base for update in revealed))
    initial = initial_head(spec.architecture, spec.initial_seed)[0]
    yield from (root for root in weights if root and root != initial)
    yield from (update.sealed_root for update in revealed)
    yield from (update.sealed_root for update in source.recent)
    yield from (opening.shards_root for opening in openings)


def _weights(spec: TaskSpec, root: bytes, held: Mapping[bytes, bytes]) -> Int32Array:
    weights = head_weights(spec, root, held.get)
    assert weights is not None, root.hex()
    return weights


def _last_step(spec: TaskSpec, state: TaskState, held: Mapping[bytes, bytes]) -> Int32Array | None:
    if not state.step_to:
        return None
    return _weights(spec, state.step_to, held) - _weights(spec, state.step_from, held)


def _entries(place: OpenedTask, shards: int, manifest: bytes) -> tuple[ManifestEntry, ...]:
    """What a manifest lists; nothing where it is none, as then the custodian's shards are malformed."""
    samples, width = place.spec.shard_samples, place.spec.architecture.input_width
    try:
        return decode_manifest(manifest, shards=shards, samples=samples, width=width)
    except InvalidShard:
        return ()


def _entry(source: _Source, opening: Opening, manifest: bytes) -> ManifestEntry | None:
    entries = _entries(source.place, source.shards[opening.custodian], manifest)
    return entries[opening.index] if entries else None


def _opened_shard(source: _Source, opening: Opening, held: Mapping[bytes, bytes]) -> OpenedShard:
    entry = _entry(source, opening, held[opening.shards_root])
    sealed = held[entry.root] if entry is not None else b""
    return OpenedShard(custodian=opening.custodian, index=opening.index, key=opening.key, sealed=sealed)


def _used_shard(source: _Source, opening: Opening, held: Mapping[bytes, bytes]) -> Shard:
    """A shard that an earlier round used, so that it opens and decodes."""
    architecture = source.place.spec.architecture
    given = _opened_shard(source, opening, held)
    plaintext = open_shard(
        given.sealed, key=given.key, task=source.place.id, custodian=given.custodian, index=given.index
    )
    return decode_shard(
        plaintext,
        samples=source.place.spec.shard_samples,
        width=architecture.input_width,
        classes=architecture.classes,
    )


def _recent_updates(source: _Source, held: Mapping[bytes, bytes]) -> tuple[PastUpdate, ...]:
    """The well-formed updates of the rounds before, within the copy window."""
    found = []
    for update in source.recent:
        try:
            plaintext = open_update(
                held[update.sealed_root],
                key=update.key,
                task=source.place.id,
                round_number=update.round,
                miner=update.miner,
            )
            delta = decode_update(plaintext, source.place.spec.architecture.parameters)
        except (InvalidSeal, InvalidUpdate):
            continue
        found.append(PastUpdate(miner=update.miner, delta=delta.astype("int32")))
    return tuple(found)
