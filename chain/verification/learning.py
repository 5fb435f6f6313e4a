"""Home of `verify` on learning: every settlement judged anew, heads, updates and shards compared with their roots."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from chain.abi import EVENTS
from chain.judging import MissingBlobs, is_committed, settlement_input
from chain.operations.founding import initial_head
from chain.operations.learning_state import Round
from chain.operations.learning_store import read_round, read_spec, read_tasks
from chain.operations.record_difference import record_difference
from chain.operations.tasks import GenesisCustodian, TaskSpec, parse_spec
from chain.parameters import Parameters
from chain.state import View
from chain.storage.blobs import BlobStore
from chain.transition import Execution
from chain.verification.replay import Different, ReplayedState
from learning.commitment import blob_root, weights_bytes
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.settlement import settle
from learning.shards import InvalidShard, decode_manifest


class LearningVerifier:
    """Judges the rounds of a replayed chain. `state` is the replay's own, and moves with it."""

    def __init__(
        self, state: ReplayedState, blobs: BlobStore, parameters: Parameters, *, backend: str, threads: int
    ) -> None:
        self.settlements = 0
        self.heads: set[bytes] = set()  # those compared
        self._state, self._blobs, self._parameters = state, blobs, parameters
        self._backend, self._threads = backend, threads
        self._evaluators: dict[bytes, Evaluator] = {}

    def verify_founding(self, task: bytes, custodians: tuple[GenesisCustodian, ...]) -> None:
        """The blobs that genesis names: the initial head, and every custodian's manifest and sealed shards."""
        spec = self._spec(task)
        root, _ = initial_head(spec.architecture, spec.initial_seed)
        self._verify_head(0, task, root, weights_bytes(initial_weights(spec.architecture, spec.initial_seed)))
        for custodian in custodians:
            whose = f"custodian 0x{custodian.address.hex()} of {spec.name}"
            manifest = self._blob(0, custodian.shards_root, f"manifest of {whose}")
            width = spec.architecture.input_width
            try:
                entries = decode_manifest(manifest, shards=custodian.shards, samples=spec.shard_samples, width=width)
            except InvalidShard:
                continue  # it was sealed so: the rounds that meet it say so
            for place, entry in enumerate(entries):
                self._blob(0, entry.root, f"shard {place} of {whose}")

    def verify_settlements(self, height: int, execution: Execution) -> None:
        """Judge the rounds that a block settled, on the state before it."""
        after = ReplayedState({key: value for key, value in execution.changes.items() if value is not None})
        for receipt in execution.receipts:
            for log in receipt.logs:
                if log.topics[0] == EVENTS["RoundSettled"].topic:
                    self._verify_settlement(height, log.topics[1], int.from_bytes(log.topics[2], "big"), after)

    def _verify_settlement(self, height: int, task: bytes, number: int, after: View) -> None:
        name = f"settlement of round {number} of task 0x{task.hex()}"
        before, settled = read_round(self._state, task, number), read_round(after, task, number)
        assert before is not None
        assert settled is not None
        self._verify_updates(task, number, before)
        try:
            given = settlement_input(self._state, self._parameters, task, number, partial(self._checked, height, name))
        except MissingBlobs as error:
            raise Different(height, name, str(error)) from error
        settlement = settle(given, self._evaluator(task))
        difference = record_difference(settled.record, settlement.record.encode())
        if difference:
            raise Different(height, name, difference)
        self._verify_head(height, task, settlement.record.head, weights_bytes(settlement.head))
        self.settlements += 1

    def verify_rest(self, tip: int, *, whole: bool = True) -> None:
        """The blobs that no settlement has read: those of rounds still open or void, and what belongs to none yet.

        In a directory that is not `whole`, those of rounds from before its time may be missing.
        """
        names: dict[bytes, tuple[int, str]] = {}
        for task, number, round_ in self._rounds():
            if whole:
                self._verify_updates(task, number, round_)
            for place, update in enumerate(round_.updates):
                names[update.sealed_root] = (update.committed_at, _update_name(task, number, place))
        for root in self._blobs.roots():
            data = self._blobs.get(root)
            if data is None or root in self.heads:
                continue
            if not self._is_committed(root, data):
                height, name = names.get(root, (tip, "blobs"))
                raise Different(height, name, _damaged(root))

    # ---------------------------------------------------------------------------------------------------- blobs

    def _rounds(self) -> Iterator[tuple[bytes, int, Round]]:
        for entry in read_tasks(self._state):
            for number in range(self._spec(entry.task).rounds):
                round_ = read_round(self._state, entry.task, number)
                if round_ is not None:
                    yield entry.task, number, round_

    def _verify_updates(self, task: bytes, number: int, round_: Round) -> None:
        """Every revealed update of a round is at hand, and is what was committed."""
        for place, update in enumerate(round_.updates):
            if update.key:
                self._blob(update.committed_at, update.sealed_root, _update_name(task, number, place))

    def _verify_head(self, height: int, task: bytes, root: bytes, weights: bytes) -> None:
        held = self._blobs.get(root)
        name = f"head 0x{root.hex()} of task 0x{task.hex()}"
        if held is None:
            raise Different(height, name, "its weights are missing")
        if held != weights:
            raise Different(height, name, "its weights are not those that settlement gives")
        self.heads.add(root)

    def _blob(self, height: int, root: bytes, name: str) -> bytes:
        data = self._checked(height, name, root)
        if data is None:
            raise Different(height, name, f"blob 0x{root.hex()} is missing")
        return data

    def _checked(self, height: int, name: str, root: bytes) -> bytes | None:
        """A blob, None if it isn't here. Raises Different where it is not what its name says."""
        data = self._blobs.get(root)
        # A head was compared with what settlement gave when it was made, and has another kind of root.
        if data is not None and root not in self.heads and not self._is_committed(root, data):
            raise Different(height, name, _damaged(root))
        return data

    def _is_committed(self, root: bytes, data: bytes) -> bool:
        """Whether bytes are what their root says, as a blob or as a head that was made before the replay began."""
        if blob_root(data) == root:
            return True
        return any(is_committed(root, data, self._spec(entry.task).architecture) for entry in read_tasks(self._state))

    # -------------------------------------------------------------------------------------------------- lookups

    def _spec(self, task: bytes) -> TaskSpec:
        spec_json = read_spec(self._state, task)
        assert spec_json is not None, task.hex()
        return parse_spec(spec_json, self._parameters)

    def _evaluator(self, task: bytes) -> Evaluator:
        if task not in self._evaluators:
            architecture = self._spec(task).architecture
            self._evaluators[task] = Evaluator(architecture, backend=self._backend, threads=self._threads)
        return self._evaluators[task]


def _update_name(task: bytes, number: int, place: int) -> str:
    return f"update {place} of round {number} of task 0x{task.hex()}"


def _damaged(root: bytes) -> str:
    return f"blob 0x{root.hex()} has another content than its root says"
