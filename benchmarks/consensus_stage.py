"""Home of one stage of a measurement: transfers offered for a while, and what they and the nodes came to."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.consensus_client import Client
from benchmarks.consensus_offering import Order
from benchmarks.processes import (
    cpu_seconds,
    cpu_seconds_by_thread,
    machine_cpu_seconds,
    tree_cpu_seconds,
    tree_memory_peak_bytes,
)

SUSTAINED_SECONDS = 10.0
SIGNED_BEYOND = 1.5  # of what the last stage's rate lets expect
WARM_UP_SECONDS = 4.0
STEP_FACTOR = 1.5
KEPT_UP = 0.95  # a step of a rising load is kept up with if this share of what is offered is included


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """How every stage of a run offers: see consensus_offering.Order."""

    seconds: float
    batch: int
    lanes: int
    window: int
    expected_per_second: float  # at saturation, by which the first transfers are signed
    drain_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Nodes under load. `sent_bytes` tells what they have sent to each other so far, None where nobody counts."""

    urls: tuple[str, ...]
    node_pids: tuple[int, ...]
    role_pids: tuple[int, ...]
    quiet_seconds: float
    sent_bytes: Callable[[], Awaitable[int | None]]


@dataclass(slots=True, kw_only=True)
class Stage:
    """What one stage came to. Milliseconds and bytes a transfer are of one node, means over the nodes."""

    name: str
    offered_per_second: float | None  # None: as many as were included
    seconds: float
    submitted: int
    included: int
    missing: int  # never included
    refused: int
    ran_out: bool
    included_per_second: float
    lowest_per_second: float | None  # over any ten seconds
    finality_seconds: dict[str, float]
    cpu_ms_per_transfer: float | None
    cpu_ms_by_thread: dict[str, float]
    roles_cpu_ms_per_second: float
    sent_bytes_per_transfer: float | None
    memory_peak_mib: float | None  # the largest of the nodes so far
    client_busy: float  # cores
    others_busy: float  # cores that everything else on the machine took meanwhile: where there is much, read with care
    first_height: int
    last_height: int
    largest_block: int
    block_seconds: float  # mean time between blocks
    later_rounds: int | None = None  # blocks that were decided after round 0
    highest_round: int | None = None


def steady_rate(blocks: Sequence[dict[str, Any]], seconds: float) -> float:
    """Transfers a second between the first block with any and the last one in the time."""
    held = [block for block in blocks if block["at"] <= seconds]
    while held and not held[0]["transfers"]:
        held.pop(0)
    if len(held) < 2:
        return float(sum(block["transfers"] for block in held) / seconds)
    return float(sum(block["transfers"] for block in held[1:]) / max(held[-1]["at"] - held[0]["at"], 1e-3))


def lowest_rate(blocks: Sequence[dict[str, Any]], seconds: float) -> float | None:
    """The least transfers a second over any SUSTAINED_SECONDS from one block to another; None for less time."""
    held = [block for block in blocks if block["at"] <= seconds]
    while held and not held[0]["transfers"]:
        held.pop(0)
    rates = []
    for place, first in enumerate(held):
        total = 0
        for block in held[place + 1 :]:
            total += block["transfers"]
            if block["at"] - first["at"] >= SUSTAINED_SECONDS:
                rates.append(total / (block["at"] - first["at"]))
                break
    return min(rates, default=None)


