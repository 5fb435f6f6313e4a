"""Home of what comes of an attack that is measured: figures of each phase, and how they compare with peace."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

KEPT_SHARE = 0.8  # of the throughput without
MEMORY_GROWTH_MIB_MAX = 64.0  # of a node in a phase: eight connections' queues; it grows by half as much undisturbed
UNDISTURBED = "undisturbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of time under the load, and what the network came to in it."""

    act: str
    included_per_second: float
    missing: int
    finality_seconds: dict[str, float]
    block_seconds: float
    node_cores: float  # all nodes together
    attacker_cores: float
    others_cores: float  # everything else on the machine, but for the client
    memory_mib: float  # the largest node's most in this phase
    memory_growth_mib: float  # the same less what the node had when the phase began, the largest such
    honest_links: int  # connections between the honest nodes at the end, each seen from both sides
    hostile: dict[str, float]  # what nodes count of hostile peers that are connected at the end, all together
    done: dict[str, int]  # what the attacker counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A phase beside the undisturbed ones."""

    act: str
    throughput_ratio: float
    finality_p50_ratio: float
    holds: bool


def judge(phases: list[Phase]) -> list[Verdict]:
    """Each phase beside the mean of the undisturbed ones."""
    calm = [phase for phase in phases if phase.act == UNDISTURBED]
    throughput = mean(phase.included_per_second for phase in calm)
    finality = mean(phase.finality_seconds["p50"] for phase in calm)
    return [
        Verdict(
            act=phase.act,
            throughput_ratio=round(phase.included_per_second / throughput, 3),
            finality_p50_ratio=round(phase.finality_seconds["p50"] / finality, 2),
            holds=phase.included_per_second >= KEPT_SHARE * throughput
            and not phase.missing
            and phase.memory_growth_mib <= MEMORY_GROWTH_MIB_MAX,
        )
        for phase in phases
    ]


def table(phases: list[Phase], verdicts: list[Verdict]) -> str:
    lines = [
        "| hostile peer | included/s | ratio | finality p50 / p99, s | cores: nodes, attacker, others | "
        "most memory of a node, MiB (growth) | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    for phase, verdict in zip(phases, verdicts, strict=True):
        waits = phase.finality_seconds
        lines.append(
            f"| {phase.act} | {phase.included_per_second:.0f} | {verdict.throughput_ratio:.2f} | "
            f"{waits['p50']:.2f} / {waits['p99']:.2f} | "
            f"{phase.node_cores:.2f}, {phase.attacker_cores:.2f}, {phase.others_cores:.2f} | "
            f"{phase.memory_mib:.0f} ({phase.memory_growth_mib:+.0f}) | {'yes' if verdict.holds else 'NO'} |"
        )
    return "\n".join(lines)
