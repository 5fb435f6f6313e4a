"""Home of what the live status tells of a node: one immutable snapshot, read on its event loop within a millisecond."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass

from chain.crypto import address_of, checksum_address
from chain.development import RoleKeys
from chain.errors import LyceumError
from chain.full_node import FullNode
from chain.genesis import DEVELOPMENT_CHAIN_ID
from chain.keys import load_plain_key
from chain.node import Committed
from chain.operations.clock import Clock, Phase
from chain.operations.learning_state import Fate, Round, RoundStatus, TaskEntry, TaskStatus
from chain.operations.learning_store import read_round, read_spec, read_tasks
from chain.operations.tasks import parse_spec
from chain.state import View
from chain.sync.sync_progress import Progress
from learning.record import Record

ROUNDS_MAX = 32
RATE_SECONDS = 10.0
WARNING_SECONDS = 60.0
FINALITY_BLOCKS = 20
ENDED = (RoundStatus.SETTLED, RoundStatus.VOID, RoundStatus.EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    """The task that is being taught. `round`, `phase` and `position` are those of the next block."""

    name: str
    clock: Clock
    round: int
    phase: Phase
    position: int  # blocks of the cycle before the next one; before the start, minus the blocks until then
    others: tuple[str, ...]  # names of tasks that come after it


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLine:
    """A round that has ended. Losses are means in 2^-20 nat; without samples, nothing was measured."""

    number: int
    status: RoundStatus
    accepted: bool
    samples: int
    loss_before: int
    loss_after: int
    correct: int
    paid: int  # to miners, 10^-18 coin


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateLine:
    """What became of a miner's update."""

    miner: str
    fate: Fate
    contribution: int  # 2^-20 nat
    reward: int
    charge: int
    cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A node at one moment."""

    chain_id: int
    is_development: bool
    url: str
    directory: str
    height: int
    block_interval_ms: int
    block_at: float  # time.monotonic() of the last commit that was seen
    finality_ms: float | None  # mean of the last blocks; None before the first
    transactions: int  # committed since this process started
    transactions_per_second: float
    pool: int
    backlog: int  # judged rounds that wait for this node's evaluation
    task: TaskLine | None
    rounds: tuple[RoundLine, ...]  # oldest first
    updates: tuple[UpdateLine, ...]  # of the last of them
    balances: tuple[tuple[str, int], ...]
    warning: str  # the last one that was logged lately, or nothing
    catching_up: Progress | None = None  # None: in step with peers


class LastWarning(logging.Handler):
    """Remembers what was logged as a warning or worse, for WARNING_SECONDS."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last = ("", 0.0)

    def emit(self, record: logging.LogRecord) -> None:
        self._last = " ".join(record.getMessage().split()), time.monotonic()

    def text(self) -> str:
        message, at = self._last
        return message if message and time.monotonic() < at + WARNING_SECONDS else ""


