"""Tests that the consensus benchmark measures real nodes to the end, and judges what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.consensus import main
from benchmarks.consensus_network import Setting
from benchmarks.consensus_stage import Stage, lowest_rate, steady_rate
from benchmarks.consensus_targets import judge
from benchmarks.processes import tree


def seen(*blocks: tuple[float, int]) -> list[dict[str, Any]]:
    return [{"height": height, "at": at, "transfers": n, "transactions": n} for height, (at, n) in enumerate(blocks)]


def stage(name: str, **changes: Any) -> Stage:
    figures: dict[str, Any] = {
        "name": name,
        "offered_per_second": None,
        "seconds": 60.0,
        "submitted": 90_000,
        "included": 90_000,
        "missing": 0,
        "refused": 0,
        "ran_out": False,
        "included_per_second": 1500.0,
        "lowest_per_second": 1400.0,
        "finality_seconds": {"p50": 0.9, "p95": 1.3, "p99": 1.4, "max": 1.5},
        "cpu_ms_per_transfer": 0.12,
        "cpu_ms_by_thread": {"chain": 0.05},
        "roles_cpu_ms_per_second": 0.0,
        "sent_bytes_per_transfer": None,
        "memory_peak_mib": 300.0,
        "client_busy": 0.05,
        "others_busy": 0.01,
        "first_height": 10,
        "last_height": 70,
        "largest_block": 1500,
        "block_seconds": 1.0,
    }
    return Stage(**{**figures, **changes})


def test_the_rate_counts_from_the_first_block_with_transfers_to_the_last_one_in_the_time() -> None:
    blocks = seen((0.2, 0), (1.0, 50), (2.0, 100), (3.0, 110), (4.5, 500))
    assert steady_rate(blocks, 4.0) == pytest.approx(105.0)
    assert steady_rate(blocks[:2], 4.0) == pytest.approx(12.5)
    assert steady_rate([], 4.0) == 0.0


def test_the_lowest_rate_is_that_of_the_worst_ten_seconds() -> None:
    blocks = seen(*((float(at), 100) for at in range(12)), (22.0, 100), (23.0, 100))
    assert lowest_rate(blocks, 30.0) == pytest.approx(100 / 11)
    assert lowest_rate(blocks[:9], 30.0) is None


def test_targets_are_judged_only_by_what_was_measured_long_enough() -> None:
    four, down = Setting(validators=4), Setting(validators=4, down=1)
    verdicts = [v.met for v in judge([(four, [stage("saturation"), stage("half")])])]
    assert verdicts == [True, True, False, True, None, None]
    slow = stage("saturation", cpu_ms_per_transfer=0.2, included_per_second=800.0)
    late = stage("half", finality_seconds={"p50": 1.4, "p95": 3.0, "p99": 3.1, "max": 4.0})
    assert [v.met for v in judge([(four, [slow, late])])][:4] == [False, False, False, False]
    short = stage("saturation", seconds=20.0)
    assert [v.met for v in judge([(four, [short])])][:3] == [True, None, None]
    pair = [(four, [stage("saturation")]), (down, [stage("saturation", included_per_second=1000.0), late])]
    assert [v.met for v in judge(pair)][-2:] == [False, False]
    pair = [(four, [stage("saturation")]), (down, [stage("saturation", included_per_second=1100.0), stage("half")])]
    assert [v.met for v in judge(pair)][-2:] == [True, True]
    learning = Setting(validators=4, learning=True)
    assert [v.met for v in judge([(learning, [stage("saturation"), stage("half")])])] == [None] * 6


@pytest.mark.system
def test_every_transfer_is_included_and_measured_and_no_process_is_left(tmp_path: Path) -> None:
    before = set(tree(1))
    out = tmp_path / "figures"
    options = ["--validators", "1", "--load", "saturation,half,40", "--seconds", "3", "--senders", "100"]
    assert main([*options, "--block-interval", "0.2", "--window", "1500", "--out", str(out)]) == 0
    (measured,) = json.loads(out.with_suffix(".json").read_text())["measurements"]
    stages = {each["name"]: each for each in measured["stages"]}
    assert list(stages) == ["saturation", "half", "40/s"]
    for each in stages.values():
        assert each["included"] == each["submitted"] > 0
        assert each["missing"] == 0
        assert each["included_per_second"] > 0
        assert 0 < each["finality_seconds"]["p50"] <= each["finality_seconds"]["p99"]
        assert each["cpu_ms_per_transfer"] > 0
        assert 0 < each["cpu_ms_by_thread"]["event loop"] <= each["cpu_ms_per_transfer"] * 1.1
        assert each["later_rounds"] == 0
        assert each["last_height"] > each["first_height"]
    assert stages["40/s"]["submitted"] == 120
    assert stages["40/s"]["included_per_second"] == pytest.approx(40, rel=0.3)
    assert stages["saturation"]["included_per_second"] > stages["40/s"]["included_per_second"]
    assert "| 1 validator | saturation |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").stat().st_size > 5000
    left = [
        pid
        for pid in set(tree(1)) - before
        if "benchmarks.consensus" in _command(pid) or str(tmp_path) in _command(pid)
    ]
    assert left == []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ""
