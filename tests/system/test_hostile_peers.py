"""Home of the test that a network of real nodes carries its load while somebody attacks it, and of its measuring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.hostile_acts import ACTS
from benchmarks.hostile_peers import main
from benchmarks.hostile_report import KEPT_SHARE

pytestmark = pytest.mark.system


def attacked(results: Path, *options: str) -> dict[str, dict[str, float]]:
    """The verdict and the figures of each act; every honest connection must have outlived it."""
    assert main(["--json", str(results), "--load", "200", "--senders", "100", *options]) == 0
    content = json.loads(results.read_text())
    rows = zip(content["phases"], content["verdicts"], strict=True)
    found = {phase["act"]: {**phase, **verdict} for phase, verdict in rows}
    for row in found.values():
        assert row["throughput_ratio"] >= KEPT_SHARE
        assert row["honest_links"] == 12, "four nodes, each with three others"
    return found


def test_who_announces_without_giving_and_who_talks_nonsense_stop_nothing(tmp_path: Path) -> None:
    found = attacked(tmp_path / "results.json", "--acts", "withhold,nonsense", "--seconds", "3")
    assert found["withhold"]["done"]["announcements"] > 100  # type: ignore[index]
    assert found["withhold"]["done"]["questions"] > 0  # type: ignore[index]
    assert found["withhold"]["block_seconds"] < 1.4
    assert found["nonsense"]["done"]["peers opened"] > 50  # type: ignore[index]


@pytest.mark.soak
def test_no_hostile_peer_takes_much(tmp_path: Path) -> None:
    assert attacked(tmp_path / "results.json", "--seconds", "20").keys() >= ACTS.keys()
