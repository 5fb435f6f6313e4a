"""Home of what block sync waits for: a block that settles a round is committed once this node has judged it itself.

So every settlement is checked from blobs, and judging is never so far behind that the state it needs is gone. Where
no peer gives the blobs of a round, its settlement is taken over as two thirds signed it, with a warning. Near the tip
nothing is held up: a round is judged after its settlement then, as a late judge does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from chain.abi import SELECTOR_BYTES, InvalidCalldata, decode_arguments, encode_call, function_of
from chain.codec import block_hash
from chain.errors import LyceumError
from chain.evaluations import Evaluations
from chain.executor import Chain
from chain.node import Committed
from chain.operations.learning_store import read_task
from chain.transactions import InvalidTransaction, decode
from chain.types import CONTRACT_ADDRESS, Block

log = logging.getLogger("lyceum.sync")

MISSING_SECONDS: Final = 60.0  # nothing of what a round lacks has come for so long: no peer has it
AGAIN_SECONDS: Final = 1.0  # after which the highest known block, a mere claim of peers, is looked at again
UNHELD_BLOCKS: Final = 32  # before the highest known one; far fewer than there is state for
_SETTLE: Final = encode_call("settle", bytes(32), 0, b"")[:SELECTOR_BYTES]


class Distrusted(LyceumError):
    """The chain does not have the block that the node's owner named."""


class SettlementGate:
    """Lets synced blocks through one after the other; lives on the event loop."""

    def __init__(
        self,
        chain: Chain,
        evaluations: Evaluations,
        highest: Callable[[], int],
        *,
        trust: tuple[int, bytes] | None = None,
        missing_s: float = MISSING_SECONDS,
    ) -> None:
        """`highest` tells how far the chain is known to have got; `trust` is height and hash of a block that it must
        have. Raises Distrusted."""
        self._chain, self._evaluations, self._highest = chain, evaluations, highest
        self._trust, self._missing_s = trust, missing_s
        self._missing: dict[tuple[bytes, int], tuple[bytes, ...]] = {}
        self._something = asyncio.Event()
        evaluations.followers.append(self._something.set)
        evaluations.seekers.append(self._seek)
        if trust is not None and (header := chain.light_block(trust[0])) is not None:
            self._require_trusted(trust[0], block_hash(header.header))

    async def before(self, block: Block) -> None:
        """Wait until a decided block that was fetched may be committed. Raises Distrusted."""
        self._require_trusted(block.header.height, block_hash(block.header))
        height = block.header.height
        if not self._is_held(height):
            return
        for task, number in settlements_in(block.transactions, block.header.chain_id):
            state = read_task(self._chain.store, task)
            if state is not None and state.unsettled[:1] == (number,):
                await self._judged(task, number, height)

    def committed(self, committed: Committed) -> None:
        """Compare a block decided live too, which did not pass here. Raises Distrusted, again at every later start."""
        header = committed.header
        if self._trust is not None and self._trust[0] == header.height:
            self._require_trusted(header.height, block_hash(header))

    def _is_held(self, height: int) -> bool:
        return height + UNHELD_BLOCKS < self._highest()

    async def _judged(self, task: bytes, number: int, height: int) -> None:
        """Wait until a round is judged, or no peer has its blobs, or whoever claimed a far tip is believed no more."""
        loop = asyncio.get_running_loop()
        changed, missing = loop.time(), self._missing.get((task, number), ())
        while self._is_held(height) and not self._evaluations.is_judged(task, number):
            self._something.clear()
            self._evaluations.judge_next()
            now_missing = self._missing.get((task, number), ())
            if now_missing != missing or not now_missing:
                changed, missing = loop.time(), now_missing
            left = changed + self._missing_s - loop.time()
            if left <= 0:
                log.warning(
                    "no peer has %d blobs of round %d of task 0x%s, the first 0x%s: its settlement is not checked here",
                    len(missing),
                    number,
                    task.hex(),
                    missing[0].hex(),
                )
                return
            try:
                async with asyncio.timeout(min(left, AGAIN_SECONDS)):
                    await self._something.wait()
            except TimeoutError:
                continue

    def _seek(self, task: bytes, number: int, height: int, roots: tuple[bytes, ...]) -> None:
        if roots:
            self._missing[task, number] = roots
        else:
            self._missing.pop((task, number), None)
        self._something.set()

    def _require_trusted(self, height: int, hash_: bytes) -> None:
        if self._trust is not None and self._trust[0] == height and self._trust[1] != hash_:
            raise Distrusted(
                f"block {height} of this chain is 0x{hash_.hex()}, --trust names 0x{self._trust[1].hex()}: the data "
                "directory or the peers are those of another chain"
            )


def settlements_in(transactions: Sequence[bytes], chain_id: int) -> list[tuple[bytes, int]]:
    """(task, round) of every call of `settle` among raw transactions, whether it will succeed or not."""
    found = []
    for raw in transactions:
        if _SETTLE not in raw:
            continue
        try:
            transaction = decode(raw, chain_id)
            function = function_of(transaction.data)
            if transaction.to == CONTRACT_ADDRESS and function is not None and function.name == "settle":
                task, number, *_ = decode_arguments(function, transaction.data)
                found.append((task, number))
        except (InvalidTransaction, InvalidCalldata):
            continue
    return found
