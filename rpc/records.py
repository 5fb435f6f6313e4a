"""Home of committed blocks as the methods read them: recent ones are kept, what is derived is derived once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

from chain.codec import block_hash, encode_block
from chain.crypto import keccak256
from chain.transactions import Transaction
from chain.types import Block, Header, Log, Receipt
from rpc.backend import Backend
from rpc.formats import block_object, included_transaction_object, log_object, receipt_object
from rpc.jsonrpc import PRUNED_HISTORY, SERVER_ERROR, RpcError

RECORDS_KEPT_MAX = 8
ITEMS_BETWEEN_YIELDS = 256


class Record:
    """One committed block. Receipts and hashes are read when they are first asked for."""

    def __init__(self, block: Block, backend: Backend) -> None:
        self.header: Header = block.header
        self.block = block
        self._backend = backend
        self._transactions: dict[int, Transaction] = {}

    @cached_property
    def hash(self) -> bytes:
        return block_hash(self.header)

    @cached_property
    def size(self) -> int:
        return len(encode_block(self.block))

    @cached_property
    def transaction_hashes(self) -> tuple[bytes, ...]:
        return tuple(keccak256(raw) for raw in self.block.transactions)

    @cached_property
    def receipts(self) -> tuple[Receipt, ...]:
        receipts = self._backend.receipts(self.header.height)
        assert receipts is not None, "a stored block has receipts"
        return receipts

    @cached_property
    def cumulative_gas(self) -> tuple[int, ...]:
        return tuple(accumulate(receipt.gas_used for receipt in self.receipts))

    @cached_property
    def first_logs(self) -> tuple[int, ...]:
        """For every transaction, the place in the block of its first log."""
        return tuple(accumulate((len(receipt.logs) for receipt in self.receipts), initial=0))

    def logs(self) -> Iterator[tuple[Log, int, int]]:
        """Every log with its transaction's place and its own."""
        place = 0
        for index, receipt in enumerate(self.receipts):
            for log in receipt.logs:
                yield log, index, place
                place += 1

    async def transactions(self, indexes: Sequence[int] | None = None) -> list[Transaction]:
        """The transactions at these places, or all, with senders."""
        wanted = range(len(self.block.transactions)) if indexes is None else indexes
        missing = [index for index in wanted if index not in self._transactions]
        if missing:
            decoded = await self._backend.decode_transactions([self.block.transactions[i] for i in missing])
            self._transactions.update(zip(missing, decoded, strict=True))
        return [self._transactions[index] for index in wanted]

    async def transaction_json(self, index: int) -> dict[str, Any]:
        (transaction,) = await self.transactions([index])
        return included_transaction_object(transaction, self.header, self.hash, index)

    async def block_json(self, full: bool) -> dict[str, Any]:
        shown: list[str | dict[str, Any]] = []
        if full:
            for index, transaction in enumerate(await self.transactions()):
                await _give_turn(index)
                shown.append(included_transaction_object(transaction, self.header, self.hash, index))
        else:
            shown += ["0x" + each.hex() for each in self.transaction_hashes]
        return block_object(self.header, self.hash, self.size, shown)

    async def receipts_json(self, indexes: Sequence[int] | None = None) -> list[dict[str, Any]]:
        wanted = range(len(self.block.transactions)) if indexes is None else indexes
        shown = []
        for index, transaction in zip(wanted, await self.transactions(indexes), strict=True):
            await _give_turn(index)
            shown.append(self._receipt_json(transaction, index))
        return shown

    def _receipt_json(self, transaction: Transaction, index: int) -> dict[str, Any]:
        return receipt_object(
            transaction,
            self.receipts[index],
            self.header,
            self.hash,
            index=index,
            cumulative_gas=self.cumulative_gas[index],
            first_log=self.first_logs[index],
        )

    def transaction_hash(self, index: int) -> bytes:
        return keccak256(self.block.transactions[index])

    def log_json(self, log: Log, index: int, place: int) -> dict[str, Any]:
        return log_object(log, self.header, self.hash, self.transaction_hash(index), index, place)


async def _give_turn(place: int) -> None:
    """Let others have the loop, now and then, while a large block is shown."""
    if place % ITEMS_BETWEEN_YIELDS == ITEMS_BETWEEN_YIELDS - 1:
        await asyncio.sleep(0)


class Records:
    """The chain's blocks by height, hash or tag. Committed blocks never change, so recent ones are kept."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._kept: OrderedDict[int, Record] = OrderedDict()

    def at(self, height: int) -> Record | None:
        """The block of a height, None above the tip. Raises RpcError where it is not kept any more."""
        record = self._kept.get(height)
        if record is None:
            block = self.backend.block(height)
            if block is None:
                self.require_kept(height)
                return None
            record = self._kept[height] = Record(block, self.backend)
            if len(self._kept) > RECORDS_KEPT_MAX:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(height)
        return record

    def require_kept(self, height: int) -> None:
        """Raises RpcError for a block between genesis and the first one that is kept."""
        oldest = self.backend.oldest_block
        if 0 < height < oldest:
            raise RpcError(PRUNED_HISTORY, f"pruned history unavailable: this node keeps blocks from {oldest} on")

    def height(self, reference: int | str | bytes) -> int | None:
        """The height that a number, a tag or a hash stands for; None if there is no such block.

        `pending` stands for the tip: what waits is added by who shows it.
        """
        tip = self.backend.tip().header.height
        if type(reference) is str:
            return 0 if reference == "earliest" else tip
        height = self.backend.height_of_hash(reference) if isinstance(reference, bytes) else int(reference)
        return height if height is not None and height <= tip else None

    def find(self, reference: int | str | bytes) -> Record | None:
        height = self.height(reference)
        return None if height is None else self.at(height)

    def known_height(self, reference: int | str | bytes) -> int:
        """The same height for who needs it: raises "header not found" where there is no such block."""
        height = self.height(reference)
        if height is None:
            raise RpcError(
                SERVER_ERROR, "header for hash not found" if type(reference) is bytes else "header not found"
            )
        return height
