"""Home of what `learn_*` methods tell of tasks: their rounds, updates, heads and events, from state, as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from chain.abi import contract_abi
from chain.operations.founding import initial_head
from chain.operations.learning_state import Round, TaskEntry, TaskState
from chain.operations.learning_store import (
    read_custodian,
    read_round,
    read_spec,
    read_task,
    read_tasks,
    read_update_location,
)
from chain.operations.tasks import AMOUNT_SETTINGS, SETTINGS, TaskSpec, parse_spec
from chain.state import View
from learning.record import Record
from rpc import learn_formats as formats
from rpc.formats import data, quantity
from rpc.jsonrpc import INVALID_PARAMS, SERVER_ERROR, RpcError
from rpc.records import Record as BlockRecord
from rpc.records import Records

LINEAGE_ROUNDS_MAX = 1000
ROUNDS_BETWEEN_YIELDS = 16
WEIGHT_BYTES = 4
ROUND_EVENTS = ("RoundSettled",)
UPDATE_EVENTS = ("UpdateCommitted", "UpdateRevealed", "Rewarded", "Penalised")


class Learning:
    """Answers about learning, from the state at the tip."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._backend = records.backend

    # --------------------------------------------------------------------------------------------------- tasks

    def tasks(self) -> list[dict[str, Any]]:
        view = self._backend.state()
        return [self._summary(view, entry) for entry in read_tasks(view)]

    def task(self, task: bytes) -> dict[str, Any]:
        view = self._backend.state()
        entry, state = self.known(view, task)
        spec = self._spec(view, task)
        numbers = spec.numbers(self._backend.parameters)
        return {
            **self._summary(view, entry),
            "specification": json.loads(spec.to_json()),
            "heads": [{"round": head.round, "root": data(head.root)} for head in state.heads],
            "custodians": [self._custodian(view, task, state, address) for address in state.custodians],
            "pending": state.pending,
            "unsettled": state.unsettled,
            "judged": state.judged,
            "settled": state.settled,
            "radius": state.radius,
            "escrow": quantity(state.escrow),
            "meanPay": quantity(state.mean_pay),
            "evaluationFee": quantity(state.evaluation_fee),
            "bondMinimum": quantity(numbers.bond_minimum),
            "settings": {
                name: quantity(value) if name in AMOUNT_SETTINGS else value
                for name, value in ((name, getattr(numbers, name)) for name in SETTINGS)
            },
            "previousOpenings": [formats.opening_object(opening) for opening in state.previous],
            "recentUpdates": [
                {
                    "round": update.round,
                    "miner": data(update.miner),
                    "sealedRoot": data(update.sealed_root),
                    "key": data(update.key),
                }
                for update in state.recent
            ],
        }

    def head(self, task: bytes) -> dict[str, Any]:
        view = self._backend.state()
        _, state = self.known(view, task)
        head = state.heads[-1]
        return {
            "task": data(task),
            "round": head.round,
            "root": data(head.root),
            "bytes": quantity(WEIGHT_BYTES * self._spec(view, task).architecture.parameters),
            **formats.measured_object(state),
        }

    def _summary(self, view: View, entry: TaskEntry) -> dict[str, Any]:
        """A task in short; `round` and `phase` are those of the next block, where a transaction sent now may stand."""
        state = read_task(view, entry.task)
        assert state is not None
        spec = self._spec(view, entry.task)
        following = self._backend.tip().header.height + 1
        return {
            "task": data(entry.task),
            "name": spec.name,
            "description": spec.description,
            "native": spec.native,
            "status": formats.name_of(entry.status),
            "round": max(0, entry.clock.cycle_of(following)),
            "phase": formats.name_of(entry.clock.phase_of(following)),
            "clock": formats.clock_object(entry.clock),
            "head": data(state.head),
            "headRound": state.heads[-1].round,
            "settledRounds": state.settled,
            "last": formats.measured_object(state),
        }

    def _custodian(self, view: View, task: bytes, state: TaskState, address: bytes) -> dict[str, Any]:
        custodian = read_custodian(view, task, address)
        assert custodian is not None, "listed custodians stand in state"
        return formats.custodian_object(address, custodian, state.judged)

    def _spec(self, view: View, task: bytes) -> TaskSpec:
        encoded = read_spec(view, task)
        assert encoded is not None, "a task has a specification"
        return parse_spec(encoded, self._backend.parameters)

    @staticmethod
    def known(view: View, task: bytes) -> tuple[TaskEntry, TaskState]:
        """A task's entry and moving parts. Raises RpcError where there is none."""
        state = read_task(view, task)
        if state is None:
            raise RpcError(SERVER_ERROR, f"unknown task {data(task)}; learn_tasks lists all")
        return next(entry for entry in read_tasks(view) if entry.task == task), state

    # ------------------------------------------------------------------------------------------ rounds and updates

    def round(self, task: bytes, number: int) -> dict[str, Any] | None:
        """A round; null where nothing was committed in it."""
        view = self._backend.state()
        self.known(view, task)
        found = self._round(view, task, number)
        return formats.round_object(task, number, found) if found else None

    def update(self, sealed_root: bytes) -> dict[str, Any] | None:
        """The life of the update that was committed last under this root; null where there is none."""
        view = self._backend.state()
        location = read_update_location(view, sealed_root)
        if location is None:
            return None
        found = read_round(view, location.task, location.round)
        assert found is not None
        update = found.updates[location.place]
        ended = found.ended_at if update.fate else 0
        return {
            "task": data(location.task),
            "round": location.round,
            "place": location.place,
            **formats.update_object(update),
            "committed": self._moment(update.committed_at, "UpdateCommitted", sealedRoot=data(sealed_root)),
            "revealed": self._moment(update.revealed_at, "UpdateRevealed", sealedRoot=data(sealed_root)),
            "judged": {"height": quantity(found.judged_at)} if found.judged_at else None,
            "ended": self._moment(ended, "RoundSettled", task=data(location.task), round=location.round),
        }

    def _moment(self, height: int, event: str, **values: Any) -> dict[str, Any] | None:
        """Where something happened: its height, and the transaction whose event tells of it, if there is one."""
        if not height:
            return None
        if 0 < height < self._backend.oldest_block:
            return {"height": quantity(height), "transaction": None}
        record = self._records.at(height)
        assert record is not None
        for shown in self._events(record, (event,)):
            if all(shown[name] == value for name, value in values.items()):
                return {"height": quantity(height), "transaction": shown["transaction"]}
        return {"height": quantity(height), "transaction": None}

    async def lineage(self, task: bytes, first: int | None, last: int | None) -> list[dict[str, Any]]:
        """The initial head (round null, only from round 0 on), then the head after every settled round."""
        view = self._backend.state()
        entry, _ = self.known(view, task)
        first = first or 0
        newest = max(0, entry.clock.cycle_of(self._backend.tip().header.height))
        if last is None:
            last = min(newest, first + LINEAGE_ROUNDS_MAX - 1)
        if last - first >= LINEAGE_ROUNDS_MAX:
            raise RpcError(INVALID_PARAMS, f"invalid argument 2: at most {LINEAGE_ROUNDS_MAX} rounds are told at once")
        heads: list[dict[str, Any]] = []
        for number in range(first, min(last, newest) + 1):
            found = await self.round_in_turn(task, number)
            if found and found.record:
                heads.append(_lineage_entry(number, found))
        if first == 0:
            spec = self._spec(view, task)
            initial, _ = initial_head(spec.architecture, spec.initial_seed)
            heads.insert(0, {"round": None, "root": data(initial), "parent": None, "height": None})
        return heads

    @staticmethod
    def _round(view: View, task: bytes, number: int) -> Round | None:
        return read_round(view, task, number) if number < 2**32 else None

    async def round_in_turn(self, task: bytes, number: int) -> Round | None:
        """A round at the tip, for those who read many: others get their turn in between."""
        if number % ROUNDS_BETWEEN_YIELDS == 0:
            await asyncio.sleep(0)
        return self._round(self._backend.state(), task, number)

    # ---------------------------------------------------------------------------------------------------- events

    @staticmethod
    def abi() -> list[dict[str, Any]]:
        """The contract's ABI, as solc writes it."""
        return contract_abi()

    def round_events(self, record: BlockRecord) -> list[dict[str, Any]]:
        """What learn_subscribe tells of rounds."""
        return self._events(record, ROUND_EVENTS)

    def update_events(self, record: BlockRecord) -> list[dict[str, Any]]:
        """What learn_subscribe tells of updates."""
        return self._events(record, UPDATE_EVENTS)

    @staticmethod
    def _events(record: BlockRecord, names: Sequence[str]) -> list[dict[str, Any]]:
        shown = []
        for log, index, _ in record.logs():
            event = formats.event_object(log, record.header.height, record.transaction_hash(index))
            if event is not None and event["event"] in names:
                shown.append(event)
        return shown


def _lineage_entry(number: int, found: Round) -> dict[str, Any]:
    record = Record.decode(found.record)
    shown = formats.record_object(record)
    return {
        "round": number,
        "root": shown.pop("head"),
        "parent": shown.pop("parent"),
        "height": quantity(found.ended_at),
        "record": shown,
        "updates": [formats.update_object(update) for update in found.updates],
    }
