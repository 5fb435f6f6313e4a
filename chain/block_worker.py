"""Home of what a node does with blocks on its workers: build, check, commit, read for others, decode ahead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar

from chain import contract
from chain.codec import decode_block
from chain.errors import LyceumError
from chain.executor import Chain, Prepared
from chain.network.messages import BLOCKS_BYTES_MAX, BLOCKS_MAX, Blocks, NotHeld
from chain.pool.intake import decode_and_recover
from chain.replication.events import Check, Checked, CommitBlock, Tip
from chain.threads import workers
from chain.transactions import InvalidTransaction, Transaction
from chain.transition import InvalidBlock
from chain.types import Block
from consensus import codec, proposer
from consensus.types import BlockId, Commit, Height, ValidatorSet, Voter

DECODED_AHEAD_MAX: Final = 600  # blocks whose transactions are kept until they are committed
DECODED_AHEAD_BYTES_MAX: Final = 32 << 20  # of these blocks' transactions, as they came

_T = TypeVar("_T")


class Outvoted(LyceumError):
    """Two thirds have signed a block that is invalid here: this node computes something else, or they lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ahead:
    """A block's transactions, decoded or being decoded."""

    height: int
    size: int  # bytes
    transactions: Future[list[Transaction]]


class BlockWorker:
    """One worker for everything that touches the tip, one after the other; others decode and read beside it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._worker = workers(1, "chain")
        self._decoder = workers(1, "decoder")
        self._reader = workers(1, "blocks")
        self._decoded: dict[bytes, _Ahead] = {}
        self._decoded_bytes = 0

    def close(self) -> None:
        """Wait until what is being written is finished; blocking."""
        for pool in (self._decoder, self._reader, self._worker):
            pool.shutdown(cancel_futures=True)

    async def tip(self, before: Tip | None = None) -> Tip:
        """Where the chain stands; `before` is the tip of the height before, if it is at hand."""
        return await self._on_worker(lambda: tip_of(self._chain, before))

    async def build(
        self, height: int, candidates: Sequence[Transaction], proposer_address: bytes, last_commit: Commit | None
    ) -> Prepared | None:
        """A block of the candidates that fit, on the tip, now; None if it would not be of this height any more."""
        time_ms = time.time_ns() // 1_000_000

        def job() -> Prepared | None:
            if self._chain.tip.height + 1 != height:
                return None  # a block that was fetched has just been committed
            encoded = codec.encode_commit(last_commit) if last_commit else self._chain.last_commit
            return self._chain.build(candidates, time_ms=time_ms, proposer=proposer_address, last_commit=encoded)

        return await self._on_worker(job)

    async def check(self, asked: Check) -> Checked | None:
        """The verdict on a block, None if it does not follow the tip any more."""

        def job() -> Checked | None:
            if asked.block.header.height != self._chain.tip.height + 1:
                return None
            try:
                self._chain.check(asked.block, self._decode(asked.transactions))
            except (InvalidBlock, InvalidTransaction) as error:
                return Checked(block_id=asked.block_id, valid=False, reason=str(error))
            return Checked(block_id=asked.block_id, valid=True)

        return await self._on_worker(job)

    def decode_ahead(self, block_id: bytes, block: Block) -> None:
        """Decode a block's transactions while others are committed; of too many the highest are left for later."""
        if block_id in self._decoded:
            return
        size, height = sum(len(raw) for raw in block.transactions), block.header.height
        work = self._decoder.submit(self._decode, block.transactions)
        self._decoded[block_id] = _Ahead(height=height, size=size, transactions=work)
        self._decoded_bytes += size
        while len(self._decoded) > DECODED_AHEAD_MAX or self._decoded_bytes > DECODED_AHEAD_BYTES_MAX:
            self._forget(max(self._decoded, key=lambda id_: self._decoded[id_].height))

    def _forget(self, block_id: bytes) -> None:
        dropped = self._decoded.pop(block_id)
        self._decoded_bytes -= dropped.size
        dropped.transactions.cancel()

    async def commit(self, decided: CommitBlock, before: Tip) -> tuple[Prepared, Tip]:
        """Store a decided block, executed now if it was not before. Raises Outvoted."""
        known = self._decoded.get(decided.block_id)
        ahead = known.transactions if known else None
        if ahead is not None:
            await asyncio.wait([asyncio.wrap_future(ahead)])
        for id_ in [id_ for id_, other in self._decoded.items() if other.height <= decided.block.header.height]:
            self._forget(id_)  # others of these heights were rejected

        def job() -> tuple[Prepared, Tip]:
            prepared = self._chain.prepared(decided.block_id)
            if prepared is None:
                prepared = self._execute(decided.block, ahead)
            self._chain.commit(prepared, codec.encode_commit(decided.commit))
            return prepared, tip_of(self._chain, before)

        return await self._on_worker(job)

    def _execute(self, block: Block, ahead: Future[list[Transaction]] | None) -> Prepared:
        """A decided block that was not checked here: it was fetched, or comes from the vote log after a restart."""
        try:
            transactions = ahead.result() if ahead else self._decode(block.transactions)
            return self._chain.check(block, transactions)
        except (InvalidBlock, InvalidTransaction) as error:
            raise Outvoted(f"two thirds have signed a block that is invalid here: {error}") from error

    def _decode(self, transactions: Sequence[Transaction | bytes]) -> list[Transaction]:
        """Transactions with senders. Raises InvalidTransaction for the first that is none."""
        raws = [item for item in transactions if isinstance(item, bytes)]
        [outcomes] = decode_and_recover([raws], self._chain.genesis.chain_id) if raws else [[]]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        decoded = (outcome for outcome in outcomes if isinstance(outcome, Transaction))
        return [next(decoded) if isinstance(item, bytes) else item for item in transactions]

    async def blocks(self, id_: int, first: int, count: int) -> Blocks | NotHeld:
        """Decided blocks with their commits for another node, as many as fit a frame."""
        return await asyncio.get_running_loop().run_in_executor(
            self._reader, read_blocks, self._chain, id_, first, count
        )

    async def _on_worker(self, job: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, job)


