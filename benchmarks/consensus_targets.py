"""Home of what a network of four validators on two cores shall reach, and of saying whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.consensus_network import Setting
from benchmarks.consensus_stage import Stage

CPU_MS_MAX = 0.15
INCLUDED_PER_SECOND_MIN = 1_000
INCLUDED_PER_SECOND_GOAL = 3_000
SUSTAINED_SECONDS = 60
FINALITY_BEYOND_INTERVAL_SECONDS = 0.3
SHARE_WITH_ONE_DOWN_MIN = 0.7
INTERVALS_WITH_ONE_DOWN = 3

Measured: TypeAlias = "tuple[Setting, Sequence[Stage]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`met` is None where it was not measured; `found` says then what is missing."""

    wanted: str
    found: str
    met: bool | None


def judge(measured: Sequence[Measured]) -> list[Verdict]:
    """A verdict on every target."""
    full = _stages(measured, down=0)
    one_down = _stages(measured, down=1)
    return [*_with_all(full), *_with_one_down(full, one_down)]


def _stages(measured: Sequence[Measured], down: int) -> dict[str, tuple[Setting, Stage]]:
    """The stages of four validators without delays and without learning."""
    return {
        stage.name: (setting, stage)
        for setting, stages in measured
        if (setting.validators, setting.down, setting.delay_ms, setting.learning) == (4, down, 0, False)
        for stage in stages
    }


def _with_all(full: dict[str, tuple[Setting, Stage]]) -> list[Verdict]:
    cpu = f"4 validators: at most {CPU_MS_MAX} CPU ms per transfer and node"
    rate = "4 validators: at least {} included transfers/s for " + f"{SUSTAINED_SECONDS} s"
    finality = f"4 validators, half load: finality p50 at most block interval + {FINALITY_BEYOND_INTERVAL_SECONDS} s"
    verdicts = []
    if "saturation" in full:
        _, stage = full["saturation"]
        spent = stage.cpu_ms_per_transfer
        verdicts.append(Verdict(wanted=cpu, found=f"{spent} ms", met=spent is not None and spent <= CPU_MS_MAX))
        found = f"{stage.included_per_second:.0f}/s over {stage.seconds:.0f} s"
        if stage.lowest_per_second is not None:
            found += f", the lowest ten seconds {stage.lowest_per_second:.0f}/s"
        for least in (INCLUDED_PER_SECOND_MIN, INCLUDED_PER_SECOND_GOAL):
            met = stage.included_per_second >= least
            long_enough = stage.seconds >= SUSTAINED_SECONDS and not stage.ran_out
            verdicts.append(Verdict(wanted=rate.format(least), found=found, met=met if long_enough else None))
    else:
        verdicts += [_missing(cpu)] + [
            _missing(rate.format(least)) for least in (INCLUDED_PER_SECOND_MIN, INCLUDED_PER_SECOND_GOAL)
        ]
    if "half" not in full:
        return [*verdicts, _missing(finality)]
    setting, stage = full["half"]
    bound = setting.block_interval_ms / 1000 + FINALITY_BEYOND_INTERVAL_SECONDS
    p50 = stage.finality_seconds["p50"]
    return [*verdicts, Verdict(wanted=finality, found=f"{p50:.3f} s", met=p50 <= bound)]


def _with_one_down(full: dict[str, tuple[Setting, Stage]], down: dict[str, tuple[Setting, Stage]]) -> list[Verdict]:
    rate = f"one of 4 down: at least {100 * SHARE_WITH_ONE_DOWN_MIN:.0f} % of the throughput with all"
    finality = f"one of 4 down, half load: finality p99 under {INTERVALS_WITH_ONE_DOWN} block intervals"
    verdicts = []
    if "saturation" in full and "saturation" in down:
        share = down["saturation"][1].included_per_second / max(1e-9, full["saturation"][1].included_per_second)
        verdicts.append(Verdict(wanted=rate, found=f"{100 * share:.0f} %", met=share >= SHARE_WITH_ONE_DOWN_MIN))
    else:
        verdicts.append(_missing(rate))
    if "half" not in down:
        return [*verdicts, _missing(finality)]
    setting, stage = down["half"]
    p99, interval = stage.finality_seconds["p99"], setting.block_interval_ms / 1000
    met = p99 < INTERVALS_WITH_ONE_DOWN * interval and not stage.missing
    return [*verdicts, Verdict(wanted=finality, found=f"{p99:.3f} s", met=met)]


def _missing(wanted: str) -> Verdict:
    return Verdict(wanted=wanted, found="not measured", met=None)
