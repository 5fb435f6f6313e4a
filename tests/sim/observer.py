"""Home of the observer: it executes every final block once more, and audits money, powers, slashing and learning.

It is fed by the first node that decides a height, holds every blob that was ever made, and never fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from chain import contract
from chain.abi import EVENTS, decode_event
from chain.codec import block_hash, decode_block
from chain.executor import Chain, Prepared
from chain.genesis import Genesis
from chain.judging import settlement_input
from chain.operations.founding import initial_head
from chain.operations.learning_state import RoundStatus
from chain.operations.learning_store import read_round, read_supply, read_task, read_validator
from chain.operations.treasury import held_for_others
from chain.state import KIND_ACCOUNT, decode_account
from chain.transition import InvalidBlock, validators_hash
from chain.types import CONTRACT_ADDRESS
from consensus.codec import decode_commit
from consensus.types import BlockId
from learning.record import Record
from tests.sim import election, judging, task
from tests.sim.plan import Plan, account, voter
from tests.sim.store import MemoryStore
from tests.sim.transactions import decoded
from tests.sim.violation import Violation, require

BACKEND = "reference"
"""The definition of evaluation itself; nodes use another backend."""


@dataclass
class Observer:
    """The final chain and what it must look like."""

    plan: Plan
    genesis: Genesis
    blobs: dict[bytes, bytes]
    decided: dict[int, BlockId] = field(default_factory=dict)
    sets: dict[int, tuple[tuple[bytes, int], ...]] = field(default_factory=dict)
    """Who votes at a height, with what power."""
    records: dict[int, bytes] = field(default_factory=dict)
    """What every round's record must be, from when it is judged."""
    settled: int = 0
    slashed: int = 0

    def __post_init__(self) -> None:
        self.chain = Chain(genesis_store(self.genesis), self.genesis)  # type: ignore[arg-type]
        self.sets[1] = election.genesis_set(self.genesis)
        self._money = self._all_money()
        self._supply = read_supply(self.chain.store)
        self._bonds = self._honest_bonds()
        self._absences: dict[bytes, int] = {}  # of the running epoch, by voter
        self._commits = 0
        self._head, _ = initial_head(task.ARCHITECTURE, task.INITIAL_SEED)

    @property
    def height(self) -> int:
        return self.chain.tip.height

    def execute(self, block_id: BlockId, encoded: bytes) -> None:
        """Take the next final block. Raises Violation for one that is not valid, or whose effects are not right."""
        block = decode_block(encoded)
        require(block_hash(block.header) == block_id, f"height {self.height + 1}: a commit for another block")
        transactions = [decoded(raw) for raw in block.transactions]
        require(all(transactions), f"height {self.height + 1}: no transaction")
        try:
            prepared = self.chain.check(block, transactions)  # type: ignore[arg-type]
        except InvalidBlock as error:
            raise Violation(f"an invalid block is decided: {error}") from error
        self.chain.commit(prepared, b"")
        self.decided[self.height] = block_id
        self._audit(prepared)

    # ------------------------------------------------------------------------------------------------------ audit

    def _audit(self, prepared: Prepared) -> None:
        self._check_money(prepared)
        self._check_slashing(prepared)
        self._check_absence(prepared)
        self._check_set()
        self._check_rounds(prepared)

    def _all_money(self) -> int:
        values = self.chain.store.values  # type: ignore[attr-defined]
        return sum(decode_account(value)[1] for key, value in values.items() if key[:1] == KIND_ACCOUNT)

    def _check_money(self, prepared: Prepared) -> None:
        """Coins come only from rewards, and go only by burning: to the unit."""
        header, store = prepared.block.header, self.chain.store
        money, supply = self._all_money(), read_supply(store)
        minted, burnt = supply.minted - self._supply.minted, supply.burnt - self._supply.burnt
        base_fees = header.gas_used * header.base_fee
        require(
            money == self._money + minted - burnt - base_fees,
            f"height {header.height}: {money} of money after {self._money}, {minted} minted, {burnt} burnt,"
            f" {base_fees} of base fees",
        )
        rewards = sum(self._amounts(prepared, name) for name in ("Rewarded", "CustodianRewarded"))
        require(minted == rewards, f"height {header.height}: {minted} minted, {rewards} rewarded")
        held = store.get(KIND_ACCOUNT + CONTRACT_ADDRESS)
        balance = decode_account(held)[1] if held else 0
        require(
            balance == held_for_others(store),
            f"height {header.height}: the contract has {balance} and owes {held_for_others(store)}",
        )
        self._money, self._supply = money, supply

    def _amounts(self, prepared: Prepared, event: str) -> int:
        return sum(decode_event(log)[1]["amount"] for log in _logs(prepared, event))

    def _check_set(self) -> None:
        """Who votes next: as the powers in state say at an epoch's end, else as before."""
        voters = election.next_set(self)
        self.sets[self.height + 1] = voters
        found = contract.voters_of(self.chain.store)
        require(found == voters, f"after height {self.height} {found} vote, not {voters}")
        claimed = self.chain.tip.next_validators_hash
        require(claimed == validators_hash(voters), f"height {self.height}: the header commits to other validators")

    def _check_absence(self, prepared: Prepared) -> None:
        """Whoever is absent from over half of an epoch's commits is left out, and nobody else but who wants to be.

        The commit in an epoch's first block is of the epoch before, and counts for nobody.
        """
        epoch = self.genesis.parameters.epoch_blocks
        if self.height > 1 and self.height % epoch:
            signers = {voter for voter, _ in decode_commit(prepared.block.last_commit).signatures}
            self._commits += 1
            for voter_, _ in self.sets[self.height]:
                self._absences[voter_] = self._absences.get(voter_, 0) + (voter_ not in signers)
        if (self.height + 1) % epoch:
            return
        for index in range(self.plan.nodes):
            present = 2 * self._absences.get(voter(index), 0) <= self._commits
            registered = read_validator(self.chain.store, account(index)).registered
            member = voter(index) in dict(self.sets[self.height])
            free = index == self.plan.leaver or index in self.plan.liars
            require(
                not member or bool(registered) == present or (present and free),
                f"height {self.height}: node {index} was absent {self._absences} times in {self._commits}",
            )
        self._absences, self._commits = {}, 0

    def _honest_bonds(self) -> dict[bytes, int]:
        honest = [account(index) for index in range(self.plan.nodes) if index not in self.plan.liars]
        return {address: read_validator(self.chain.store, address).bond for address in honest}

    def _check_slashing(self, prepared: Prepared) -> None:
        """Nobody honest is slashed; only who wants to leave has less bond than before."""
        liars = {account(index) for index in self.plan.liars}
        for log in _logs(prepared, "Slashed"):
            accused = decode_event(log)[1]["account"]
            require(accused in liars, f"height {self.height}: honest {accused.hex()} is slashed")
            self.slashed += 1
        bonds = self._honest_bonds()
        leaver = account(self.plan.leaver) if self.plan.leaver is not None else None
        for address, bond in bonds.items():
            require(
                bond >= self._bonds[address] or address == leaver,
                f"height {self.height}: honest {address.hex()} has a bond of {bond} after {self._bonds[address]}",
            )
        self._bonds = bonds

    def _check_rounds(self, prepared: Prepared) -> None:
        """Every settled record is what its round's blobs give, and the head that follows is of its replay."""
        store = self.chain.store
        for log in _logs(prepared, "RoundSettled"):
            number = int.from_bytes(log.topics[2], "big")
            round_ = read_round(store, task.TASK, number)
            assert round_ is not None
            require(
                round_.record == self.records.get(number),
                f"height {self.height}: round {number} is settled by {round_.record!r}, not {self.records.get(number)!r}",
            )
            self.settled += round_.status is RoundStatus.SETTLED
            self._head = Record.decode(round_.record).head
        state = read_task(store, task.TASK)
        assert state is not None
        require(
            state.head == self._head, f"height {self.height}: the head is {state.head.hex()}, not {self._head.hex()}"
        )
        if state.unsettled and state.unsettled[0] not in self.records:
            number = state.unsettled[0]
            given = settlement_input(store, self.genesis.parameters, task.TASK, number, self.blobs.get)
            record, head, weights = judging.settle(given, BACKEND)
            self.records[number] = record
            self.blobs[head] = weights


_fresh: dict[bytes, MemoryStore] = {}


def genesis_store(genesis: Genesis) -> MemoryStore:
    """A ledger with block 0 in it."""
    if genesis.hash not in _fresh:
        store = MemoryStore()
        Chain(store, genesis)  # type: ignore[arg-type]
        store.sync()
        _fresh[genesis.hash] = store
    return _fresh[genesis.hash].clone()


def _logs(prepared: Prepared, event: str) -> list:  # type: ignore[type-arg]
    topic = EVENTS[event].topic
    return [log for receipt in prepared.execution.receipts for log in receipt.logs if log.topics[0] == topic]
