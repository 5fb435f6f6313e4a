"""Home of the question how fast a newcomer catches up: each block executed and each round judged again, or by snapshot.

A chain of real blocks with transfers and settled rounds is made at once. First its blocks are executed in this process,
to tell what each step costs; then a node process serves the chain to a new one over loopback, with `--sync full` and
with `--sync snap`. What is told beside the time is how many times faster that is than blocks of one second were made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.processes import cpu_seconds, free_port, machine, stop
from benchmarks.sync_chain import make_chain
from chain.block_worker import read_blocks
from chain.codec import decode_block
from chain.crypto import recover_many
from chain.executor import Chain
from chain.genesis import parse_genesis
from chain.network.messages import Blocks
from chain.pool.intake import decode_committed
from chain.storage.statetree import warm
from chain.storage.store import Store

T = TypeVar("T")

START_SECONDS = 90.0
SYNC_SECONDS = 1200.0
POLL_SECONDS = 0.1
BLOCK_SECONDS = 1.0  # what blocks are made in, by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """One newcomer. Seconds are from the start of its process; `ready` is when its RPC answered."""

    mode: str
    ready_seconds: float
    seconds: float
    blocks_per_second: float  # from when the first block was asked for
    times_as_fast_as_made: float
    cpu_seconds: float  # of the newcomer
    server_cpu_seconds: float
    verified: dict[str, Any]  # what `python -m chain verify` says of the newcomer's directory


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks sync")
    parser.add_argument("--blocks", type=int, default=1000, metavar="N", help="blocks of the chain (1000)")
    parser.add_argument("--transfers", type=int, default=100, metavar="N", help="transfers of each block (100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lyceum-sync-") as scratch:
        figures = measure(Path(scratch), arguments.blocks, arguments.transfers)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def measure(folder: Path, blocks: int, transfers: int) -> dict[str, Any]:
    """All figures, told as they come."""
    started = time.monotonic()
    settled = make_chain(folder / "made", blocks, transfers)
    made = time.monotonic() - started
    print(
        f"{blocks} blocks with {transfers} transfers each and {settled} settlements: made in {made:.1f} s", flush=True
    )
    stages = execute_alone(folder)
    per_block = sum(stages.values())
    told = ", ".join(f"{stage} {spent:.2f}" for stage, spent in stages.items())
    print(f"executed in one thread: {1000 / per_block:.0f} blocks/s; ms a block: {told}", flush=True)
    runs = []
    with serving(folder) as server:
        for mode in ("full", "snap"):
            run = newcomer(folder, mode, blocks, settled, server)
            print(
                f"--sync {mode}: in step after {run.seconds:.1f} s ({run.ready_seconds:.1f} s to start), "
                f"{run.blocks_per_second:.0f} blocks/s, {run.times_as_fast_as_made:.0f} times as fast as made; "
                f"CPU {run.cpu_seconds:.1f} s, of the server {run.server_cpu_seconds:.1f} s",
                flush=True,
            )
            runs.append(asdict(run))
    return {
        "machine": machine(),
        "blocks": blocks,
        "transfersPerBlock": transfers,
        "settlements": settled,
        "madeSeconds": round(made, 1),
        "milliseconds": {stage: round(spent, 3) for stage, spent in stages.items()},
        "runs": runs,
    }


# ------------------------------------------------------------------------------------------------------------ stages


def execute_alone(folder: Path) -> dict[str, float]:
    """Milliseconds a block of each step, from its encoding to its commit on the disk."""
    warm()
    recover_many(())
    spent: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = work()
        spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - started
        return result

    genesis = parse_genesis((folder / "made" / "genesis.json").read_bytes())
    with (
        Store.open(folder / "made", create=False) as source,
        Store.open(folder / "alone", create=True, genesis=genesis.hash) as store,
    ):
        made, chain = Chain(source, genesis), Chain(store, genesis)
        while chain.tip.height < made.tip.height:
            sent = read_blocks(made, 0, chain.tip.height + 1, 32)
            assert isinstance(sent, Blocks)
            for encoded, commit in sent.blocks:
                block = timed("decode", lambda encoded=encoded: decode_block(encoded))  # type: ignore[misc]
                raws = block.transactions
                transactions = timed("senders", lambda raws=raws: decode_committed(raws, genesis.chain_id))  # type: ignore[misc]
                prepared = timed("execute", lambda b=block, t=transactions: chain.check(b, t))  # type: ignore[misc]
                timed("commit", lambda p=prepared, c=commit: chain.commit(p, c))  # type: ignore[misc]
        assert chain.tip_hash == made.tip_hash
        return {stage: seconds / made.tip.height * 1000 for stage, seconds in spent.items()}


# --------------------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    process: subprocess.Popen[bytes]
    rpc_port: int
    p2p_port: int

    def call(self, method: str, *parameters: Any) -> Any:
        """The result of a call, None while nobody answers."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rpc_port}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.loads(response.read())["result"]
        except OSError:
            return None

    def wait(self, done: Callable[[], bool], seconds: float) -> float:
        """Seconds until something holds. RuntimeError if it does not in time, or the process has ended."""
        started = time.monotonic()
        while not done():
            if self.process.poll() is not None or time.monotonic() - started > seconds:
                raise RuntimeError("the node did not get there; see its log")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started


