"""Home of `verify`: a data directory's whole history computed anew from its genesis file and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chain import contract
from chain.abi import EVENTS
from chain.blobs import BlobStore
from chain.codec import (
    InvalidEncoding,
    block_hash,
    decode_block,
    encode_block,
    encode_header,
    encode_receipts,
)
from chain.crypto import InvalidSignature, keccak256, recover_sender
from chain.errors import LyceumError
from chain.founding import initial_head
from chain.genesis import Genesis, genesis_block
from chain.judging import MissingBlobs, settlement_input
from chain.learning_store import read_round, read_spec, read_tasks
from chain.statetree import StateTree
from chain.store import Store
from chain.tasks import parse_spec
from chain.transactions import InvalidTransaction, Transaction, decode, recover_senders
from chain.transition import InvalidBlock, apply_block
from chain.types import Block, Header
from consensus import codec
from consensus.types import Commit, InvalidConsensus, ValidatorSet, Voter
from learning.commitment import blob_root, weights_bytes
from learning.evaluation import Evaluator
from learning.initial import initial_weights
from learning.record import Record
from learning.settlement import settle
from learning.shards import InvalidShard, decode_manifest

SIGNATURE_BYTES = 65


class Different(LyceumError):
    """The first difference between what a directory holds and what its history gives; names height and field."""

    def __init__(self, height: int, field_: str, what: str) -> None:
        super().__init__(f"height {height}: {field_}: {what}")
        self.height, self.field = height, field_


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was computed anew."""

    height: int
    transactions: int
    settlements: int
    heads: int
    state_root: bytes
    block_hash: bytes


