"""Home of the question what a transfer costs a node: included a second, and CPU time of the node's process for each.

One node process with 1 s blocks, the whole path: JSON-RPC, recovery of senders, pool, execution, state root, receipts,
consensus with its synced log, and the store. The transfers are signed before the clock starts, each goes to a new
account. Modes take turns for several repetitions in one node, figures are medians; what an idle node takes is told,
not taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.connection import Connection
from benchmarks.load import Load, presigned, sender_addresses
from benchmarks.processes import cpu_seconds, cpu_seconds_by_thread, free_port, machine, stop
from benchmarks.transfer_stages import measure_stages
from chain.crypto import address_of
from chain.genesis import DEVELOPMENT_CHAIN_ID, genesis_json
from chain.keys import load_or_make_plain_key
from chain.types import COIN

MODES = {"single calls": (1, 32), "batches of 100": (100, 4)}  # calls a request, requests in flight
START_SECONDS = 60
IDLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one repetition of one mode gave; `threads` is CPU milliseconds a transfer by thread."""

    mode: str
    transfers: int
    included_per_second: float
    cpu_ms_per_transfer: float
    threads: dict[str, float]
    blocks: int
    largest_block: int
    slowest_answer_ms: float  # to a call for the height, sent 20 times a second


def write_network(directory: Path, senders: int) -> None:
    """A genesis with funded senders and one validator whose key lies beside it."""
    key = load_or_make_plain_key(directory / "validator.key")
    genesis = genesis_json(
        chain_id=DEVELOPMENT_CHAIN_ID,
        time_ms=time.time_ns() // 1_000_000,
        balances=dict.fromkeys(sender_addresses(senders), 10_000 * COIN),
        validators=[(address_of(key), 1_000_000, 1_000 * COIN)],
        tasks=[],
        parameters={},
    )
    (directory / "genesis.json").write_bytes(genesis)


def start_node(directory: Path, port: int, profile: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "chain", "run", "--data-dir", str(directory / "data")]
    command += ["--genesis", str(directory / "genesis.json"), "--validator", str(directory / "validator.key")]
    command += ["--rpc-port", str(port), "--quiet"]
    if profile:
        command += ["--profile", str(profile)]
    with (directory / "node.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


async def wait_ready(port: int, node: subprocess.Popen[bytes], log: Path) -> None:
    """Until the first block. RuntimeError with the node's log if it does not come."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and node.poll() is None:
        try:
            connection = await Connection.open(port)
            height = int(await connection.call("eth_blockNumber"), 16)
            connection.close()
            if height:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the node did not come up:\n{log.read_text()}")


async def measure(port: int, pid: int, mode: str, raws: Sequence[bytes]) -> Run:
    """One repetition: from the first request until the last transfer is in a block."""
    load = Load(port, *MODES[mode])
    cpu, threads = cpu_seconds(pid), cpu_seconds_by_thread(pid)
    seconds = await load.run(raws)
    cpu = cpu_seconds(pid) - cpu
    by_thread = {name: at - threads.get(name, 0.0) for name, at in cpu_seconds_by_thread(pid).items()}
    return Run(
        mode=mode,
        transfers=len(raws),
        included_per_second=round(len(raws) / seconds, 1),
        cpu_ms_per_transfer=round(cpu * 1000 / len(raws), 4),
        threads={name: round(spent * 1000 / len(raws), 4) for name, spent in by_thread.items() if spent},
        blocks=len(load.blocks),
        largest_block=max(load.blocks),
        slowest_answer_ms=round(max(load.answer_seconds) * 1000, 1),
    )


async def idle_cpu_ms(pid: int) -> float:
    """CPU milliseconds a second of a node that makes empty blocks."""
    cpu = cpu_seconds(pid)
    await asyncio.sleep(IDLE_SECONDS)
    return round((cpu_seconds(pid) - cpu) * 1000 / IDLE_SECONDS, 1)


async def play(directory: Path, options: argparse.Namespace, profile: Path | None) -> tuple[list[Run], float]:
    """All repetitions in one fresh node, and what it takes idle."""
    write_network(directory, options.senders)
    port = free_port()
    node = start_node(directory, port, profile)
    try:
        await wait_ready(port, node, directory / "node.log")
        idle = await idle_cpu_ms(node.pid)
        nonce, runs = 0, []
        for repetition in range(options.repetitions + 1):  # the first one warms up
            for mode in options.modes:
                count = options.per_sender if repetition else 1
                raws = list(presigned(options.senders, range(nonce, nonce + count)))
                nonce += count
                runs.append(await measure(port, node.pid, mode, raws))
        return runs[len(options.modes) :], idle
    finally:
        stop(node)


def summarise(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Medians over the repetitions of each mode."""
    summary: dict[str, dict[str, Any]] = {}
    for mode in dict.fromkeys(run.mode for run in runs):
        chosen = [run for run in runs if run.mode == mode]
        names = sorted({name for run in chosen for name in run.threads})
        summary[mode] = {
            "transfers": sum(run.transfers for run in chosen),
            "included_per_second": _median(run.included_per_second for run in chosen),
            "cpu_ms_per_transfer": _median(run.cpu_ms_per_transfer for run in chosen),
            "cpu_ms_per_transfer_range": [
                min(run.cpu_ms_per_transfer for run in chosen),
                max(run.cpu_ms_per_transfer for run in chosen),
            ],
            "threads": {name: _median(run.threads.get(name, 0.0) for run in chosen) for name in names},
            "largest_block": max(run.largest_block for run in chosen),
            "slowest_answer_ms": _median(run.slowest_answer_ms for run in chosen),
        }
    return summary


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 4)


