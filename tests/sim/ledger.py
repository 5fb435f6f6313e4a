"""Home of a simulated node's ledger: the real chain, pool and judging over a store in memory, without a thread."""

from __future__ import annotations

from collections.abc import Sequence

from chain.errors import InvalidInput
from chain.executor import Chain
from chain.genesis import Genesis
from chain.history import StateAt
from chain.judging import MissingBlobs, is_committed, settlement_input
from chain.ledger import next_base_fee
from chain.operations.learning_state import Fate, RoundStatus
from chain.operations.learning_store import read_round, read_task, read_tasks
from chain.operations.record_difference import record_difference
from chain.pool.mempool import Mempool
from chain.state import KIND_ACCOUNT, View, decode_account
from chain.transactions import Transaction
from learning.commitment import blob_root
from tests.sim import judging, task
from tests.sim.disk import Disk
from tests.sim.transactions import decoded
from tests.sim.violation import Violation

BACKEND = "float64"
WANTED_MAX = 16


class Blobs:
    """The blobs of one disk, in the order in which they came."""

    def __init__(self, held: dict[bytes, bytes]) -> None:
        self.held = held

    def get(self, root: bytes) -> bytes | None:
        return self.held.get(root)

    def size_of_content(self, root: bytes) -> int | None:
        """As `BlobStore.size_of_content`: a head's root names no bytes of an update."""
        data = self.held.get(root)
        return None if data is None or blob_root(data) != root else len(data)

    def put(self, data: bytes) -> bytes:
        root = blob_root(data)
        self.held.setdefault(root, data)
        return root

    def take(self, root: bytes, data: bytes) -> bool:
        """Keep what somebody gave, if it is what its root says."""
        if not is_committed(root, data, task.ARCHITECTURE):
            return False
        self.held.setdefault(root, data)
        return True


class Ledger:
    """What a node knows beside consensus. It is made anew when the node starts; the disk's parts stay."""

    def __init__(self, disk: Disk, genesis: Genesis) -> None:
        """Raises DataDirectoryDamaged."""
        self.chain = Chain(disk.ledger, genesis)  # type: ignore[arg-type]
        self.store = disk.ledger
        self.pool = Mempool()
        self.blobs = Blobs(disk.blobs)
        self.records: dict[tuple[bytes, int], bytes] = {}
        self._late: list[tuple[int, int]] = []  # rounds settled before they were judged here: number, height before
        self._missing: tuple[bytes, ...] = ()  # blobs without which nothing can be judged
        self.settled_rounds = self._count_settled()  # by a record, void ones not counted

    # ------------------------------------------------------------------------------------------------------ pool

    def account(self, address: bytes) -> tuple[int, int]:
        """Nonce and balance at the tip."""
        stored = self.store.get(KIND_ACCOUNT + address)
        return decode_account(stored) if stored is not None else (0, 0)

    def submit(self, raws: Sequence[bytes]) -> list[bytes]:
        """Those raw transactions that entered the pool."""
        entered = []
        for raw in raws:
            transaction = decoded(raw)
            if transaction is None or self.pool.get(transaction.hash):
                continue
            nonce, balance = self.account(transaction.sender)
            base_fee = next_base_fee(self.chain.tip, self.chain.parameters)
            try:
                self.pool.add(transaction, nonce, balance, base_fee, self.chain.parameters.block_gas_limit)
            except InvalidInput:
                continue
            entered.append(raw)
        return entered

    def candidates(self) -> list[Transaction]:
        return self.pool.select(
            next_base_fee(self.chain.tip, self.chain.parameters),
            self.chain.parameters.block_gas_limit,
            lambda address: self.account(address)[0],
            lambda address: self.account(address)[1],
        )

    def next_nonce(self, address: bytes) -> int:
        return self.pool.pending_nonce(address, self.account(address)[0])

    def committed(self, transactions: Sequence[Transaction]) -> None:
        """Forget what a block included; remember rounds that it settled without us."""
        self.pool.remove_committed(
            transactions, lambda address: self.account(address)[0], lambda address: self.account(address)[1]
        )

    # --------------------------------------------------------------------------------------------------- judging

    def settled(self, number: int) -> None:
        """The block at the tip settled a round: compare, or judge it still. Raises Violation."""
        self.settled_rounds += self._is_settled(number)
        if (task.TASK, number) in self.records:
            self._compare(number)
        else:
            self._late.append((number, self.chain.tip.height - 1))

    def due(self) -> tuple[int, int] | None:
        """The round to be judged next, and the height whose state it is judged on."""
        self._late = [late for late in self._late if (task.TASK, late[0]) not in self.records]
        if self._late:
            return self._late[0]
        state = read_task(self.store, task.TASK)
        assert state is not None
        if state.unsettled and (task.TASK, state.unsettled[0]) not in self.records:
            return state.unsettled[0], self.chain.tip.height
        return None

    def judge(self, number: int, height: int) -> bytes | None:
        """Settle a round; its record, None while blobs are missing. Raises Violation where it was settled otherwise."""
        view: View = StateAt(self.store, height)  # type: ignore[arg-type]
        try:
            given = settlement_input(view, self.chain.parameters, task.TASK, number, self.blobs.get)
        except MissingBlobs as error:
            self._missing = error.roots
            return None
        self._missing = ()
        record, head, weights = judging.settle(given, BACKEND)
        self.blobs.held.setdefault(head, weights)
        self.records[task.TASK, number] = record
        self._compare(number)
        return record

    def _compare(self, number: int) -> None:
        round_ = read_round(self.store, task.TASK, number)
        if round_ is not None and round_.record:
            difference = record_difference(round_.record, self.records[task.TASK, number])
            if difference:
                raise Violation(f"an honest node stops: round {number} was settled otherwise: {difference}")

    def wanted_blobs(self) -> list[bytes]:
        """Roots of the updates under way and of what judging waits for, that are not held."""
        state = read_task(self.store, task.TASK)
        assert state is not None
        roots = dict.fromkeys(self._missing)
        for number in (*state.pending, *state.unsettled):
            round_ = read_round(self.store, task.TASK, number)
            assert round_ is not None, number
            roots |= dict.fromkeys(each.sealed_root for each in round_.updates if each.fate is not Fate.NOT_HELD)
        return [root for root in roots if root not in self.blobs.held][:WANTED_MAX]

    def _count_settled(self) -> int:
        entry = next(each for each in read_tasks(self.store) if each.task == task.TASK)
        last = max(entry.clock.cycle_of(self.chain.tip.height), 0)
        return sum(self._is_settled(number) for number in range(last + 1))

    def _is_settled(self, number: int) -> bool:
        round_ = read_round(self.store, task.TASK, number)
        return round_ is not None and round_.status is RoundStatus.SETTLED
