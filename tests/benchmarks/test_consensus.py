"""Tests that the consensus benchmark measures real nodes to the end, and judges what it measured."""

from __future__ import annotations

import cProfile
import json
from pathlib import Path
from typing import Any

import pytest
import uvloop

from benchmarks.consensus import main, measure, read_options
from benchmarks.consensus_compare import measure_other, ratios
from benchmarks.consensus_network import LocalNetwork, Setting
from benchmarks.consensus_profile import summarise, text
from benchmarks.consensus_stage import Offer, Stage, lowest_rate, steady_rate
from benchmarks.consensus_targets import judge
from benchmarks.processes import tree
from chain.merkle import list_root


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
    assert main([*options, "--block-interval", "0.2", "--window", "1500", "--expect", "500", "--out", str(out)]) == 0
    (measured,) = json.loads(out.with_suffix(".json").read_text())["measurements"]
    stages = {each["name"]: each for each in measured["stages"]}
    assert list(stages) == ["saturation", "half", "40/s"]
    for each in stages.values():
        assert each["included"] == each["submitted"] > 0
        assert each["missing"] == 0
        assert each["included_per_second"] > 0
        assert 0 < each["finality_seconds"]["p50"] <= each["finality_seconds"]["p99"]
        assert each["cpu_ms_per_transfer"] > 0
        assert each["cpu_ms_by_thread"]["event loop"] > 0
        assert each["later_rounds"] == 0
        assert each["last_height"] > each["first_height"]
    assert stages["40/s"]["submitted"] == 120
    assert stages["40/s"]["included_per_second"] == pytest.approx(40, rel=0.5)
    assert stages["saturation"]["included_per_second"] > stages["40/s"]["included_per_second"]
    assert "| 1 validator | saturation |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").stat().st_size > 5000
    left = [
        pid
        for pid in set(tree(1)) - before
        if "benchmarks.consensus" in _command(pid) or str(tmp_path) in _command(pid)
    ]
    assert left == []


@pytest.mark.system
def test_four_validators_apart_go_on_with_one_down_and_count_their_bytes() -> None:
    options = read_options(["--load", "100", "--seconds", "4", "--expect", "200", "--window", "1000"])
    setting = Setting(validators=4, down=1, delay_ms=10, block_interval_ms=300, senders=50)
    measured = uvloop.run(measure(setting, options, lambda text: None))
    (stage,) = measured["stages"]
    assert stage["included"] == stage["submitted"] == 400
    assert stage["missing"] == 0
    assert stage["sent_bytes_per_transfer"] > 100
    assert stage["later_rounds"] > 0  # of the one that is down


@pytest.mark.system
def test_another_node_gets_the_same_load_from_accounts_that_are_funded_first(tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with LocalNetwork(tmp_path, Setting(validators=1, block_interval_ms=200, senders=1)) as network:
            offer = Offer(seconds=2, batch=20, lanes=2, window=500, expected_per_second=200)
            return await measure_other(network.nodes[0].url, 30, ["100"], offer, lambda text: None)

    other = uvloop.run(run())
    (stage,) = other["stages"]
    assert stage["included"] == 200
    assert stage["cpu_ms_per_transfer"] > 0
    ours = Stage(**{**stage, "included_per_second": 2 * stage["included_per_second"]})
    assert f"| {ours.included_per_second} | {stage['included_per_second']} | 2.00 |" in ratios(
        [ours], [Stage(**stage)], other["version"]
    )


def test_a_profile_is_told_by_thread_module_and_function(tmp_path: Path) -> None:
    for node in ("one", "two"):
        (tmp_path / node).mkdir()
        for suffix in ("", ".chain"):
            profile = cProfile.Profile()
            profile.runcall(list_root, [bytes([number % 256]) * 100 for number in range(3000)])
            profile.dump_stats(tmp_path / node / f"profile{suffix}")
    found = summarise([tmp_path / "one" / "profile", tmp_path / "two" / "profile"], 5)
    assert {profile.thread for profile in found} == {"event loop", "chain"}
    assert sum(profile.share for profile in found) == pytest.approx(1.0)
    for profile in found:
        assert profile.modules[0][0] == "chain/merkle.py"
        assert profile.modules[0][1] > 0.5
        assert any("_sha256" in name and calls >= 12_000 for name, calls, _ in profile.functions)
    assert "chain/merkle.py" in text(found)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ""
