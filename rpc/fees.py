"""Home of what wallets ask before they choose a fee: suggested tips and the history of base fees and rewards."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from chain.ledger import next_base_fee
from chain.types import GWEI, Header, Receipt
from rpc.formats import quantity
from rpc.jsonrpc import INVALID_PARAMS, SERVER_ERROR, RpcError
from rpc.records import Records

HISTORY_BLOCKS_MAX = 1024
REWARD_BLOCKS_MAX = 128  # with percentiles every block's receipts are read: fewer blocks are answered
TIP_BLOCKS = 20
TIP_SAMPLES_PER_BLOCK = 3
TIP_PERCENTILE = 60
TIP_DEFAULT = int(GWEI)
TIP_MAX = 500 * GWEI

Tips = tuple[tuple[int, int], ...]  # ascending (tip per gas, gas used at or below it)


def tips_of(receipts: Sequence[Receipt], base_fee: int) -> Tips:
    """How a block's gas divides by tip: each tip with the gas of all transactions that paid at most so much."""
    gas_at: dict[int, int] = {}
    for receipt in receipts:
        tip = receipt.effective_gas_price - base_fee
        gas_at[tip] = gas_at.get(tip, 0) + receipt.gas_used
    total = 0
    found = []
    for tip in sorted(gas_at):
        total += gas_at[tip]
        found.append((tip, total))
    return tuple(found)


def rewards_at(tips: Tips, percentiles: Sequence[float], gas_used: int) -> list[int]:
    """The tip at each percentile of the block's gas; zeros for an empty block."""
    if not tips:
        return [0] * len(percentiles)
    rewards = []
    place = 0
    for percentile in percentiles:
        threshold = int(gas_used * percentile / 100)
        while tips[place][1] < threshold and place < len(tips) - 1:
            place += 1
        rewards.append(tips[place][0])
    return rewards


class Fees:
    """Fee queries over the chain."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._backend = records.backend
        self._tips: OrderedDict[int, Tips] = OrderedDict()
        self._suggested: tuple[int, int] = (-1, TIP_DEFAULT)  # height, tip

    def _tips_at(self, header: Header) -> Tips:
        height = header.height
        tips = self._tips.get(height)
        if tips is None:
            receipts = self._backend.receipts(height) if header.gas_used else ()
            tips = self._tips[height] = tips_of(receipts or (), header.base_fee)
            if len(self._tips) > REWARD_BLOCKS_MAX:  # as many as one question needs: a full block's take a megabyte
                self._tips.popitem(last=False)
        return tips

    def next_base_fee(self) -> int:
        return next_base_fee(self._backend.tip().header, self._backend.parameters)

    def suggested_tip(self) -> int:
        """The 60th percentile of the lowest tips of the last 20 blocks, like geth; 1 gwei where they are empty."""
        tip_height = self._backend.tip().header.height
        if self._suggested[0] != tip_height:
            samples: list[int] = []
            for height in range(max(1, tip_height - TIP_BLOCKS + 1), tip_height + 1):
                header = self._backend.header(height)
                if header is not None and header.gas_used:
                    samples.extend(tip for tip, _ in self._tips_at(header)[:TIP_SAMPLES_PER_BLOCK])
            samples.sort()
            found = samples[(len(samples) - 1) * TIP_PERCENTILE // 100] if samples else TIP_DEFAULT
            self._suggested = (tip_height, min(found, TIP_MAX))
        return self._suggested[1]

    def max_priority_fee_per_gas(self) -> str:
        return quantity(self.suggested_tip())

    def gas_price(self) -> str:
        return quantity(self.next_base_fee() + self.suggested_tip())

    async def history(self, blocks: int, newest: int | str, percentiles: tuple[float, ...] | None) -> dict[str, Any]:
        """eth_feeHistory: base fees of the blocks and of the one after them, gas ratios, rewards if asked for."""
        tip_height = self._backend.tip().header.height
        if type(newest) is int and newest > tip_height:
            raise RpcError(SERVER_ERROR, f"request beyond head block: requested {newest}, head {tip_height}")
        if blocks < 1:
            raise RpcError(INVALID_PARAMS, "invalid argument 0: at least one block is needed")
        last = self._records.known_height(newest)
        self._records.require_kept(last)
        kept = last - self._backend.oldest_block + 1 if last else 1
        blocks = min(blocks, REWARD_BLOCKS_MAX if percentiles else HISTORY_BLOCKS_MAX, kept)
        headers = []
        rewards = []
        for height in range(last - blocks + 1, last + 1):
            header = self._backend.header(height)
            assert header is not None
            headers.append(header)
            if percentiles:
                rewards.append(rewards_at(self._tips_at(header), percentiles, header.gas_used))
                await asyncio.sleep(0)
        after = next_base_fee(headers[-1], self._backend.parameters)
        result: dict[str, Any] = {
            "oldestBlock": quantity(headers[0].height),
            "baseFeePerGas": [quantity(header.base_fee) for header in headers] + [quantity(after)],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        }
        if percentiles:
            result["reward"] = [[quantity(reward) for reward in row] for row in rewards]
        return result
