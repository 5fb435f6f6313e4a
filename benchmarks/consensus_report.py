"""Home of what `consensus` shows: a Markdown table, verdicts on its targets, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.consensus_network import Setting
from benchmarks.consensus_stage import Stage
from benchmarks.consensus_targets import Measured, Verdict

_HEAD = (
    "| network | load | offered/s | included/s (lowest 10 s) | finality p50 | p95 | p99 | CPU ms per transfer and node "
    "| bytes sent per transfer and node | memory peak MiB | blocks | s per block | after round 0 "
    "| cores that others took |"
)
_VERDICTS = {True: "met", False: "NOT MET", None: "not judged"}


def table(measured: Sequence[Measured]) -> str:
    """A row for each stage; finality in seconds from submission."""
    lines = [_HEAD, "|---|---|" + "---|" * 12]
    for setting, stages in measured:
        lines += [_row(setting, stage) for stage in stages]
    lines.append("\nCPU us per transfer and node by thread, those from 1 us on:")
    for setting, stages in measured:
        lines += [f"- {setting.name}, {stage.name}: {_threads(stage)}" for stage in stages]
    return "\n".join(lines)


def _threads(stage: Stage) -> str:
    spent = sorted(stage.cpu_ms_by_thread.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {1000 * each:.0f}" for name, each in spent if each >= 0.001)


def _row(setting: Setting, stage: Stage) -> str:
    finality = stage.finality_seconds
    included = f"{stage.included_per_second:.0f}"
    if stage.lowest_per_second is not None:
        included += f" ({stage.lowest_per_second:.0f})"
    cells = [
        setting.name,
        stage.name,
        "all it takes" if stage.offered_per_second is None else f"{stage.offered_per_second:.0f}",
        included,
        *(f"{finality[name]:.2f}" for name in ("p50", "p95", "p99")),
        _or_dash(stage.cpu_ms_per_transfer, "{:.3f}"),
        _or_dash(stage.sent_bytes_per_transfer, "{:.0f}"),
        _or_dash(stage.memory_peak_mib, "{:.0f}"),
        str(stage.last_height - stage.first_height + 1),
        f"{stage.block_seconds:.2f}",
        _or_dash(stage.later_rounds, "{}"),
        f"{stage.others_busy:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _or_dash(value: Any, shape: str) -> str:
    return "-" if value is None else shape.format(value)


def verdict_lines(verdicts: Sequence[Verdict]) -> str:
    return "\n".join(f"- {verdict.wanted}: {verdict.found} - {_VERDICTS[verdict.met]}" for verdict in verdicts)


def plot(measured: Sequence[Measured], path: Path) -> None:
    """Throughput, time to finality and cost of each network, and of rising loads their curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rising = [(setting, [s for s in stages if s.name.startswith("rising")]) for setting, stages in measured]
    rising = [(setting, stages) for setting, stages in rising if stages]
    figure, axes = pyplot.subplots(1, 3 + bool(rising), figsize=(5 * (3 + bool(rising)), 0.45 * len(measured) + 3.5))
    names = [setting.name for setting, _ in measured]
    rates = [_value(stages, "saturation", _rate) for _, stages in measured]
    _bars(axes[0], names, "included transfers/s at saturation", rates, "{:,.0f}")
    _finality(axes[1], names, [stages for _, stages in measured])
    costs = [_value(stages, "saturation", _cpu) for _, stages in measured]
    _bars(axes[2], names, "CPU ms per transfer and node", costs, "{:.3f}")
    for setting, stages in rising:
        offered = [stage.offered_per_second for stage in stages]
        axes[3].plot(offered, [stage.finality_seconds["p50"] for stage in stages], marker="o", label=setting.name)
    if rising:
        axes[3].set(xlabel="offered transfers/s", title="finality p50, s, under rising load", ylim=(0, None))
        axes[3].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _value(stages: Sequence[Stage], name: str, of: Any) -> float:
    return next((of(stage) or 0.0 for stage in stages if stage.name == name), 0.0)


def _rate(stage: Stage) -> float:
    return stage.included_per_second


def _cpu(stage: Stage) -> float | None:
    return stage.cpu_ms_per_transfer


def _bars(axis: Any, names: Sequence[str], title: str, values: Sequence[float], shape: str) -> None:
    bars = axis.barh(range(len(names)), values, color="#4c72b0")
    axis.bar_label(bars, fmt=shape, padding=2)
    axis.margins(x=0.15)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_title(title)


def _finality(axis: Any, names: Sequence[str], measured: Sequence[Sequence[Stage]]) -> None:
    for place, name in enumerate(("p99", "p95", "p50")):
        values = [_value(stages, "half", lambda stage, name=name: stage.finality_seconds[name]) for stages in measured]
        axis.barh(range(len(names)), values, color=("#c6d3e8", "#8faad0", "#4c72b0")[place], label=name)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_title("submission to finality at half load, s")
    axis.legend()