class Stages:
    """Stages one after the other on one target, by one client."""

    def __init__(self, client: Client, target: Target, offer: Offer, tell: Callable[[str], None]) -> None:
        self._client, self._target, self._offer, self._tell = client, target, offer, tell
        self._expected = offer.expected_per_second
        self.saturation: Stage | None = None
        self.done: list[Stage] = []

    async def warm_up(self) -> None:
        """Let everything be loaded that the first transfers load, and see what rate to expect."""
        stage = await self._run("warm-up", None, WARM_UP_SECONDS)
        self._expected = stage.included_per_second

    async def run(self, load: str) -> None:
        """`saturation`, `half` of it, `rising` rates, or a rate in transfers a second."""
        seconds = self._offer.seconds
        if load == "saturation":
            self.saturation = await self._keep("saturation", None, seconds)
            self._expected = self.saturation.included_per_second
        elif load == "half":
            if self.saturation is None:
                await self.run("saturation")
            assert self.saturation is not None
            await self._keep("half", self.saturation.included_per_second / 2, seconds)
        elif load == "rising":
            await self._rise(seconds)
        else:
            await self._keep(f"{load}/s", float(load), seconds)

    async def _rise(self, seconds: float) -> None:
        """Steps of a rising rate until one is not kept up with."""
        rate = max(20.0, self._expected / 16)
        while True:
            stage = await self._keep(f"rising, {rate:.0f}/s", rate, seconds)
            if stage.included_per_second < KEPT_UP * rate or stage.missing or stage.ran_out:
                return
            rate *= STEP_FACTOR

    async def _keep(self, name: str, rate: float | None, seconds: float) -> Stage:
        stage = await self._run(name, rate, seconds)
        self.done.append(stage)
        return stage

    async def _run(self, name: str, rate: float | None, seconds: float) -> Stage:
        target, offer = self._target, self._offer
        count = int((rate or SIGNED_BEYOND * self._expected) * seconds) + offer.batch * len(target.urls)
        self._tell(f"{name}: signing {count} transfers")
        await self._client.sign(max(count, offer.window) if rate is None else count, len(target.urls))
        order = Order(
            urls=target.urls,
            follow=target.urls[0],
            seconds=seconds,
            batch=offer.batch,
            lanes=offer.lanes,
            window=offer.window,
            rate=rate,
            quiet_seconds=target.quiet_seconds,
            drain_seconds=offer.drain_seconds,
        )
        self._tell(f"{name}: {'as many as are included' if rate is None else f'{rate:.0f}/s'} for {seconds:.0f} s")
        sent, threads = await target.sent_bytes(), self._by_thread()
        cpu, roles_cpu, machine_cpu, started = self._cpu(), self._roles_cpu(), self._others_cpu(), time.monotonic()
        told = await self._client.offer(order)
        took, cpu, roles_cpu = time.monotonic() - started, self._cpu() - cpu, self._roles_cpu() - roles_cpu
        others = self._others_cpu() - machine_cpu - told["client_cpu_seconds"]
        sent_after, threads_after = await target.sent_bytes(), self._by_thread()
        blocks, nodes = told["blocks"], max(1, len(target.node_pids))
        included = max(1, told["included"])
        carried = None if sent is None or sent_after is None else (sent_after - sent) / included / nodes
        memory = max((tree_memory_peak_bytes(pid) for pid in target.node_pids), default=None)
        return Stage(
            name=name,
            offered_per_second=rate,
            seconds=round(told["seconds"], 3),
            submitted=told["submitted"],
            included=told["included"],
            missing=told["missing"],
            refused=told["refused"],
            ran_out=told["ran_out"],
            included_per_second=round(steady_rate(blocks, told["seconds"]), 1),
            lowest_per_second=_rounded(lowest_rate(blocks, told["seconds"]), 1),
            finality_seconds={name: round(value, 4) for name, value in told["finality"].items()},
            cpu_ms_per_transfer=round(cpu * 1000 / included / nodes, 4) if target.node_pids else None,
            cpu_ms_by_thread={
                name: round((at - threads.get(name, 0.0)) * 1000 / included / nodes, 4)
                for name, at in sorted(threads_after.items())
            },
            roles_cpu_ms_per_second=round(roles_cpu * 1000 / took, 1),
            sent_bytes_per_transfer=_rounded(carried, 1),
            memory_peak_mib=_rounded(None if memory is None else memory / 2**20, 1),
            client_busy=round(told["client_cpu_seconds"] / took, 4),
            others_busy=round(max(0.0, others) / took, 3),
            first_height=blocks[0]["height"] if blocks else 0,
            last_height=blocks[-1]["height"] if blocks else -1,
            largest_block=max((block["transactions"] for block in blocks), default=0),
            block_seconds=round(_mean_gap([block["at"] for block in blocks]), 4),
        )

    def _cpu(self) -> float:
        return sum(tree_cpu_seconds(pid) for pid in self._target.node_pids)

    def _others_cpu(self) -> float:
        """CPU seconds of all processes but nodes, roles and this one."""
        return machine_cpu_seconds() - self._cpu() - self._roles_cpu() - cpu_seconds(os.getpid())

    def _by_thread(self) -> dict[str, float]:
        """CPU seconds of all nodes' threads by name."""
        total: dict[str, float] = {}
        for pid in self._target.node_pids:
            for name, spent in cpu_seconds_by_thread(pid).items():
                total[name] = total.get(name, 0.0) + spent
        return total

    def _roles_cpu(self) -> float:
        return sum(tree_cpu_seconds(pid) for pid in self._target.role_pids)


def _mean_gap(times: Sequence[float]) -> float:
    gaps = [after - before for before, after in pairwise(times)]
    return sum(gaps) / len(gaps) if gaps else 0.0


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
