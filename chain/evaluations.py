"""Home of judging beside the chain: rounds that are due are settled on a worker, and compared with what was settled."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from chain.abi import EVENTS
from chain.errors import LyceumError
from chain.executor import Chain
from chain.history import StateAt, StateNotKept
from chain.judging import MissingBlobs, head_weights, is_committed, settlement_input
from chain.node import Committed
from chain.operations.founding import initial_head
from chain.operations.learning_state import TaskStatus
from chain.operations.learning_store import read_round, read_spec, read_task, read_tasks
from chain.operations.opened_shards import opened_shard
from chain.operations.record_difference import record_difference
from chain.operations.tasks import TaskSpec, parse_spec
from chain.state import View
from chain.storage.blobs import BlobStore
from chain.storage.datadir import DataDirectoryDamaged
from chain.threads import workers
from learning.architecture import Architecture
from learning.commitment import InvalidWeights, weights_bytes
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.round import Settlement
from learning.settlement import settle
from rpc.backend import EvaluationRefused, EvaluationResult

log = logging.getLogger("lyceum.evaluations")

EVALUATIONS_WAITING_MAX = 4
RESULTS_MAX = 256
MISSING_MAX = 64  # rounds that wait for blobs


class SettledOtherwise(LyceumError):
    """More than two thirds of power settled a round differently from this node: one of them computes wrongly."""


class Evaluations:
    """Settles rounds of the chain's tasks in the background; lives on the event loop, works on one thread."""

    def __init__(self, chain: Chain, blobs: BlobStore, *, backend: str = "auto", threads: int = 1) -> None:
        self.records: dict[tuple[bytes, int], bytes] = {}  # own results: (task, round) -> encoded record
        self._chain = chain
        self._blobs = blobs
        self._backend, self._threads = backend, threads
        self._worker = workers(1, "evaluation")
        self._running: tuple[bytes, int, int] | None = None  # task, round, height of the state that it is judged on
        # Rounds that were settled before they were judged here: task, round, the height before their settlement.
        self._late: deque[tuple[bytes, int, int]] = deque()
        self._tried: set[tuple[bytes, int]] = set()  # rounds that could not be judged since the last block
        self._evaluators: dict[bytes, Evaluator] = {}
        self._missing: dict[tuple[bytes, int], tuple[bytes, ...]] = {}  # roots without which rounds can't be judged
        self._asked = 0
        self._failure: asyncio.Future[None] | None = None
        self.followers: list[Callable[[], None]] = []  # called when a result is there
        # Called with task, round, height of the state that it is judged on, and the missing roots: none once judged.
        self.seekers: list[Callable[[bytes, int, int, tuple[bytes, ...]], None]] = []
        self._keep_initial_heads()

    def _keep_initial_heads(self) -> None:
        for entry in read_tasks(self._chain.store):
            spec = self._spec(self._chain.store, entry.task)
            root, _ = initial_head(spec.architecture, spec.initial_seed)
            if not self._blobs.has(root):
                self._blobs.put(root, weights_bytes(initial_weights(spec.architecture, spec.initial_seed)))

    async def run(self) -> None:
        """Judge until cancelled. Raises SettledOtherwise, and what else makes judging impossible."""
        self._failure = asyncio.get_running_loop().create_future()
        self.judge_next()
        await self._failure

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)

    def _failed(self, error: BaseException | None) -> None:
        if error is not None and self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def is_judged(self, task: bytes, number: int) -> bool:
        """Whether this node has its own result of a round."""
        return (task, number) in self.records

    @property
    def is_judging(self) -> bool:
        """Whether a round is being judged now."""
        return self._running is not None

    def status(self) -> dict[str, Any]:
        """What `learn_status` tells of evaluations."""
        waiting = 0
        for entry in read_tasks(self._chain.store):
            state = read_task(self._chain.store, entry.task)
            waiting += sum((entry.task, number) not in self.records for number in state.unsettled) if state else 0
        return {
            "evaluationBacklog": waiting + len(self._late),
            "evaluationBackend": self._backend,
            "missingBlobs": ["0x" + root.hex() for roots in self._missing.values() for root in roots],
        }

    # --------------------------------------------------------------------------------------------------- blocks

    def committed(self, committed: Committed) -> None:
        """Follow the chain: check what was settled, and judge what is due."""
        header = committed.header
        for receipt in committed.prepared.execution.receipts:
            for entry in receipt.logs:
                if entry.topics[0] == EVENTS["RoundSettled"].topic:
                    self._settled(entry.topics[1], int.from_bytes(entry.topics[2], "big"), header.height)
        self._tried.clear()
        self.judge_next()

    def blobs_came(self) -> None:
        """What waited for blobs is tried again."""
        self._tried.clear()
        self.judge_next()

    def _settled(self, task: bytes, number: int, height: int) -> None:
        """A round was settled: compare, or judge it still, as every node makes every head itself."""
        if (task, number) in self.records:
            self._compare(task, number)
        else:
            self._late.append((task, number, height - 1))

    def _compare(self, task: bytes, number: int) -> None:
        """Stops the node, naming the field, where a settled record is not the one computed here."""
        round_ = read_round(self._chain.store, task, number)
        if round_ is None or not round_.record:
            return
        difference = record_difference(round_.record, self.records[task, number])
        if difference:
            advice = "run the self-test, and do not validate on this machine until it agrees"
            self._failed(SettledOtherwise(f"task 0x{task.hex()}, round {number}: {difference}; {advice}"))

    def judge_next(self) -> None:
        """Start judging the oldest judged round of a task that has no result yet, if nothing is running."""
        if self.is_judging:
            return
        self._late = deque(late for late in self._late if late[:2] not in self.records)
        due = next((late for late in self._late if late[:2] not in self._tried), None) or self._next_due()
        if due is not None:
            self._start(*due)

    def _next_due(self) -> tuple[bytes, int, int] | None:
        """Task, number and height of a round to be judged. All is read at one height: the store may be one ahead."""
        height = self._chain.tip.height
        view = StateAt(self._chain.store, height)
        for entry in read_tasks(view):
            state = read_task(view, entry.task) if entry.status is TaskStatus.ACTIVE else None
            if state is None or not state.unsettled:
                continue
            number = state.unsettled[0]
            if (entry.task, number) not in self.records and (entry.task, number) not in self._tried:
                return entry.task, number, height
        return None

    def _start(self, task: bytes, number: int, height: int) -> None:
        """Judge a round on the state of a height at which it is the oldest that is judged and not settled."""
        self._running = (task, number, height)
        view = StateAt(self._chain.store, height)
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._worker, self._judge, view, task, number).add_done_callback(self._judged)

    def _judge(self, view: View, task: bytes, number: int) -> Settlement:
        """On the worker: settle the round, and keep the head that it makes."""
        held = partial(self._checked_blob, self._spec(view, task).architecture)
        given = settlement_input(view, self._chain.parameters, task, number, held)
        settlement = settle(given, self._evaluator(view, task))
        if not self._blobs.has(settlement.record.head):
            self._blobs.put(settlement.record.head, weights_bytes(settlement.head))
        return settlement

    def _checked_blob(self, architecture: Architecture, root: bytes) -> bytes | None:
        """A blob that is what its root says: nobody may be judged by what a disk has made of it."""
        data = self._blobs.get(root)
        if data is not None and not is_committed(root, data, architecture):
            raise DataDirectoryDamaged(f"blob 0x{root.hex()} is damaged: restore it from a copy, or remove it")
        return data

    def _judged(self, done: asyncio.Future[Settlement]) -> None:
        assert self._running is not None
        (task, number, height), self._running = self._running, None
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, MissingBlobs):
            log.info("round %d of 0x%s waits for %d blobs", number, task.hex(), len(error.roots))
            self._tried.add((task, number))
            self._seek(task, number, height, error.roots)
            self.judge_next()
            return
        if isinstance(error, StateNotKept):
            log.warning("round %d of 0x%s can't be judged here any more: %s", number, task.hex(), error)
            self._late = deque(late for late in self._late if late[:2] != (task, number))
            self._tried.add((task, number))
            self._seek(task, number, height, ())
            self.judge_next()
            return
        if error is not None:
            self._failed(error)
            return
        while len(self.records) >= RESULTS_MAX:
            self.records.pop(next(iter(self.records)))
        self._seek(task, number, height, ())
        self.records[task, number] = done.result().record.encode()
        self._compare(task, number)
        for follower in self.followers:
            follower()
        self.judge_next()

    def _seek(self, task: bytes, number: int, height: int, roots: tuple[bytes, ...]) -> None:
        """Remember, and tell, what a round waits for."""
        if roots:
            while len(self._missing) >= MISSING_MAX and (task, number) not in self._missing:
                self._seek(*next(iter(self._missing)), height, ())
            self._missing[task, number] = roots
        elif self._missing.pop((task, number), None) is None:
            return
        for seeker in self.seekers:
            seeker(task, number, height, roots)

    def _evaluator(self, view: View, task: bytes) -> Evaluator:
        if task not in self._evaluators:
            self._evaluators[task] = Evaluator(
                self._spec(view, task).architecture, backend=self._backend, threads=self._threads
            )
        return self._evaluators[task]

    def _spec(self, view: View, task: bytes) -> TaskSpec:
        spec = read_spec(view, task)
        if spec is None:
            raise EvaluationRefused(f"there is no task 0x{task.hex()}")
        return parse_spec(spec, self._chain.parameters)

    # ------------------------------------------------------------------------------------- what others ask for

    async def evaluate(self, task: bytes, shard_root: bytes, root: bytes | None) -> EvaluationResult:
        """A head's loss on an opened shard, computed now. Raises EvaluationRefused."""
        if self._asked >= EVALUATIONS_WAITING_MAX:
            raise EvaluationRefused("too many evaluations are waiting; try again later")
        self._asked += 1
        try:
            view = StateAt(self._chain.store, self._chain.tip.height)
            job = asyncio.get_running_loop().run_in_executor(self._worker, self._evaluate, view, task, shard_root, root)
            return await job
        finally:
            self._asked -= 1

    def _evaluate(self, view: View, task: bytes, shard_root: bytes, root: bytes | None) -> EvaluationResult:
        spec, state = self._spec(view, task), read_task(view, task)
        assert state is not None
        shard = opened_shard(view, task, spec, self._blobs.get, shard_root)
        if shard is None:
            raise EvaluationRefused(
                f"0x{shard_root.hex()} is no opened shard of this task, or its blobs are not held here"
            )
        wanted = root or state.head
        try:
            weights = head_weights(spec, wanted, self._blobs.get)
        except InvalidWeights as error:
            raise EvaluationRefused(f"0x{wanted.hex()} is no head of this task: {error}") from error
        if weights is None:
            raise EvaluationRefused(f"this node does not hold the head 0x{wanted.hex()} of the task")
        evaluator = self._evaluator(view, task)
        losses = evaluator.losses(weights, shard.inputs, shard.labels)
        return EvaluationResult(
            loss=int(losses.sum()),
            correct=evaluator.correct(weights, shard.inputs, shard.labels),
            samples=len(shard.labels),
        )
