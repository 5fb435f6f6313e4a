"""Home of a load of transfers: signed in advance, sent over kept-alive connections, with as little work as it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import orjson

from benchmarks.connection import Connection
from chain.crypto import address_of, sha256
from chain.genesis import DEVELOPMENT_CHAIN_ID
from chain.signing import Fields, sign_transaction
from chain.types import GWEI

FEE_MAX = 100_000 * GWEI  # a base fee that rises by 1/8 in every block takes 97 full ones to get there from 1 gwei
WAITING_MAX = 7_000  # sent and not yet included: below what a pool holds
POLL_SECONDS = 0.05


def sender_keys(senders: int) -> list[bytes]:
    return [sha256(b"benchmark sender" + number.to_bytes(4, "big")) for number in range(senders)]


def sender_addresses(senders: int) -> list[bytes]:
    return [address_of(key) for key in sender_keys(senders)]


def presigned(senders: int, nonces: range) -> Iterator[bytes]:
    """Raw transfers, each to an account of its own, nonce by nonce over all senders: nobody's next one is ever far."""
    keys = sender_keys(senders)
    for nonce in nonces:
        for number, key in enumerate(keys):
            fields = Fields(
                chain_id=DEVELOPMENT_CHAIN_ID,
                nonce=nonce,
                max_priority_fee_per_gas=GWEI,
                max_fee_per_gas=FEE_MAX,
                gas_limit=21_000,
                to=sha256(b"receiver" + number.to_bytes(4, "big") + nonce.to_bytes(4, "big"))[:20],
                value=1 + nonce,
            )
            yield sign_transaction(fields, key).raw


def bodies(raws: Sequence[bytes], batch: int) -> list[bytes]:
    """JSON-RPC requests of single calls (`batch` 1) or of batches."""
    calls = [
        {"jsonrpc": "2.0", "id": i, "method": "eth_sendRawTransaction", "params": ["0x" + raw.hex()]}
        for i, raw in enumerate(raws)
    ]
    if batch == 1:
        return [orjson.dumps(call) for call in calls]
    return [orjson.dumps(calls[start : start + batch]) for start in range(0, len(calls), batch)]


class Load:
    """Sends transfers to a node and follows its blocks until all are included.

    At most `in_flight` requests are under way and WAITING_MAX transfers sent and not yet included, so that blocks,
    which have a limit, set the pace where the node could take more.
    """

    def __init__(self, port: int, batch: int, in_flight: int) -> None:
        self._port, self._batch, self._in_flight = port, batch, in_flight
        self._sent = self._included = 0
        self._room = asyncio.Condition()
        self.blocks: list[int] = []  # transfers in each block since the first request
        self.answer_seconds: list[float] = []  # how long each poll of the height took

    async def run(self, raws: Sequence[bytes]) -> float:
        """Seconds from the first request to the block with the last transfer. RuntimeError if one is refused."""
        requests = iter(bodies(raws, self._batch))
        control = await Connection.open(self._port)
        height = int(await control.call("eth_blockNumber"), 16)
        connections = [await Connection.open(self._port) for _ in range(self._in_flight)]
        started = time.monotonic()
        following = asyncio.create_task(self._follow(control, height, len(raws)))
        try:
            await asyncio.gather(*(self._send(connection, requests) for connection in connections))
            await following
        finally:
            following.cancel()
            for connection in (*connections, control):
                connection.close()
        return time.monotonic() - started

    async def _send(self, connection: Connection, requests: Iterator[bytes]) -> None:
        for body in requests:
            if self._sent - self._included > WAITING_MAX - self._batch:
                async with self._room:
                    await self._room.wait_for(lambda: self._sent - self._included <= WAITING_MAX - self._batch)
            self._sent += self._batch
            answer = await connection.post(body)
            if b'"error"' in answer:
                raise RuntimeError(f"the node refused a transfer: {answer[:300]!r}")

    async def _follow(self, control: Connection, height: int, count: int) -> None:
        while self._included < count:
            asked = time.monotonic()
            tip = int(await control.call("eth_blockNumber"), 16)
            self.answer_seconds.append(time.monotonic() - asked)
            while height < tip:
                height += 1
                found = int(await control.call("eth_getBlockTransactionCountByNumber", hex(height)), 16)
                self.blocks.append(found)
                self._included += found
                async with self._room:
                    self._room.notify_all()
            await asyncio.sleep(POLL_SECONDS)
