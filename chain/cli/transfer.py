"""Home of a transfer from the command line: checked before it is signed, told when it is included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chain.cli.amounts import coins_text
from chain.crypto import checksum_address
from chain.errors import LyceumError

if TYPE_CHECKING:
    from chain.roles.client import NodeClient

POLL_SECONDS = 0.1


class TransferFailed(LyceumError):
    """A transfer that was not made, or of which nothing is known yet; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Coins on their way. `unlock` gives the sender's key and is called once everything else is known to be right."""

    sender: bytes
    unlock: Callable[[], bytes]
    to: bytes
    amount: int  # 10^-18 coin


async def balances(url: str, addresses: list[bytes]) -> list[int]:
    """What accounts have now, in 10^-18 coin. Raises NodeUnreachable, NodeError."""
    from chain.roles.client import NodeClient

    async with NodeClient(url) as node:
        return [await _balance(node, address) for address in addresses]


async def make_transfer(url: str, transfer: Transfer, wait_seconds: float) -> None:
    """Sign and send a transfer, and print its hash; then wait, and print its block and cost. Raises TransferFailed."""
    from chain.roles.client import Account, NodeClient, NodeError

    async with NodeClient(url) as node:
        available = await _balance(node, transfer.sender)
        if available < transfer.amount:
            raise TransferFailed(
                f"{checksum_address(transfer.sender)} has {coins_text(available)}; "
                f"{coins_text(transfer.amount)} and a fee are needed"
            )
        key = transfer.unlock()
        try:
            hash_ = await Account(node, key).send(transfer.to, transfer.amount, b"")
        except NodeError as error:
            raise TransferFailed(f"nothing was sent: {error}") from error
        print(hash_, flush=True)
        if wait_seconds:
            print(_told(await _receipt(node, hash_, wait_seconds), transfer))


async def _balance(node: NodeClient, address: bytes) -> int:
    return int(await node.call("eth_getBalance", f"0x{address.hex()}", "latest"), 16)


async def _receipt(node: NodeClient, hash_: str, seconds: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(seconds):
            while True:
                receipt = await node.call("eth_getTransactionReceipt", hash_)
                if receipt is not None:
                    return dict(receipt)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise TransferFailed(
            f"{hash_} was sent, but is in no block after {seconds:g} seconds; it may still be"
        ) from error


def _told(receipt: dict[str, Any], transfer: Transfer) -> str:
    """One line on an included transfer. Raises TransferFailed where it was reverted."""
    height = int(receipt["blockNumber"], 16)
    fee = coins_text(int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16))
    if int(receipt["status"], 16) != 1:
        raise TransferFailed(f"it was reverted in block {height}; that cost a fee of {fee}")
    return f"block {height}: {coins_text(transfer.amount)} to {checksum_address(transfer.to)}, fee {fee}"
