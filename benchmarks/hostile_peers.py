"""Home of the question what hostile peers take from an honest network: the same load without them, then with each.

Four validators are real processes on this machine, and so is every hostile peer, which attacks all four over their own
transport. The machine's cores carry the attacker too: its CPU time is told, and it paces itself. Nodes do not ban a
loopback host, so that whoever is cut off is back at once under another node key: more than a host elsewhere can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.consensus import TERMS
from benchmarks.consensus_client import Client
from benchmarks.consensus_network import ROOT, LocalNetwork, Setting, call
from benchmarks.consensus_stage import Offer, Stage, Stages, Target
from benchmarks.hostile_acts import ACTS
from benchmarks.hostile_report import KEPT_SHARE, UNDISTURBED, Phase, judge, table
from benchmarks.processes import cpu_seconds, end_with_parent, machine
from chain.genesis import parse_genesis

VALIDATORS = 4
WARM_UP_SECONDS = 3.0
SETTLE_SECONDS = 3.0  # of an attack before it is measured
RESULTS = Path(__file__).parent / "results" / "hostile-peers.json"


class Measuring:
    """The phases on one network."""

    def __init__(self, network: LocalNetwork, client: Client, options: argparse.Namespace, tell: Callable[[str], None]):
        self._network, self._client, self._options, self._tell = network, client, options, tell
        self._genesis = parse_genesis((network.directory / "genesis.json").read_bytes()).hash
        self.phases: list[Phase] = []

    async def warm_up(self) -> None:
        await self._offer(UNDISTURBED, WARM_UP_SECONDS, ())

    async def run(self, act: str) -> None:
        """Measure the load while somebody acts so."""
        self._tell(act)
        attacker = None if act == UNDISTURBED else self._start(act)
        try:
            if attacker is not None:
                await asyncio.sleep(SETTLE_SECONDS)
            resident = self._resident_mib("VmRSS")
            for node in self._network.nodes:
                Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")  # the peak is now
            before = cpu_seconds(attacker.pid) if attacker else 0.0
            started = time.monotonic()
            stage = await self._offer(act, self._options.seconds, (attacker.pid,) if attacker else ())
            attacked = (cpu_seconds(attacker.pid) - before) / (time.monotonic() - started) if attacker else 0.0
            links, hostile = await self._links()
            done = await self._stop(attacker) if attacker else {}
        finally:
            if attacker is not None and attacker.poll() is None:
                attacker.kill()
                attacker.wait()
        peaks = self._resident_mib("VmHWM")
        self.phases.append(
            Phase(
                act=act,
                included_per_second=stage.included_per_second,
                missing=stage.missing,
                finality_seconds=stage.finality_seconds,
                block_seconds=stage.block_seconds,
                node_cores=round(
                    (stage.cpu_ms_per_transfer or 0) * stage.included * VALIDATORS / 1000 / stage.seconds, 3
                ),
                attacker_cores=round(attacked, 3),
                others_cores=stage.others_busy,
                memory_mib=round(max(peaks), 1),
                memory_growth_mib=round(max(after - was for after, was in zip(peaks, resident, strict=True)), 1),
                honest_links=links,
                hostile=hostile,
                done=done,
            )
        )
        self._network.require_alive()

    async def _offer(self, name: str, seconds: float, attackers: tuple[int, ...]) -> Stage:
        options, nodes = self._options, self._network.nodes
        target = Target(
            urls=tuple(node.url for node in nodes),
            node_pids=tuple(node.process.pid for node in nodes),
            role_pids=attackers,
            quiet_seconds=0.5,
            sent_bytes=_uncounted,
        )
        offer = Offer(
            seconds=seconds, batch=50, lanes=2, window=7000, expected_per_second=options.load, drain_seconds=60.0
        )
        stages = Stages(self._client, target, offer, lambda text: None)
        await stages.run(str(options.load))
        return stages.done[0]

    def _start(self, act: str) -> subprocess.Popen[bytes]:
        ports = [str(node.p2p_port) for node in self._network.nodes] * self._options.peers
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.hostile_peer", act, self._genesis.hex(), *ports],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            preexec_fn=end_with_parent,
            start_new_session=True,
        )

    async def _stop(self, attacker: subprocess.Popen[bytes]) -> dict[str, int]:
        if attacker.poll() is not None:
            raise RuntimeError(f"the hostile peer has ended by itself with status {attacker.returncode}")
        attacker.send_signal(signal.SIGTERM)
        output, _ = await asyncio.to_thread(attacker.communicate, None, 20)
        done: dict[str, int] = json.loads(output)
        return done

    def _resident_mib(self, field: str) -> list[float]:
        """Of each node, VmRSS or VmHWM."""
        found = []
        for node in self._network.nodes:
            lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
            found.append(next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":")))
        return found

    async def _links(self) -> tuple[int, dict[str, float]]:
        """How many connections honest nodes have with each other, and what they count of all others."""
        statuses = [await call(node.url, "learn_status") for node in self._network.nodes]
        networks = [status["network"] for status in statuses]
        honest = {network["nodeId"] for network in networks}
        others = [peer for network in networks for peer in network["peers"] if peer["node"] not in honest]
        counted = {
            "peers": len(others),
            "seconds": round(sum(peer["seconds"] for peer in others), 1),
            "heldBackSeconds": round(sum(peer["heldBackSeconds"] for peer in others), 1),
            "framesIn": sum(peer["framesIn"] for peer in others),
            "bytesIn": sum(peer["bytesIn"] for peer in others),
            "bytesOut": sum(peer["bytesOut"] for peer in others),
            "unfinishedHandshakes": sum(network["handshakes"] for network in networks),
        }
        return sum(len(network["peers"]) for network in networks) - len(others), counted


async def _uncounted() -> int | None:
    """Bytes are not counted here: most would be the attacker's."""
    return None