def start(folder: Path, name: str, *options: str) -> Process:
    """A node process on the data directory of this name."""
    rpc, p2p = free_port(), free_port()
    command = [sys.executable, "-m", "chain", "run", "--data-dir", str(folder / name), "--quiet", "--no-mine"]
    command += ["--rpc-port", str(rpc), "--p2p-host", "127.0.0.1", "--p2p-port", str(p2p), *options]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return Process(process=process, rpc_port=rpc, p2p_port=p2p)


@contextmanager
def serving(folder: Path) -> Any:
    """A node that has the chain, and follows it."""
    server = start(folder, "made")
    try:
        server.wait(lambda: server.call("eth_blockNumber") is not None, START_SECONDS)
        yield server
    finally:
        stop(server.process)


def newcomer(folder: Path, mode: str, blocks: int, settled: int, server: Process) -> Sync:
    """A node in an empty directory, from its start until it has the last block; then what it has is verified."""
    genesis = folder / f"{mode}.json"
    shutil.copy(folder / "made" / "genesis.json", genesis)
    server_before = cpu_seconds(server.process.pid)
    node = start(folder, mode, "--genesis", str(genesis), "--peer", f"127.0.0.1:{server.p2p_port}", "--sync", mode)
    try:
        ready = node.wait(lambda: node.call("eth_blockNumber") is not None, START_SECONDS)
        wanted = server.call("eth_getBlockByNumber", "latest", False)
        waited = node.wait(
            lambda: (node.call("eth_getBlockByNumber", "latest", False) or {}).get("hash") == wanted["hash"],
            SYNC_SECONDS,
        )
        spent = cpu_seconds(node.process.pid)
    finally:
        stop(node.process)
    return Sync(
        mode=mode,
        ready_seconds=round(ready, 2),
        seconds=round(ready + waited, 2),
        blocks_per_second=round(blocks / max(waited if mode == "full" else ready + waited, POLL_SECONDS), 1),
        times_as_fast_as_made=round(blocks * BLOCK_SECONDS / (ready + waited), 1),
        cpu_seconds=round(spent, 2),
        server_cpu_seconds=round(cpu_seconds(server.process.pid) - server_before, 2),
        verified=verify(folder, mode, settled),
    )


def verify(folder: Path, name: str, settled: int) -> dict[str, Any]:
    """What was synced, computed anew; a full sync must have judged every settlement before it was committed."""
    command = [sys.executable, "-m", "chain", "verify", "--data-dir", str(folder / name), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the newcomer's directory is not verified: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    if name == "full":
        assert found["settlements"] == settled, found
        assert "is not checked here" not in (folder / f"{name}.log").read_text()
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
