"""Home of the question what consensus costs the network: frames, bytes, rounds and delays of a block, for any number.

The real replicas talk over links of one delay, more or less, in virtual time (simulated_world.py). Finality is told in
network delays: 3 are the least that Tendermint takes, for a proposal, the prevotes and the precommits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.simulated_topology import Topology, gossip, mesh
from benchmarks.simulated_world import HeightCount, World

RESULTS = Path(__file__).parent / "results"
MESH_MAX = 64  # as many connections as a node has slots for
WARM_UP_HEIGHTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Medians over the heights of one network; frames and bytes are of all nodes together."""

    validators: int
    topology: str
    peers: float  # of a node, mean
    frames_per_block: float
    bytes_per_block: float
    bytes_per_block_and_node: float
    bytes_by_kind: dict[str, float]  # a block
    frames_by_kind: dict[str, float]
    rounds: float  # mean
    first_final_delays: float  # from the proposal to the first node that has the block final
    median_final_delays: float
    last_final_delays: float
    seconds: float  # it took to simulate


def measure(topology: Topology, options: argparse.Namespace) -> Costs:
    """Simulate a network for some heights."""
    started = time.monotonic()
    world = World(
        topology,
        delay_ms=options.delay,
        jitter_ms=options.jitter,
        transfers=options.transfers,
        seed=options.seed,
    )
    world.run(WARM_UP_HEIGHTS + options.heights)
    counts = [world.heights[WARM_UP_HEIGHTS + place] for place in range(1, options.heights + 1)]
    nodes = len(topology.peers)
    total = statistics.median(count.bytes.total() for count in counts)
    finals = [_delays(count, options.delay) for count in counts]
    return Costs(
        validators=nodes,
        topology=topology.name,
        peers=sum(map(len, topology.peers)) / nodes,
        frames_per_block=statistics.median(count.frames.total() for count in counts),
        bytes_per_block=total,
        bytes_per_block_and_node=total / nodes,
        bytes_by_kind=_means([count.bytes for count in counts]),
        frames_by_kind=_means([count.frames for count in counts]),
        rounds=statistics.fmean(count.rounds for count in counts),
        first_final_delays=statistics.median(each[0] for each in finals),
        median_final_delays=statistics.median(each[len(each) // 2] for each in finals),
        last_final_delays=statistics.median(each[-1] for each in finals),
        seconds=round(time.monotonic() - started, 1),
    )


def _delays(count: HeightCount, delay_ms: int) -> list[float]:
    return sorted((at - count.begun_ms) / delay_ms for at in count.committed_ms)


def _means(counters: Sequence[Counter[str]]) -> dict[str, float]:
    kinds = sorted({kind for counter in counters for kind in counter})
    return {kind: statistics.fmean(counter[kind] for counter in counters) for kind in kinds}


def table(rows: Sequence[Costs]) -> str:
    """Markdown."""
    lines = [
        "| validators | topology | frames per block | KB per block and node | of them votes | proposals "
        "| rounds | network delays to finality: first node | median | last |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        votes = row.bytes_by_kind.get("Votes", 0.0)
        proposals = sum(size for kind, size in row.bytes_by_kind.items() if "Proposal" in kind)
        shares = [row.bytes_per_block_and_node / 1000, votes / row.validators / 1000, proposals / row.validators / 1000]
        lines.append(
            f"| {row.validators} | {row.topology} | {row.frames_per_block:.0f} | {shares[0]:.1f} | {shares[1]:.1f} "
            f"| {shares[2]:.1f} | {row.rounds:.2f} | {row.first_final_delays:.2f} | {row.median_final_delays:.2f} "
            f"| {row.last_final_delays:.2f} |"
        )
    return "\n".join(lines)


def plot(rows: Sequence[Costs], path: Path) -> None:
    """Bytes and delays over the number of validators."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.5))
    for topology in dict.fromkeys(row.topology for row in rows):
        chosen = [row for row in rows if row.topology == topology]
        sizes = [row.validators for row in chosen]
        axes[0].plot(sizes, [row.frames_per_block for row in chosen], marker="o", label=topology)
        axes[1].plot(sizes, [row.bytes_per_block_and_node / 1000 for row in chosen], marker="o", label=topology)
        axes[2].plot(sizes, [row.last_final_delays for row in chosen], marker="o", label=topology)
    axes[0].set(xscale="log", yscale="log", xlabel="validators", title="frames per block, all nodes")
    axes[1].set(xscale="log", yscale="log", xlabel="validators", title="KB sent per block and node")
    axes[2].set(xscale="log", xlabel="validators", title="network delays until all have it final", ylim=(0, None))
    for axis in axes:
        axis.legend()
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    options = read_options(argv)
    topologies = [mesh(size) for size in options.sizes if size <= options.mesh_max]
    topologies += [gossip(size, options.degree, options.seed) for size in options.sizes if size > options.degree + 1]
    rows = []
    for topology in topologies:
        rows.append(measure(topology, options))
        print(f"{rows[-1].seconds:6.1f} s {rows[-1].validators} validators, {topology.name}", file=sys.stderr)
    print(table(rows))
    write(rows, options)
    return 0


def write(rows: Sequence[Costs], options: argparse.Namespace) -> None:
    base: Path = options.out
    base.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        name: getattr(options, name) for name in ("heights", "delay", "jitter", "transfers", "degree", "seed")
    }
    content = {"settings": settings, "costs": [asdict(row) for row in rows]}
    base.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    base.with_suffix(".md").write_text(table(rows) + "\n")
    plot(rows, base.with_suffix(".png"))


def read_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks simulated", description=__doc__)
    add = parser.add_argument
    add("--sizes", type=_numbers, default=[4, 7, 16, 32, 64, 100, 200], metavar="N,N,...", help="numbers of validators")
    add("--heights", type=int, default=5, help="measured, after two that are not (5)")
    add("--delay", type=int, default=100, metavar="MS", help="of a link, one way, at least 10 (100)")
    add("--jitter", type=int, default=10, metavar="MS", help="a message takes up to so much more or less (10)")
    add("--transfers", type=int, default=500, help="in each block (500)")
    add("--degree", type=int, default=8, help="least peers of a node in the gossip topology (8)")
    add("--mesh-max", type=int, default=MESH_MAX, help=f"no full mesh of more nodes ({MESH_MAX})")
    add("--seed", type=int, default=1)
    add("--out", type=Path, default=RESULTS / "simulated", metavar="PATH", help="results: PATH.json, .md and .png")
    return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
