"""Home of a node's chain: blocks are built and checked on the tip's state, and committed to the store one at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chain import contract
from chain.codec import block_hash, decode_block, decode_header, encode_block, encode_header, encode_receipts
from chain.crypto import keccak256
from chain.genesis import Genesis, genesis_block
from chain.light_blocks import LightBlock, Members, decode_members, encode_members
from chain.merkle import Proof
from chain.parameters import Parameters
from chain.storage.statetree import HISTORY_DEFAULT, StateTree, Undone
from chain.storage.store import DataDirectoryDamaged, Store
from chain.transactions import Transaction
from chain.transition import Execution, apply_block, build_block
from chain.types import Block, Header
from chain.verification.replay import ReplayedState
from chain.vote_signatures import VoteSignatures
from consensus.codec import decode_commit

PREPARED_BLOCKS_MAX = 16
KEEP_BLOCKS_MIN = 1000  # what others need to catch up from a snapshot, and more
FORGOTTEN_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A block that was executed on the tip, ready to be committed."""

    block: Block
    encoded: bytes
    hash: bytes
    transactions: tuple[Transaction, ...]
    execution: Execution
    tree_change: Undone


class Chain:
    """The blocks of one network in one store. Building, checking and committing are for one thread at a time."""

    def __init__(self, store: Store, genesis: Genesis, *, keep_blocks: int | None = None) -> None:
        """Open the chain that the store holds; an empty store gets the genesis block. Raises DataDirectoryDamaged.

        `keep_blocks` is how many of the newest blocks are kept, by default all.
        """
        assert keep_blocks is None or keep_blocks >= KEEP_BLOCKS_MIN, keep_blocks
        self._keep_blocks = keep_blocks
        self.store = store
        self.genesis = genesis
        self.parameters: Parameters = genesis.parameters
        self.signatures = VoteSignatures(genesis.hash)  # of votes, whether they came alone or in a commit
        self._prepared: dict[bytes, Prepared] = {}
        self._tree_lock = threading.Lock()  # proofs are asked for while the next block is built
        if store.tip() is None:
            self._write_genesis()
        else:
            self.tree = _tree_of(store)
        self._read_tip()

    def _read_tip(self) -> None:
        height = self.store.tip()
        assert height is not None
        encoded = self.store.header(height)
        if encoded is None:
            raise DataDirectoryDamaged(f"the header of height {height} is gone; run `python -m chain verify`")
        self.tip: Header = decode_header(encoded)
        self.tip_hash: bytes = block_hash(self.tip)
        if self.tree.root != self.tip.state_root:
            raise DataDirectoryDamaged(
                f"height {height}: state_root: the stored state gives {self.tree.root.hex()}, the header says "
                f"{self.tip.state_root.hex()}; restore the directory, or remove it and sync again"
            )

    def _write_genesis(self) -> None:
        block, changes = genesis_block(self.genesis)
        self.tree = StateTree()
        self.tree.update(changes)
        self.store.commit_block(
            height=0,
            block_hash=block_hash(block.header),
            header=encode_header(block.header),
            block=encode_block(block),
            receipts=encode_receipts(()),
            transaction_hashes=(),
            changes=changes,
            meta={
                "commit": b"",
                validators_name(block.header.next_validators_hash): encode_members(
                    contract.voters_of(
                        ReplayedState({key: value for key, value in changes.items() if value is not None})
                    )
                ),
            },
        )

    @property
    def last_commit(self) -> bytes:
        """The encoded commit of the tip, empty for the genesis block."""
        return self.store.meta("commit") or b""

    def validators(self, hash_: bytes) -> Members | None:
        """The members of the set with this hash (see `transition.validators_hash`), if it ever voted on this chain."""
        encoded = self.store.meta(validators_name(hash_))
        return None if encoded is None else decode_members(encoded)

    def light_block(self, height: int) -> LightBlock | None:
        """What shows others that a block was decided; None where it or its validators are not kept. Any thread."""
        latest = self.last_commit  # before the child is looked for: it may be committed at this moment
        encoded = self.store.header(height)
        child = self.store.block(height + 1)
        if encoded is None:
            return None
        header = decode_header(encoded)
        commit = decode_block(child).last_commit if child else latest
        voted, vote = self.validators(header.validators_hash), self.validators(header.next_validators_hash)
        if voted is None or vote is None:
            return None
        decoded = decode_commit(commit) if commit and height else None
        return LightBlock(header=header, commit=decoded, validators=voted, next_validators=vote)

    def build(
        self, candidates: Sequence[Transaction], *, time_ms: int, proposer: bytes, last_commit: bytes
    ) -> Prepared:
        """A block of the candidates that fit, on the tip. `last_commit` is one whose signatures were checked."""
        change: list[Undone] = []
        built = build_block(
            self.store,
            self.tip,
            candidates,
            time_ms=time_ms,
            proposer=proposer,
            last_commit=last_commit,
            parameters=self.parameters,
            state_root_of=lambda changes: self._preview(changes, change),
        )
        return self._prepare(built.block, built.hash, built.transactions, built.execution, change)

    def check(self, block: Block, transactions: Sequence[Transaction]) -> Prepared:
        """Execute a block that someone built on the tip. Raises InvalidBlock."""
        hash_ = block_hash(block.header)
        if hash_ in self._prepared:
            return self._prepared[hash_]
        change: list[Undone] = []
        execution = apply_block(
            self.store,
            self.tip,
            block,
            transactions,
            parameters=self.parameters,
            state_root_of=lambda changes: self._preview(changes, change),
            signers_of=self.signatures.signers_of,
        )
        return self._prepare(block, hash_, tuple(transactions), execution, change)

    def _preview(self, changes: dict[bytes, bytes | None], change: list[Undone]) -> bytes:
        with self._tree_lock:
            root, undone = self.tree.preview(changes)
        change.append(undone)
        return root

    def _prepare(
        self,
        block: Block,
        hash_: bytes,
        transactions: tuple[Transaction, ...],
        execution: Execution,
        change: list[Undone],
    ) -> Prepared:
        prepared = Prepared(
            block=block,
            encoded=encode_block(block),
            hash=hash_,
            transactions=transactions,
            execution=execution,
            tree_change=change[0],
        )
        while len(self._prepared) >= PREPARED_BLOCKS_MAX:
            self._prepared.pop(next(iter(self._prepared)))
        self._prepared[hash_] = prepared
        return prepared

    def prove(self, key: bytes, height: int) -> Proof | None:
        """Proof of a flat key's value or absence after the block of `height`, None where the tree no longer reaches."""
        with self._tree_lock:
            back = self.tip.height - height
            return self.tree.prove(key, back) if 0 <= back <= self.tree.undoable else None

    def prepared(self, hash_: bytes) -> Prepared | None:
        """The block of this hash, if it was built or checked on the tip."""
        return self._prepared.get(hash_)

    def commit(self, prepared: Prepared, commit: bytes) -> None:
        """Make a block the tip: one synced atomic batch. `commit` is the encoded commit that decided it."""
        header = prepared.block.header
        assert header.height == self.tip.height + 1, "blocks are committed in order"
        meta = {"commit": commit}
        if header.next_validators_hash != header.validators_hash:
            meta[validators_name(header.next_validators_hash)] = encode_members(prepared.execution.voters)
        self.store.commit_block(
            height=header.height,
            block_hash=prepared.hash,
            header=encode_header(header),
            block=prepared.encoded,
            receipts=encode_receipts(prepared.execution.encoded_receipts),
            transaction_hashes=[transaction.hash for transaction in prepared.transactions],
            changes=prepared.execution.changes,
            meta=meta,
        )
        with self._tree_lock:
            root = self.tree.redo(prepared.tree_change)
            assert root == header.state_root
            self.tip, self.tip_hash = header, prepared.hash
        self._prepared.clear()
        self._forget_old_blocks()

    def _forget_old_blocks(self) -> None:
        if self._keep_blocks is None:
            return
        oldest = max(1, self.store.oldest_block)
        if self.tip.height - self._keep_blocks - oldest >= FORGOTTEN_AT_ONCE:
            names = [self._names_of(height) for height in range(oldest, oldest + FORGOTTEN_AT_ONCE)]
            self.store.forget_blocks(names)

    def _names_of(self, height: int) -> tuple[int, bytes, list[bytes]]:
        encoded = self.store.block(height)
        if encoded is None:
            raise DataDirectoryDamaged(f"block {height} is gone; run `python -m chain verify`")
        block = decode_block(encoded)
        return height, block_hash(block.header), [keccak256(raw) for raw in block.transactions]


def validators_name(hash_: bytes) -> str:
    """The name of the store's record of a validator set."""
    return "validators " + hash_.hex()


def _tree_of(store: Store) -> StateTree:
    """The tree at the store's tip, with the updates of the last heights, so that proofs reach back over a restart."""
    tip = store.tip()
    assert tip is not None
    tree = StateTree(store.items())
    kept: list[tuple[int, Mapping[bytes, bytes | None]]] = []
    for height in range(tip, max(store.oldest_height, tip - HISTORY_DEFAULT), -1):
        previous = store.previous_values(height)
        if previous is None:
            break
        kept.append((height, previous))
        tree.update(previous)
    tree.forget()
    for height, previous in reversed(kept):
        tree.update({key: store.value_at(key, height) for key in previous})
    return tree
