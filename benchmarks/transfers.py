"""How many transfers a node includes, and what CPU time each costs it: single calls and batches, with a profile.

One node process with 1 s blocks, the whole path: JSON-RPC, signature recovery, pool, execution, state root, receipts,
consensus with its synced log, and the store. The load comes pre-signed from this process over kept-alive sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.processes import cpu_seconds, free_port, stop
from chain.crypto import address_of, sha256
from chain.genesis import DEVELOPMENT_CHAIN_ID, genesis_json
from chain.keys import load_or_make_plain_key
from chain.transactions import sign_transaction
from chain.types import COIN, GWEI

SENDERS = 500
IN_FLIGHT = 32
BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run's figures."""

    mode: str
    transfers: int
    seconds: float
    included_per_second: float
    cpu_ms_per_transfer: float
    blocks: int


class Connection:
    """One kept-alive HTTP connection that sends prepared bodies, with as little work as a client can do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))

    async def post(self, body: bytes) -> bytes:
        head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._writer.write(head % len(body) + body)
        header = await self._reader.readuntil(b"\r\n\r\n")
        length = int(header.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return await self._reader.readexactly(length)

    async def call(self, method: str, *parameters: Any) -> Any:
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
        answer = orjson.loads(await self.post(body))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]


def sender_keys() -> list[bytes]:
    return [sha256(b"benchmark sender" + number.to_bytes(4, "big")) for number in range(SENDERS)]


def write_network(directory: Path) -> None:
    """A genesis with funded senders and one validator whose key lies beside it."""
    key = load_or_make_plain_key(directory / "validator.key")
    genesis = genesis_json(
        chain_id=DEVELOPMENT_CHAIN_ID,
        time_ms=time.time_ns() // 1_000_000,
        balances={address_of(sender): 1000 * COIN for sender in sender_keys()},
        validators=[(address_of(key), 1_000_000, 1_000 * COIN)],
        tasks=[],
        parameters={},
    )
    (directory / "genesis.json").write_bytes(genesis)


def presigned(per_sender: int, first_nonce: int) -> list[bytes]:
    """Raw transfers, nonce by nonce over all senders, so that every sender's next one is never far."""
    keys = sender_keys()
    return [
        sign_transaction(
            kind=2,
            chain_id=DEVELOPMENT_CHAIN_ID,
            nonce=first_nonce + nonce,
            max_priority_fee_per_gas=GWEI,
            max_fee_per_gas=1000 * GWEI,
            gas_limit=21_000,
            to=sha256(b"receiver" + number.to_bytes(4, "big") + nonce.to_bytes(4, "big"))[:20],
            value=1 + nonce,
            data=b"",
            key=key,
        )
        for nonce in range(per_sender)
        for number, key in enumerate(keys)
    ]


def bodies(raws: list[bytes], batch: int) -> list[bytes]:
    calls = [
        {"jsonrpc": "2.0", "id": i, "method": "eth_sendRawTransaction", "params": ["0x" + raw.hex()]}
        for i, raw in enumerate(raws)
    ]
    if batch == 1:
        return [orjson.dumps(call) for call in calls]
    return [orjson.dumps(calls[start : start + batch]) for start in range(0, len(calls), batch)]


async def offer(port: int, requests: list[bytes], in_flight: int) -> None:
    """Send every request, at most so many at a time; an answer with an error ends the run."""
    queue = iter(requests)

    async def work() -> None:
        connection = await Connection.open(port)
        for body in queue:
            answer = await connection.post(body)
            if b'"error"' in answer:
                raise RuntimeError(f"the node refused a transfer: {answer[:300]!r}")

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def included(connection: Connection, count: int, first_block: int) -> int:
    """Wait until the blocks above `first_block` hold `count` transfers; returns the last one's height."""
    height, seen = first_block, 0
    while seen < count:
        tip = int(await connection.call("eth_blockNumber"), 16)
        while height < tip and seen < count:
            height += 1
            seen += int(await connection.call("eth_getBlockTransactionCountByNumber", hex(height)), 16)
        await asyncio.sleep(0.05)
    return height


async def measure(port: int, pid: int, mode: str, raws: list[bytes], batch: int, in_flight: int) -> Result:
    requests = bodies(raws, batch)
    control = await Connection.open(port)
    first_block = int(await control.call("eth_blockNumber"), 16)
    started, cpu = time.monotonic(), cpu_seconds(pid)
    await offer(port, requests, in_flight)
    last = await included(control, len(raws), first_block)
    seconds, cpu = time.monotonic() - started, cpu_seconds(pid) - cpu
    return Result(
        mode=mode,
        transfers=len(raws),
        seconds=round(seconds, 2),
        included_per_second=round(len(raws) / seconds, 1),
        cpu_ms_per_transfer=round(cpu * 1000 / len(raws), 4),
        blocks=last - first_block,
    )


def start_node(directory: Path, port: int, profile: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "chain", "run", "--data-dir", str(directory / "data")]
    command += ["--genesis", str(directory / "genesis.json"), "--validator", str(directory / "validator.key")]
    command += ["--rpc-port", str(port), "--quiet"]
    if profile:
        command += ["--profile", str(profile)]
    with (directory / "node.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


async def wait_ready(port: int, node: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if node.poll() is not None:
            raise RuntimeError(f"the node ended at start:\n{log.read_text()}")
        try:
            connection = await Connection.open(port)
            if int(await connection.call("eth_blockNumber"), 16) >= 1:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError("the node did not come up within a minute")


async def play(directory: Path, per_sender: int, profile: Path | None) -> list[Result]:
    port = free_port()
    node = start_node(directory, port, profile)
    try:
        await wait_ready(port, node, directory / "node.log")
        results = []
        nonce = 0
        for mode, batch, in_flight in (("warm-up", BATCH, 4), ("single", 1, IN_FLIGHT), ("batch of 100", BATCH, 4)):
            count = 4 if mode == "warm-up" else per_sender
            raws = presigned(count, nonce)
            nonce += count
            results.append(await measure(port, node.pid, mode, raws, batch, in_flight))
        return [result for result in results if result.mode != "warm-up"]
    finally:
        stop(node)


def table(results: list[Result]) -> str:
    lines = ["| mode | transfers | included/s | CPU ms per transfer | blocks |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.mode} | {r.transfers} | {r.included_per_second} | {r.cpu_ms_per_transfer} | {r.blocks} |"
        for r in results
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks transfers", description=__doc__)
    parser.add_argument("--per-sender", type=int, default=40, help=f"transfers a sender, of {SENDERS} senders")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--profile", action="store_true", help="a second run under cProfile, and where its time went")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        write_network(directory)
        results = asyncio.run(play(directory, arguments.per_sender, None))
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    if arguments.profile:
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            write_network(directory)
            asyncio.run(play(directory, arguments.per_sender, directory / "profile"))
            print("\nThe event loop's thread (cProfile slows it; read the shares, not the times):")
            pstats.Stats(str(directory / "profile")).sort_stats("tottime").print_stats(30)
    return 0


if __name__ == "__main__":
    sys.exit(main())