async def measure(options: argparse.Namespace) -> list[Phase]:
    """One network, the load, and every act in its turn, with undisturbed stretches first, between and last."""
    acts = [UNDISTURBED]
    for place, act in enumerate(options.acts, start=1):
        acts += [act, *([UNDISTURBED] if place % 4 == 0 or place == len(options.acts) else [])]
    setting = Setting(validators=VALIDATORS, senders=options.senders)
    with tempfile.TemporaryDirectory(prefix="lyceum-hostile-") as temporary:
        async with LocalNetwork(Path(temporary), setting) as network:
            client = await Client.start(setting.senders, TERMS)
            started = time.monotonic()

            def tell(text: str) -> None:
                print(f"{time.monotonic() - started:6.0f} s {text}", file=sys.stderr, flush=True)

            measuring = Measuring(network, client, options, tell)
            try:
                await measuring.warm_up()
                for act in acts:
                    await measuring.run(act)
            finally:
                await client.close()
                if options.logs:
                    options.logs.mkdir(parents=True, exist_ok=True)
                    for node in network.nodes:
                        (options.logs / f"{node.folder.name}.log").write_text(node.log())
            await network.stop()
    return measuring.phases


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[2:] if argv is None else argv
    options = read_options(given)
    busy = os.getloadavg()[0]
    phases = uvloop.run(measure(options))
    verdicts = judge(phases)
    print(table(phases, verdicts))
    content: dict[str, Any] = {
        "machine": machine(),
        "load_average_before": round(busy, 1),
        "command": "python -m benchmarks hostile-peers " + " ".join(given),
        "offered_per_second": options.load,
        "hostile_peers_of_each_node": options.peers,
        "acts": {name: sentence for name, (sentence, _) in ACTS.items()},
        "kept_share": KEPT_SHARE,
        "phases": [asdict(phase) for phase in phases],
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


def read_options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks hostile-peers", description=__doc__)
    add = parser.add_argument
    add("--acts", type=_acts, default=list(ACTS), metavar="ACT,...", help=f"those to measure ({','.join(ACTS)})")
    add("--load", type=int, default=800, help="transfers a second that are offered, which the network sustains (800)")
    add("--seconds", type=float, default=20.0, help="of each phase (20)")
    add("--senders", type=int, default=500, help="accounts that send (500)")
    add("--peers", type=int, default=1, help="hostile peers of each node, who act alike (1)")
    add("--json", type=Path, default=RESULTS, metavar="PATH", help="where the results go")
    add("--logs", type=Path, metavar="FOLDER", help="keep the nodes' logs there")
    return parser.parse_args(argv)


def _acts(text: str) -> list[str]:
    acts = text.split(",")
    for act in acts:
        if act not in ACTS:
            raise argparse.ArgumentTypeError(f"{act!r} is none; one of: {', '.join(ACTS)}")
    return acts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
