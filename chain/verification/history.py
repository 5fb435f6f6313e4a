"""Home of `verify`: a data directory's whole history computed anew from its genesis file and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chain.codec import (
    InvalidEncoding,
    block_hash,
    decode_block,
    encode_block,
    encode_header,
    encode_receipts,
)
from chain.genesis import Genesis, genesis_block
from chain.last_commit import InvalidCommit, check_signatures, read_last_commit
from chain.operations.learning_store import read_spec, read_tasks
from chain.storage.blobs import BlobStore
from chain.storage.statetree import StateTree
from chain.storage.store import Store
from chain.transactions import InvalidTransaction, Transaction, decode, recover_senders
from chain.transition import InvalidBlock, apply_block
from chain.types import Block, Header
from chain.verification.learning import LearningVerifier
from chain.verification.pruned import oldest_replayable, state_after, verify_blocks
from chain.verification.replay import Different, ReplayedState, compare, describe_key
from chain.vote_signatures import VoteSignatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was computed anew."""

    first_block: int  # 1, or where the directory's blocks begin
    replayed_from: int  # the height whose state the replay began with, 0 for genesis
    height: int
    transactions: int
    settlements: int
    heads: int
    state_root: bytes
    block_hash: bytes


class Verifier:
    """Replays one directory's chain. `backend` and `threads` are those of the exact evaluation."""

    def __init__(
        self, store: Store, blobs: BlobStore, genesis: Genesis, *, backend: str = "auto", threads: int = 1
    ) -> None:
        self._store, self._genesis = store, genesis
        self._state = ReplayedState()
        self._tree = StateTree()
        self._learning = LearningVerifier(self._state, blobs, genesis.parameters, backend=backend, threads=threads)
        self._signatures = VoteSignatures(genesis.hash)
        self._transactions = 0

    def run(self, progress: Callable[[int, int], None] = lambda done, of: None) -> Verified:
        """Everything, from genesis to the tip, or what a directory that begins later allows. Raises Different at the
        first difference."""
        tip = self._store.tip()
        if tip is None:
            raise Different(0, "block", "the ledger is empty")
        genesis, changes = self._verify_genesis()
        whole = self._store.oldest_block <= 1
        parent = self._begin_at_genesis(genesis, changes) if whole else self._begin_later(progress)
        begun = parent.height
        for height in range(begun + 1, tip + 1):
            parent = self._verify_height(height, parent)
            progress(height, tip)
        self._verify_commit_of_tip(parent)
        if self._store.tip_hash() != block_hash(parent):
            raise Different(tip, "block hash", "the ledger names another block as its last")
        self._verify_latest_state(tip)
        self._learning.verify_rest(tip, whole=whole)
        return Verified(
            first_block=max(1, self._store.oldest_block),
            replayed_from=begun,
            height=tip,
            transactions=self._transactions,
            settlements=self._learning.settlements,
            heads=len(self._learning.heads),
            state_root=self._tree.root,
            block_hash=block_hash(parent),
        )

    # ----------------------------------------------------------------------------------------------- one height

    def _verify_genesis(self) -> tuple[Header, dict[bytes, bytes | None]]:
        if self._store.genesis != self._genesis.hash:
            made = self._store.genesis.hex()
            raise Different(
                0, "genesis", f"the file's hash is {self._genesis.hash.hex()}, the ledger was made for {made}"
            )
        block, changes = genesis_block(self._genesis)
        compare(0, "header", self._store.header(0), encode_header(block.header))
        compare(0, "block", self._store.block(0), encode_block(block))
        compare(0, "receipts", self._store.receipts(0), encode_receipts(()))
        self._verify_indexes(0, block_hash(block.header), [])
        return block.header, changes

    def _begin_at_genesis(self, header: Header, changes: dict[bytes, bytes | None]) -> Header:
        self._state.change(changes)
        self._tree.update(changes)
        custodians = {task.spec: task.custodians for task in self._genesis.tasks}
        for entry in read_tasks(self._state):
            self._learning.verify_founding(entry.task, custodians[read_spec(self._state, entry.task) or b""])
        return header

    def _begin_later(self, progress: Callable[[int, int], None]) -> Header:
        """The header of the oldest height from which on everything is kept, its state taken as the store has it."""
        first, base = self._store.oldest_block, oldest_replayable(self._store)
        header = verify_blocks(self._store, first, base, self._signatures.signers_of, progress)
        self._state.values.update(state_after(self._store, base))
        if self._tree.update(self._state.values) != header.state_root:
            raise Different(base, "state_root", f"the stored state gives {self._tree.root.hex()}")
        return header

    def _verify_height(self, height: int, parent: Header) -> Header:
        """Re-execute one block, which carries its parent's commit, on the replayed state."""
        block = self._read_block(height)
        header = block.header
        compare(height, "header", self._store.header(height), encode_header(header))
        transactions = self._read_transactions(height, block)
        try:
            execution = apply_block(
                self._state,
                parent,
                block,
                transactions,
                parameters=self._genesis.parameters,
                state_root_of=self._tree.update,
                signers_of=self._signatures.signers_of,
            )
        except InvalidBlock as error:
            _, name, what = str(error).split(": ", 2)
            raise Different(height, name, what) from error
        compare(height, "receipts", self._store.receipts(height), encode_receipts(execution.encoded_receipts))
        self._verify_indexes(height, block_hash(header), transactions)
        self._verify_history(height, execution.changes)
        self._learning.verify_settlements(height, execution)
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

    def _verify_commit_of_tip(self, tip: Header) -> None:
        """What decided the last block, which no block carries yet."""
        encoded = self._store.meta("commit") or b""
        try:
            commit = read_last_commit(self._state, tip, encoded, self._genesis.parameters)
            if commit:
                check_signatures(commit, self._signatures.signers_of)
        except InvalidCommit as error:
            raise Different(tip.height, "last_commit", str(error)) from error

    # ------------------------------------------------------------------------------------- what the store keeps

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
            if height > (self._store.tip() or 0) - self._genesis.parameters.history_heights:
                raise Different(height, "earlier state values", "they are missing")
            return
        expected = {key: self._state.get(key) for key in changes}
        for key in sorted(expected.keys() | kept.keys()):
            same = key in kept and key in expected and kept[key] == expected[key]
            if not same or self._store.value_at(key, height - 1) != expected[key]:
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