@dataclass(slots=True)
class _Values:
    """A state in memory."""

    values: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def change(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value


class Verifier:
    """Replays one directory's chain. `backend` and `threads` are those of the exact evaluation."""

    def __init__(
        self, store: Store, blobs: BlobStore, genesis: Genesis, *, backend: str = "auto", threads: int = 1
    ) -> None:
        self._store, self._blobs, self._genesis = store, blobs, genesis
        self._backend, self._threads = backend, threads
        self._state = _Values()
        self._tree = StateTree()
        self._evaluators: dict[bytes, Evaluator] = {}
        self._settlements = 0
        self._transactions = 0
        self._heads: set[bytes] = set()

    def run(self, progress: Callable[[int, int], None] = lambda done, of: None) -> Verified:
        """Everything, from genesis to the tip. Raises Different at the first difference."""
        tip = self._store.tip()
        if tip is None:
            raise Different(0, "block", "the ledger is empty")
        parent = self._verify_genesis()
        voters = contract.validators_of(self._state)
        for height in range(1, tip + 1):
            following = contract.validators_of(self._state)
            parent = self._verify_height(height, parent, voters)
            voters = following
            progress(height, tip)
        self._verify_commit(tip, self._store.meta("commit") or b"", parent, voters)
        self._verify_latest_state(tip)
        return Verified(
            height=tip,
            transactions=self._transactions,
            settlements=self._settlements,
            heads=len(self._heads),
            state_root=self._tree.root,
            block_hash=block_hash(parent),
        )

    # ----------------------------------------------------------------------------------------------- one height

    def _verify_genesis(self) -> Header:
        block, changes = genesis_block(self._genesis)
        self._compare(0, "header", self._store.header(0), encode_header(block.header))
        self._compare(0, "block", self._store.block(0), encode_block(block))
        self._state.change(changes)
        self._tree.update(changes)
        for entry in read_tasks(self._state):
            self._verify_task(entry.task)
        return block.header

    def _verify_height(self, height: int, parent: Header, voters: tuple[tuple[bytes, int], ...]) -> Header:
        """Re-execute one block on the replayed state; `voters` are those who decided its parent."""
        block = self._read_block(height)
        header = block.header
        self._compare(height, "header", self._store.header(height), encode_header(header))
        if height > 1:
            self._verify_commit(height - 1, block.last_commit, parent, voters, told_by=height)
        transactions = self._read_transactions(height, block)
        try:
            execution = apply_block(
                self._state,
                parent,
                block,
                transactions,
                parameters=self._genesis.parameters,
                state_root_of=self._tree.update,
            )
        except InvalidBlock as error:
            _, name, what = str(error).split(": ", 2)
            raise Different(height, name, what) from error
        self._compare(height, "receipts", self._store.receipts(height), encode_receipts(execution.encoded_receipts))
        self._verify_indexes(height, block_hash(header), transactions)
        self._verify_history(height, execution.changes)
        for receipt in execution.receipts:
            for log in receipt.logs:
                if log.topics[0] == EVENTS["RoundSettled"].topic:
                    number = int.from_bytes(log.topics[2], "big")
                    self._verify_settlement(height, log.topics[1], number, execution.changes)
        self._state.change(execution.changes)
        self._transactions += len(transactions)
        return header

    def _read_block(self, height: int) -> Block:
        encoded = self._store.block(height)
        if encoded is None:
            raise Different(height, "block", "it is missing")
        try:
            return decode_block(encoded, bytes_max=2 * self._genesis.parameters.block_bytes_max)
        except InvalidEncoding as error:
            raise Different(height, "block", str(error)) from error

    def _read_transactions(self, height: int, block: Block) -> list[Transaction]:
        transactions = []
        for place, raw in enumerate(block.transactions):
            try:
                transactions.append(decode(raw, self._genesis.chain_id))
            except InvalidTransaction as error:
                raise Different(height, f"transactions[{place}]", str(error)) from error
        for place, recovered in enumerate(recover_senders(transactions)):
            if not recovered:
                raise Different(height, f"transactions[{place}].signature", "it gives no sender")
        return transactions

    def _verify_commit(
        self,
        height: int,
        encoded: bytes,
        header: Header,
        voters: tuple[tuple[bytes, int], ...],
        told_by: int | None = None,
    ) -> None:
        """The commit of `header` is signed by more than two thirds of the power that voted on it."""
        if height == 0:
            return
        name, told = "last_commit", told_by or height
        try:
            commit = codec.decode_commit(encoded)
            validators = ValidatorSet(members=tuple((Voter(address), power) for address, power in voters))
            if (commit.height, commit.block_id) != (height, block_hash(header)):
                raise Different(told, name, f"it is for another block than that of height {height}")
            self._verify_signatures(told, commit)
            if not validators.is_quorum(commit.power(validators)):
                raise Different(told, name, "it has no more than two thirds of the voting power")
        except InvalidConsensus as error:
            raise Different(told, name, str(error)) from error

    def _verify_signatures(self, told: int, commit: Commit) -> None:
        for vote in commit.votes():
            signature = vote.signature
            try:
                signer = recover_sender(
                    keccak256(vote.sign_bytes(self._genesis.hash)),
                    signature[64] if len(signature) == SIGNATURE_BYTES else 2,
                    int.from_bytes(signature[:32], "big"),
                    int.from_bytes(signature[32:64], "big"),
                )
            except InvalidSignature as error:
                raise Different(told, "last_commit", f"signature of 0x{vote.voter.hex()}: {error}") from error
            if bytes(signer) != bytes(vote.voter):
                raise Different(told, "last_commit", f"the signature of 0x{vote.voter.hex()} is another account's")

    # -------------------------------------------------------------------------------------------------- learning

    def _verify_task(self, task: bytes) -> None:
        """The blobs that genesis names: the initial head, and every custodian's manifest and sealed shards."""
        spec_json = read_spec(self._state, task)
        assert spec_json is not None
        spec = parse_spec(spec_json, self._genesis.parameters)
        root, _ = initial_head(spec.architecture, spec.initial_seed)
        self._verify_head(0, task, root, weights_bytes(initial_weights(spec.architecture, spec.initial_seed)))
        given = next(each for each in self._genesis.tasks if each.spec == spec_json)
        for custodian in given.custodians:
            whose = f"custodian 0x{custodian.address.hex()} of {spec.name}"
            manifest = self._blob(0, custodian.shards_root, f"manifest of {whose}")
            try:
                entries = decode_manifest(
                    manifest,
                    shards=custodian.shards,
                    samples=spec.shard_samples,
                    width=spec.architecture.input_width,
                )
            except InvalidShard:
                continue  # it was sealed so: the rounds that meet it say so
            for place, entry in enumerate(entries):
                self._blob(0, entry.root, f"shard {place} of {whose}")

    def _blob(self, height: int, root: bytes, name: str) -> bytes:
        data = self._blobs.get(root)
        if data is None:
            raise Different(height, name, f"blob 0x{root.hex()} is missing")
        if blob_root(data) != root:
            raise Different(height, name, f"blob 0x{root.hex()} has another content than its root says")
        return data

    def _verify_head(self, height: int, task: bytes, root: bytes, weights: bytes) -> None:
        held = self._blobs.get(root)
        name = f"head 0x{root.hex()} of task 0x{task.hex()}"
        if held is None:
            raise Different(height, name, "its weights are missing")
        if held != weights:
            raise Different(height, name, "its weights are not those that settlement gives")
        self._heads.add(root)

    def _verify_settlement(self, height: int, task: bytes, number: int, changes: Mapping[bytes, bytes | None]) -> None:
        """Judge a round anew, on the state before its settlement, and compare every field of its record."""
        name = f"settlement of round {number} of task 0x{task.hex()}"
        before = self._state
        round_ = read_round(before, task, number)
        if round_ is None:
            raise Different(height, name, "nothing was committed in it")
        for place, update in enumerate(round_.updates):
            if update.key:
                self._blob(update.committed_at, update.sealed_root, f"update {place} of round {number}")
        try:
            given = settlement_input(before, self._genesis.parameters, task, number, self._blobs.get)
        except MissingBlobs as error:
            raise Different(height, name, str(error)) from error
        settlement = settle(given, self._evaluator(task))
        after = _Values(values={key: value for key, value in changes.items() if value is not None})
        settled = read_round(after, task, number)
        assert settled is not None, "a settlement writes its round"
        told, own = Record.decode(settled.record), settlement.record
        for part in Record.__slots__:
            if getattr(told, part) != getattr(own, part):
                raise Different(
                    height, f"{name}: {part}", f"settled is {getattr(told, part)}, it is {getattr(own, part)}"
                )
        self._verify_head(height, task, own.head, weights_bytes(settlement.head))
        self._settlements += 1

    def _evaluator(self, task: bytes) -> Evaluator:
        if task not in self._evaluators:
            spec_json = read_spec(self._state, task)
            assert spec_json is not None
            architecture = parse_spec(spec_json, self._genesis.parameters).architecture
            self._evaluators[task] = Evaluator(architecture, backend=self._backend, threads=self._threads)
        return self._evaluators[task]

    # ------------------------------------------------------------------------------------- what the store keeps

    def _compare(self, height: int, name: str, held: bytes | None, expected: bytes) -> None:
        if held != expected:
            raise Different(height, name, "it is missing" if held is None else "it is not what its history gives")

    def _verify_indexes(self, height: int, hash_: bytes, transactions: list[Transaction]) -> None:
        if self._store.height_of_hash(hash_) != height:
            raise Different(height, "block hash", f"0x{hash_.hex()} is not found at this height")
        for place, transaction in enumerate(transactions):
            if self._store.transaction_location(transaction.hash) != (height, place):
                raise Different(height, f"transactions[{place}].hash", "it is not found at this place")

    def _verify_history(self, height: int, changes: Mapping[bytes, bytes | None]) -> None:
        """The earlier values that the store keeps for reading at past heights."""
        kept = self._store.previous_values(height)
        if kept is None:
            return
        expected = {key: self._state.get(key) for key in changes}
        for key in sorted(expected.keys() | kept.keys()):
            if key not in kept or key not in expected or kept[key] != expected[key]:
                raise Different(height, f"earlier value of {describe_key(key)}", "it is not what its history gives")

    def _verify_latest_state(self, tip: int) -> None:
        expected = self._state.values
        seen = 0
        for key, value in self._store.items():
            if expected.get(key) != value:
                raise Different(tip, f"state value of {describe_key(key)}", "it is not what its history gives")
            seen += 1
        if seen != len(expected):
            missing = next(key for key in sorted(expected) if self._store.get(key) is None)
            raise Different(tip, f"state value of {describe_key(missing)}", "it is missing")


def describe_key(key: bytes) -> str:
    """A flat key in words."""
    names = {"a": "account", "t": "specification of task", "T": "task", "r": "round of task", "u": "update"}
    names |= {"c": "custodian of task", "m": "miner of task", "v": "validator", "g": "the global record"}
    kind, rest = chr(key[0]), key[1:]
    shown = rest.decode(errors="replace") if kind == "g" else "0x" + rest.hex()
    return f"{names.get(kind, kind)} {shown}"