class Watcher:
    """Follows a node's commits and reads snapshots; on the node's event loop."""

    def __init__(self, node: FullNode) -> None:
        self._node = node
        self._names = role_names(node)
        self._transactions = 0
        self._started = self._block_at = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()  # when, how many transactions
        self._finality: deque[float] = deque(maxlen=FINALITY_BLOCKS)
        self._records: dict[tuple[bytes, int], RoundLine] = {}
        self._warnings = LastWarning()
        logging.getLogger("lyceum").addHandler(self._warnings)
        node.node.followers.append(self.committed)

    def close(self) -> None:
        logging.getLogger("lyceum").removeHandler(self._warnings)
        self._node.node.followers.remove(self.committed)

    def committed(self, committed: Committed) -> None:
        count = len(committed.prepared.transactions)
        self._block_at = time.monotonic()
        self._transactions += count
        self._recent.append((self._block_at, count))
        if committed.live:
            self._finality.append(committed.finality_ms)

    def snapshot(self) -> Snapshot:
        node, view = self._node, self._node.service.state()
        height = node.service.tip().header.height
        entry = current_task(read_tasks(view), height + 1)
        numbers = self._ended_rounds(view, entry, height) if entry else []
        rounds = tuple(self._round_line(view, entry.task, number) for number in numbers) if entry else ()
        last = read_round(view, entry.task, numbers[-1]) if entry and numbers else None
        pending, queued = node.service.pool.counts()
        return Snapshot(
            chain_id=node.service.chain_id,
            is_development=node.service.chain_id == DEVELOPMENT_CHAIN_ID,
            url=node.url,
            directory=str(node.directory.path),
            height=height,
            block_interval_ms=node.chain.parameters.block_interval_ms,
            block_at=self._block_at,
            finality_ms=sum(self._finality) / len(self._finality) if self._finality else None,
            transactions=self._transactions,
            transactions_per_second=self._rate(),
            pool=pending + queued,
            backlog=node.service.learning_status()["evaluationBacklog"],
            task=self._task_line(view, entry, height) if entry else None,
            rounds=rounds,
            updates=self._update_lines(last) if last else (),
            balances=self._balances(last),
            warning=self._warnings.text(),
            catching_up=node.progress.now(),
        )

    def _rate(self) -> float:
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - RATE_SECONDS:
            self._recent.popleft()
        return sum(count for _, count in self._recent) / max(1.0, min(RATE_SECONDS, now - self._started))

    def _task_line(self, view: View, entry: TaskEntry, height: int) -> TaskLine:
        clock, following = entry.clock, height + 1
        later = [other.task for other in read_tasks(view) if other.clock.start > max(clock.start, following)]
        return TaskLine(
            name=self._task_name(view, entry.task),
            clock=clock,
            round=clock.cycle_of(following),
            phase=clock.phase_of(following),
            position=clock.position_of(following) if following >= clock.start else following - clock.start,
            others=tuple(self._task_name(view, task) for task in later),
        )

    def _task_name(self, view: View, task: bytes) -> str:
        spec = read_spec(view, task)
        assert spec is not None, "a listed task has a specification"
        return parse_spec(spec, self._node.chain.parameters).name

    @staticmethod
    def _ended_rounds(view: View, entry: TaskEntry, height: int) -> list[int]:
        """The last rounds that have ended, oldest first."""
        newest = min(entry.clock.cycle_of(height), entry.clock.rounds - 1)
        numbers: list[int] = []
        for number in range(newest, max(-1, newest - ROUNDS_MAX), -1):
            found = read_round(view, entry.task, number)
            if found is not None and found.status in ENDED:
                numbers.append(number)
        return numbers[::-1]

    def _round_line(self, view: View, task: bytes, number: int) -> RoundLine:
        if (task, number) not in self._records:
            found = read_round(view, task, number)
            assert found is not None, "it was there a moment ago"
            while len(self._records) >= 4 * ROUNDS_MAX:
                self._records.pop(next(iter(self._records)))
            self._records[task, number] = round_line(number, found)
        return self._records[task, number]

    def _update_lines(self, found: Round) -> tuple[UpdateLine, ...]:
        lines = [
            UpdateLine(
                miner=self._name(update.miner),
                fate=update.fate,
                contribution=update.contribution,
                reward=update.reward,
                charge=update.charge,
                cut=update.cut,
            )
            for update in found.updates
        ]
        return tuple(sorted(lines, key=lambda line: line.miner))

    def _balances(self, last: Round | None) -> tuple[tuple[str, int], ...]:
        """Of a development chain's own accounts; elsewhere, of those who mined the last round."""
        mined = [update.miner for update in last.updates] if last else []
        addresses = list(self._names) or sorted(set(mined))
        return tuple((self._name(address), self._node.intake.account(address)[1]) for address in addresses)

    def _name(self, address: bytes) -> str:
        return self._names.get(address) or checksum_address(address)[:10]


def current_task(entries: tuple[TaskEntry, ...], following: int) -> TaskEntry | None:
    """The task to show: the active one that began last, else the next to begin, else the last of all."""
    active = [entry for entry in entries if entry.status is TaskStatus.ACTIVE]
    begun = [entry for entry in active if entry.clock.start <= following]
    if begun:
        return max(begun, key=lambda entry: entry.clock.start)
    if active:
        return min(active, key=lambda entry: entry.clock.start)
    return max(entries, key=lambda entry: entry.clock.start, default=None)


def round_line(number: int, found: Round) -> RoundLine:
    record = Record.decode(found.record) if found.record else None
    return RoundLine(
        number=number,
        status=found.status,
        accepted=record is not None and record.accepted,
        samples=record.samples if record else 0,
        loss_before=record.loss_before if record else 0,
        loss_after=record.loss_after if record else 0,
        correct=record.correct_after if record else 0,
        paid=sum(update.reward for update in found.updates),
    )


def role_names(node: FullNode) -> dict[bytes, str]:
    """Address -> name of the miners and the custodian that a development chain has made for itself."""
    keys = RoleKeys(directory=node.directory.path)
    paths = {f"miner-{number}": path for number, path in enumerate(keys.miners, start=1)}
    paths["custodian"] = keys.custodian
    names: dict[bytes, str] = {}
    for name, path in paths.items():
        try:
            names[address_of(load_plain_key(path))] = name
        except LyceumError:
            continue  # another kind of chain
    return names