def table(summary: dict[str, dict[str, Any]], idle: float) -> str:
    lines = [
        "| mode | transfers | included/s | CPU ms per transfer (lowest, highest) | largest block | slowest answer ms |",
        "|---|---|---|---|---|---|",
    ]
    for mode, row in summary.items():
        low, high = row["cpu_ms_per_transfer_range"]
        lines.append(
            f"| {mode} | {row['transfers']} | {row['included_per_second']} | {row['cpu_ms_per_transfer']} "
            f"({low}, {high}) | {row['largest_block']} | {row['slowest_answer_ms']} |"
        )
    lines.append(f"\nIdle, with empty blocks, the node takes {idle} CPU ms a second. CPU us per transfer by thread:")
    for mode, row in summary.items():
        shares = ", ".join(f"{name} {1000 * spent:.1f}" for name, spent in row["threads"].items() if spent >= 0.0005)
        lines.append(f"- {mode}: {shares}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    busy = os.getloadavg()[0]  # of others: figures of a busy machine are higher
    with tempfile.TemporaryDirectory() as temporary:
        runs, idle = uvloop.run(play(Path(temporary), options, None))
    with tempfile.TemporaryDirectory() as temporary:
        write_network(Path(temporary), options.senders)
        stages = measure_stages(Path(temporary), options.senders)
    summary = summarise(runs)
    print(table(summary, idle))
    print("\nEach stage alone, CPU us per transfer; the rest is HTTP, consensus with its log, and changes of threads:")
    print(*(f"  {spent:6.2f}  {stage}" for stage, spent in stages.items()), sep="\n")
    if options.json:
        content = {
            "machine": machine(),
            "load_average_before": round(busy, 1),
            "senders": options.senders,
            "idle_cpu_ms_per_second": idle,
            "medians": summary,
            "stages_cpu_us_per_transfer": stages,
            "runs": [asdict(run) for run in runs],
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.profile:
        show_profile(options)
    return 0


def show_profile(options: argparse.Namespace) -> None:
    """Another node for each mode, under cProfile, which makes calls look costlier than they are: read shares only."""
    for mode in options.modes:
        with tempfile.TemporaryDirectory() as temporary:
            profile = Path(temporary) / "profile"
            chosen = argparse.Namespace(**{**vars(options), "modes": [mode], "repetitions": 1})
            uvloop.run(play(Path(temporary), chosen, profile))
            for thread in ("", ".chain", ".senders"):
                print(f"\n{mode}, {thread[1:] or 'event loop'}:")
                print(*shares(profile.with_name(profile.name + thread), options.profile), sep="\n")


def shares(path: Path, lines: int) -> list[str]:
    """The functions that take most of a thread's processor time, themselves, with their shares of it."""
    spent = pstats.Stats(str(path)).stats.items()  # type: ignore[attr-defined]
    total = sum(row[2] for _, row in spent)
    ordered = sorted(spent, key=lambda item: -item[1][2])[:lines]
    return [
        f"  {100 * row[2] / total:5.1f} %  {row[1]:>8} calls  {'/'.join(file.split('/')[-2:])}:{line} {function}"
        for (file, line, function), row in ordered
        if row[2] > total / 1000
    ]


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks transfers", description=__doc__)
    parser.add_argument("--senders", type=int, default=1000)
    parser.add_argument("--per-sender", type=int, default=20, help="transfers of a sender in each repetition")
    parser.add_argument("--repetitions", type=int, default=5, help="of each mode, in turns")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--profile", type=int, nargs="?", const=30, metavar="LINES", help="also where time goes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