def read_blocks(chain: Chain, id_: int, first: int, count: int) -> Blocks | NotHeld:
    """See BlockWorker.blocks. A block's commit is in its child; the tip's is kept beside it."""
    latest = chain.last_commit  # before the child is looked for: it may be committed at this moment
    found: list[tuple[bytes, bytes]] = []
    size, block = 0, chain.store.block(first) if first > 0 else None
    for height in range(first, first + min(count, BLOCKS_MAX)):
        if block is None:
            break
        child = chain.store.block(height + 1)
        commit = decode_block(child).last_commit if child else latest
        size += len(block) + len(commit)
        if (found and size > BLOCKS_BYTES_MAX) or codec.decode_commit(commit).height != height:
            break
        found.append((block, commit))
        block = child
    return Blocks(id=id_, first=first, blocks=tuple(found)) if found else NotHeld(id=id_)


def tip_of(chain: Chain, before: Tip | None = None) -> Tip:
    """Where a chain stands; `before` spares going through the epoch's rotation again."""
    height = chain.tip.height
    validators = voters_after(chain)
    epoch_blocks = chain.parameters.epoch_blocks
    same = before is not None and before.height == height - 1 and before.validators == validators
    if before is not None and same and (height + 1) % epoch_blocks:
        _, priorities = proposer.advance(before.validators, before.priorities)
    else:
        priorities = priorities_before(height + 1, validators, epoch_blocks)
    return Tip(
        height=Height(height),
        block_id=BlockId(chain.tip_hash),
        validators=validators,
        priorities=priorities,
        oldest_block=max(1, chain.store.oldest_block),
        time_ms=chain.tip.time_ms,
    )


def voters_after(chain: Chain) -> ValidatorSet:
    """Who votes on the block after the tip, by the addresses of their vote keys."""
    return ValidatorSet(members=tuple((Voter(address), power) for address, power in contract.voters_of(chain.store)))


def priorities_before(height: int, validators: ValidatorSet, epoch_blocks: int) -> proposer.Priorities:
    """The priorities that the height before left. They start anew in an epoch's first height (power.py)."""
    first = max(1, height // epoch_blocks * epoch_blocks)
    return proposer.after(validators, height - first)
