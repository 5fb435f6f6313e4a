"""Home of the client process: it signs before it is told to start, then offers; a line of JSON an order and answer."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.consensus_offering import Offered, Offering, Order
from benchmarks.consensus_signing import Terms, Transfer, sign_transfers
from benchmarks.load import sender_keys
from benchmarks.processes import end_with_parent

LINE_BYTES_MAX = 1 << 24
ROOT = Path(__file__).parents[1]


class Client:
    """The harness' side of a client process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, senders: int, terms: Terms, first_nonces: Sequence[int] | None = None) -> Client:
        """A client for the accounts of load.sender_keys."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.consensus_client",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            cwd=ROOT,
            preexec_fn=end_with_parent,
            start_new_session=True,
        )
        client = cls(process)
        await client._ask({"senders": senders, "terms": asdict(terms), "first": first_nonces})
        return client

    async def sign(self, count: int, nodes: int) -> None:
        """Have so many transfers ready, as many for each of the nodes."""
        await self._ask({"sign": count, "nodes": nodes})

    async def offer(self, order: Order) -> dict[str, Any]:
        """Carry out an order; `summary`'s result."""
        return await self._ask({"offer": asdict(order)})

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the client process has ended; its errors are above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the client: {answer['error']}")
        return answer

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class _Served:
    """The process' own side."""

    def __init__(self, senders: int, terms: Terms, first: Sequence[int] | None) -> None:
        self._keys = sender_keys(senders)
        self._terms = terms
        self._next = list(first or [0] * senders)
        self._ready: list[Transfer] = []

    def sign(self, count: int, nodes: int) -> None:
        ready = Counter(transfer.sender % nodes for transfer in self._ready)
        missing = count - nodes * min(ready[node] for node in range(nodes))
        if missing <= 0:
            return
        signed = sign_transfers(self._keys, self._next, missing, self._terms)
        for transfer in signed:
            self._next[transfer.sender] = max(self._next[transfer.sender], transfer.nonce + 1)
        self._ready += signed

    async def offer(self, order: Order) -> dict[str, Any]:
        queues: list[deque[Transfer]] = [deque() for _ in order.urls]
        for transfer in self._ready:
            queues[transfer.sender % len(queues)].append(transfer)
        self._ready = []
        used = _cpu_seconds()
        try:
            offered = await Offering(order, queues).run()
        finally:
            self._ready = sorted(transfer for queue in queues for transfer in queue)
        return summary(offered, _cpu_seconds() - used)


def summary(offered: Offered, cpu_seconds: float) -> dict[str, Any]:
    """What an order came to: waits in seconds; those of transfers that were never included count as far as they go."""
    waits = np.array(offered.waits + offered.missing)
    p50, p95, p99 = np.percentile(waits, (50, 95, 99)) if len(waits) else (0.0, 0.0, 0.0)
    return {
        "seconds": offered.seconds,
        "submitted": offered.submitted,
        "included": len(offered.waits),
        "missing": len(offered.missing),
        "refused": offered.refused,
        "ran_out": offered.ran_out,
        "finality": {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(waits.max(initial=0.0))},
        "blocks": [asdict(block) for block in offered.blocks],
        "client_cpu_seconds": cpu_seconds,
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    served: _Served | None = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if served is None:
                served = _Served(asked["senders"], Terms(**asked["terms"]), asked["first"])
            elif "sign" in asked:
                await loop.run_in_executor(None, served.sign, asked["sign"], asked["nodes"])
            else:
                urls = tuple(asked["offer"].pop("urls"))
                answer = await served.offer(Order(urls=urls, **asked["offer"]))
        except (RuntimeError, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
