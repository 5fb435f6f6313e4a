"""Home of a network in one process, driven by height: a real chain, store, blobs and consensus, and no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from chain import contract
from chain.abi import EVENTS, encode_call
from chain.codec import encode_block
from chain.crypto import address_of, keccak256, sign
from chain.development import GENESIS_NAME
from chain.duties import due
from chain.executor import Chain, Prepared
from chain.genesis import parse_genesis
from chain.judging import settlement_input
from chain.node import priorities_before
from chain.node_directory import open_blobs
from chain.operations.founding import initial_head
from chain.operations.learning_state import RoundStatus
from chain.operations.learning_store import read_round, read_spec, read_task, read_tasks
from chain.operations.tasks import TaskSpec, parse_spec
from chain.signing import Fields, sign_transaction
from chain.state import KIND_ACCOUNT, decode_account
from chain.storage.store import Store
from chain.transactions import Transaction, intrinsic_gas_of
from chain.types import CONTRACT_ADDRESS, GWEI
from consensus import codec, votelog
from consensus.actions import BlockBuilt, BuildBlock, CommitBlock, Timeouts
from consensus.driver import Driver
from consensus.events import HeightStarted
from consensus.types import BlockId, Height, ValidatorSet, Voter
from learning.commitment import blob_root, weights_bytes
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.settlement import settle

BLOCK_MS = 1000  # from one block's time to the next, as no rule reads it
MAX_FEE_PER_GAS = 10 * GWEI
EVALUATION_BACKEND = "float64"  # exact like the others, and nothing has to be compiled for it


class Network:
    """The chain of one validator, in a directory that `python -m chain verify` can check. `block` makes the next block.

    Between blocks the validator does its duties, and judges rounds as soon as they are due. Consensus is the node's,
    fed by hand: with all power at one validator every height is decided in round 0, so no timer ever matters.
    """

    def __init__(self, directory: Path, genesis_file: bytes, validator: bytes, blobs: Iterable[bytes]) -> None:
        """`validator` is the private key of the only validator; `blobs` are those that genesis names."""
        genesis = parse_genesis(genesis_file)
        self.store = Store.open(directory, create=True, genesis=genesis.hash)
        (directory / GENESIS_NAME).write_bytes(genesis_file)
        self.chain = Chain(self.store, genesis)
        self.blobs = open_blobs(directory)
        self.gas_paid: dict[bytes, int] = {}  # by account, 10^-18 coin
        self._validator = Wallet(validator, self.chain)
        self._records: dict[tuple[bytes, int], bytes] = {}
        self._evaluators: dict[bytes, Evaluator] = {}
        self._driver = Driver(
            me=Voter(self._validator.address),
            genesis=genesis.hash,
            sign=self._validator.sign_vote,
            timeouts=Timeouts(),
            log=votelog.recover(()),
        )
        for blob in blobs:
            self.blobs.put(blob_root(blob), blob)
        for entry in read_tasks(self.store):
            spec = self.spec(entry.task)
            root, _ = initial_head(spec.architecture, spec.initial_seed)
            self.blobs.put(root, weights_bytes(initial_weights(spec.architecture, spec.initial_seed)))

    def close(self) -> None:
        self.store.close()

    def spec(self, task: bytes) -> TaskSpec:
        encoded = read_spec(self.store, task)
        assert encoded is not None, task.hex()
        return parse_spec(encoded, self.chain.parameters)

    def balance(self, address: bytes) -> int:
        """An account's balance at the tip, in 10^-18 coin."""
        value = self.store.get(KIND_ACCOUNT + address)
        return decode_account(value)[1] if value is not None else 0

    def block(self, transactions: Sequence[Transaction]) -> Prepared:
        """Commit the next block, of these transactions and what the validator owes; none of them may fail."""
        duties = due(
            self.store,
            self.chain.tip.height + 1,
            self._validator.address,
            blob_size=self.blobs.size,
            records=self._records,
        )
        own = [self._validator.send(duty.calldata) for duty in duties]
        prepared = self._decide([*transactions, *own])
        assert len(prepared.transactions) == len(transactions) + len(own), "a transaction was left out"
        for transaction, receipt in zip(prepared.transactions, prepared.execution.receipts, strict=True):
            assert receipt.status, f"height {prepared.block.header.height}: {transaction}"
            paid = receipt.gas_used * receipt.effective_gas_price
            self.gas_paid[transaction.sender] = self.gas_paid.get(transaction.sender, 0) + paid
            for log in receipt.logs:
                if log.topics[0] == EVENTS["UpdateCommitted"].topic:
                    self.blobs.pin(log.data[32:64])
        self._judge()
        return prepared

    # -------------------------------------------------------------------------------------------------- consensus

    def _decide(self, transactions: Sequence[Transaction]) -> Prepared:
        """What a node's loop does for one height."""
        height = self.chain.tip.height + 1
        validators = ValidatorSet(members=tuple((Voter(a), p) for a, p in contract.voters_of(self.store)))
        started = HeightStarted(
            height=Height(height),
            validators=validators,
            priorities=priorities_before(height, validators, self.chain.parameters.epoch_blocks),
        )
        committed: Prepared | None = None
        actions = deque(self._driver.handle(started))
        while actions:
            match actions.popleft():
                case BuildBlock() as wanted:
                    actions.extend(self._driver.handle(self._build(wanted, transactions)))
                case CommitBlock() as decided:
                    committed = self.chain.prepared(decided.commit.block_id)
                    assert committed is not None
                    self.chain.commit(committed, codec.encode_commit(decided.commit))
        assert committed is not None, f"height {height} was not decided"
        return committed

    def _build(self, wanted: BuildBlock, transactions: Sequence[Transaction]) -> BlockBuilt:
        prepared = self.chain.build(
            transactions,
            time_ms=self.chain.tip.time_ms + BLOCK_MS,
            proposer=self._validator.address,
            last_commit=self.chain.last_commit,
        )
        return BlockBuilt(
            height=wanted.height,
            round=wanted.round,
            block_id=BlockId(prepared.hash),
            block=encode_block(prepared.block),
        )

    # --------------------------------------------------------------------------------------------------- judging

    def _judge(self) -> None:
        """Compute the record of every task's oldest judged round, and keep the head that it makes."""
        for entry in read_tasks(self.store):
            state = read_task(self.store, entry.task)
            if state is None or not state.unsettled or (entry.task, state.unsettled[0]) in self._records:
                continue
            number = state.unsettled[0]
            round_ = read_round(self.store, entry.task, number)
            assert round_ is not None
            assert round_.status is RoundStatus.JUDGED, round_.status
            given = settlement_input(self.store, self.chain.parameters, entry.task, number, self.blobs.get)
            settlement = settle(given, self.evaluator(entry.task))
            self.blobs.put(settlement.record.head, weights_bytes(settlement.head))
            self._records[entry.task, number] = settlement.record.encode()

    def evaluator(self, task: bytes) -> Evaluator:
        if task not in self._evaluators:
            self._evaluators[task] = Evaluator(self.spec(task).architecture, backend=EVALUATION_BACKEND)
        return self._evaluators[task]


class Wallet:
    """An account that signs: its transactions follow one another, each expected to be included."""

    def __init__(self, key: bytes, chain: Chain) -> None:
        self.address = address_of(key)
        self._key = key
        self._chain = chain
        self._nonce = 0

    def call(self, name: str, *arguments: object, value: int = 0) -> Transaction:
        """A signed call of the learning contract."""
        return self.send(encode_call(name, *arguments), value)

    def send(self, calldata: bytes, value: int = 0) -> Transaction:
        fields = Fields(
            chain_id=self._chain.genesis.chain_id,
            nonce=self._nonce,
            max_priority_fee_per_gas=GWEI,
            max_fee_per_gas=MAX_FEE_PER_GAS,
            gas_limit=intrinsic_gas_of(calldata) + contract.operation_gas(calldata, self._chain.parameters),
            to=CONTRACT_ADDRESS,
            value=value,
            data=calldata,
        )
        self._nonce += 1
        return sign_transaction(fields, self._key)

    def sign_vote(self, message: bytes) -> bytes:
        r, s, parity = sign(keccak256(message), self._key)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
