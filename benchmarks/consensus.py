"""Home of the question what a network of real nodes carries: transfers a second, time to finality, cost of each.

Every validator is a process of its own on this machine, and so is the client, which signs before the clock starts. The
transfers take the whole path: JSON-RPC, recovery of senders, pool, gossip, proposal, votes with their synced logs,
execution, store. Seconds to finality count from when a transfer is due at the client until the node that it follows
tells of its block.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import simulated
from benchmarks.consensus_client import Client
from benchmarks.consensus_compare import measure_other, ratios
from benchmarks.consensus_network import PROFILE_NAME, LocalNetwork, Setting, call
from benchmarks.consensus_profile import summarise, text
from benchmarks.consensus_report import plot, table, verdict_lines
from benchmarks.consensus_rounds import rounds_by_height
from benchmarks.consensus_signing import Terms
from benchmarks.consensus_stage import Offer, Stage, Stages, Target
from benchmarks.consensus_targets import judge
from benchmarks.processes import machine, tree_cpu_seconds
from chain.abi import EVENTS
from chain.genesis import DEVELOPMENT_CHAIN_ID
from chain.types import GWEI

IDLE_SECONDS = 5.0
PROFILED_LOAD = ["1000"]  # a profiler doubles what everything takes
COMPARED_SENDERS_MAX = 200  # what ten accounts can fund
QUIET_SHARE = 0.5  # of the block interval: so long after a block the client need not look for the next one
TERMS = Terms(chain_id=DEVELOPMENT_CHAIN_ID, max_fee_per_gas=100_000 * GWEI, max_priority_fee_per_gas=GWEI)
RESULTS = Path(__file__).parent / "results"


def settings_of(options: argparse.Namespace) -> list[Setting]:
    """Every network to be measured: each size and delay, as it is, with validators down, with learning."""
    variants = [(0, False)]
    variants += [(options.down, False)] if options.down else []
    variants += [(0, True)] if options.learning else []
    return [
        Setting(
            validators=validators,
            down=down,
            delay_ms=delay_ms,
            learning=learning,
            block_interval_ms=round(options.block_interval * 1000),
            senders=options.senders,
        )
        for validators, delay_ms, (down, learning) in product(options.validators, options.delay, variants)
        if 3 * down < validators and not (validators == 1 and delay_ms)
    ]


async def measure(setting: Setting, options: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """One network from its start to its end: stages, idle cost, rounds of learning."""
    with tempfile.TemporaryDirectory(prefix="lyceum-consensus-") as temporary:
        tell("starting")
        async with LocalNetwork(Path(temporary), setting) as network:
            client = await Client.start(setting.senders, TERMS)
            try:
                idle = await idle_cpu_ms(network)
                stages = Stages(client, target_of(network, options), offer_of(options), tell)
                await stages.warm_up()
                for load in options.load:
                    await stages.run(load)
                    network.require_alive()
                settled = await settled_rounds(network, stages.done)
            finally:
                await client.close()
            tell("stopping")
            await network.stop()
            add_rounds(stages.done, rounds_by_height(network.loaded[0].data))
    return {
        "setting": asdict(setting),
        "idle_cpu_ms_per_second_and_node": idle,
        "settled_rounds": settled,
        "stages": [asdict(stage) for stage in stages.done],
    }


def target_of(network: LocalNetwork, options: argparse.Namespace) -> Target:
    urls = tuple(node.url for node in network.loaded)
    return Target(
        urls=urls if options.to == "all" else urls[:1],
        node_pids=tuple(node.process.pid for node in network.loaded),
        role_pids=tuple(process.pid for process in network.roles),
        quiet_seconds=QUIET_SHARE * network.setting.block_interval_ms / 1000,
        sent_bytes=network.sent_bytes,
    )


def offer_of(options: argparse.Namespace) -> Offer:
    return Offer(
        seconds=options.seconds,
        batch=options.batch,
        lanes=options.lanes,
        window=options.window,
        expected_per_second=options.expect,
    )


async def idle_cpu_ms(network: LocalNetwork) -> float:
    """CPU milliseconds a second of a node while blocks are empty, mean over the nodes."""
    pids = [node.process.pid for node in network.loaded]
    used = sum(map(tree_cpu_seconds, pids))
    await asyncio.sleep(IDLE_SECONDS)
    return round((sum(map(tree_cpu_seconds, pids)) - used) * 1000 / IDLE_SECONDS / len(pids), 1)


async def settled_rounds(network: LocalNetwork, stages: Sequence[Stage]) -> int:
    """Rounds of learning that were settled while the stages ran."""
    heights = {"fromBlock": hex(stages[0].first_height), "toBlock": hex(max(stage.last_height for stage in stages))}
    topic = "0x" + EVENTS["RoundSettled"].topic.hex()
    return len(await call(network.loaded[0].url, "eth_getLogs", {**heights, "topics": [topic]}))


def add_rounds(stages: Sequence[Stage], rounds: dict[int, int]) -> None:
    """Note of each stage how many of its blocks were decided after round 0."""
    for stage in stages:
        taken = [rounds[at] for at in range(stage.first_height, stage.last_height + 1) if at in rounds]
        stage.later_rounds = sum(round_ > 0 for round_ in taken)
        stage.highest_round = max(taken, default=0)


# --------------------------------------------------------------------------------------------------------- command


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[2:] if argv is None else argv
    if "--simulated" in given:
        return simulated.main([word for word in given if word != "--simulated"])
    options = read_options(given)
    try:
        status: int = uvloop.run(_until_stopped(_run(options)))
        return status
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nstopped; every process has been ended", file=sys.stderr)
        return 130


async def _until_stopped(job: Any) -> int:
    """Cancelled by SIGTERM as by Ctrl-C, so that everything is cleaned up."""
    task = asyncio.ensure_future(job)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return int(await task)


async def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    if options.profile:
        return await _profile(settings, options)
    busy = os.getloadavg()[0]  # of others: figures of a busy machine are worse
    started = time.monotonic()
    results: list[dict[str, Any]] = []
    for number, setting in enumerate(settings, start=1):

        def tell(text: str, place: str = f"[{number}/{len(settings)}] {setting.name}") -> None:
            print(f"{time.monotonic() - started:6.0f} s {place}: {text}", file=sys.stderr, flush=True)

        results.append(await measure(setting, options, tell))
        write(options, results, None, busy)
    other = None
    if options.compare:
        other = await measure_other(
            options.compare,
            options.senders,
            options.load,
            offer_of(options),
            lambda text: print(f"{time.monotonic() - started:6.0f} s {options.compare}: {text}", file=sys.stderr),
        )
    print(write(options, results, other, busy))
    return 0


async def _profile(settings: Sequence[Setting], options: argparse.Namespace) -> int:
    """Each network once more under a profiler, at saturation, and what it saw."""
    for setting in settings:
        with tempfile.TemporaryDirectory(prefix="lyceum-consensus-") as temporary:
            async with LocalNetwork(Path(temporary), setting, profile=True) as network:
                client = await Client.start(setting.senders, TERMS)
                try:
                    stages = Stages(client, target_of(network, options), offer_of(options), lambda text: None)
                    for load in options.load:
                        await stages.run(load)
                    network.require_alive()
                finally:
                    await client.close()
                await network.stop()
            profiles = summarise([node.folder / PROFILE_NAME for node in network.loaded], options.profile)
        count = sum(stage.included for stage in stages.done)
        found = f"## {setting.name}, {', '.join(options.load)}: {count} transfers, profiled\n{text(profiles)}\n"
        print(found)
        base = options.out.with_name(f"{options.out.name}-profile-{setting.name.replace(', ', '-').replace(' ', '-')}")
        base.parent.mkdir(parents=True, exist_ok=True)
        base.with_suffix(".md").write_text(found)
    return 0


def write(options: argparse.Namespace, results: list[dict[str, Any]], other: dict[str, Any] | None, busy: float) -> str:
    """The figures so far as JSON, Markdown and a plot beside each other; returns the Markdown."""
    measured = [(Setting(**each["setting"]), [Stage(**stage) for stage in each["stages"]]) for each in results]
    verdicts = judge(measured)
    markdown = f"{table(measured)}\n\n{verdict_lines(verdicts)}\n"
    if other:
        theirs = [Stage(**stage) for stage in other["stages"]]
        markdown += "".join(
            f"\n{setting.name}:\n\n{ratios(stages, theirs, other['version'])}\n" for setting, stages in measured
        )
    content = {
        "machine": machine(),
        "load_average_before": round(busy, 1),
        "command": "python -m benchmarks consensus " + " ".join(options.command),
        "measurements": results,
        "compared": other,
        "targets": [asdict(verdict) for verdict in verdicts],
    }
    base: Path = options.out
    base.parent.mkdir(parents=True, exist_ok=True)
    base.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    base.with_suffix(".md").write_text(markdown)
    plot(measured, base.with_suffix(".png"))
    return markdown


def read_options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks consensus", description=__doc__)
    add = parser.add_argument
    add("--validators", type=_numbers, default=[1, 4, 7, 16], metavar="N,N,...", help="sizes of networks (1,4,7,16)")
    add("--load", type=_loads, metavar="LOAD,...", help=_LOAD_HELP)
    add("--seconds", type=float, default=30.0, help="of each load; of each step of a rising one (30)")
    add("--delay", type=_numbers, default=[0], metavar="MS,MS,...", help="from validator to validator, one way (0)")
    add("--down", type=int, default=0, metavar="N", help="measure also with so many validators killed")
    add("--learning", action="store_true", help="measure also while rounds of learning are under way")
    add("--block-interval", type=float, default=1.0, metavar="SECONDS", help="from block to block, at least (1)")
    add("--senders", type=int, default=1000, help="accounts that send (1000)")
    add("--batch", type=int, default=100, help="transfers of a request (100)")
    add("--lanes", type=int, default=4, help="requests in flight to each node (4)")
    add("--window", type=int, default=7000, help="transfers that may be under way; a pool holds 8192 (7000)")
    add("--expect", type=float, default=5000.0, metavar="RATE", help="included/s that the warm-up is signed for (5000)")
    add("--to", choices=("all", "one"), default="all", help="offer to all nodes in turns, or to one (all)")
    add("--out", type=Path, default=RESULTS / "consensus", metavar="PATH", help="results: PATH.json, .md and .png")
    add("--compare", metavar="URL", help="the same load on another node with the same RPC, and ratios to it")
    add("--simulated", action="store_true", help="instead: any number of validators in virtual time (see its --help)")
    add("--profile", type=int, nargs="?", const=25, metavar="LINES", help="instead: where the nodes' CPU time goes")
    options = parser.parse_args(argv)
    options.load = options.load or (PROFILED_LOAD if options.profile else ["saturation", "half"])
    if options.compare:
        options.senders = min(options.senders, COMPARED_SENDERS_MAX)
    out = argv.index("--out") if "--out" in argv else len(argv)
    options.command = [*argv[:out], *argv[out + 2 :]]
    return options


_LOAD_HELP = "saturation, half (of it), rising, or transfers a second (saturation,half; with --profile 1000)"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _loads(text: str) -> list[str]:
    loads = text.split(",")
    for load in loads:
        if load not in ("saturation", "half", "rising") and not load.isdigit():
            raise argparse.ArgumentTypeError(f"{load!r} is no load: give saturation, half, rising, or a number")
    return loads


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
