"""Home of the test that the transfers benchmark measures a real node to the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.transfers import main

pytestmark = pytest.mark.system


def test_transfers_are_all_included_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.json"
    assert main(["--senders", "50", "--per-sender", "6", "--repetitions", "1", "--json", str(results)]) == 0
    content = json.loads(results.read_text())
    assert [(run["mode"], run["transfers"]) for run in content["runs"]] == [
        ("single calls", 300),
        ("batches of 100", 300),
    ]
    for row in content["medians"].values():
        assert row["included_per_second"] > 0
        assert row["cpu_ms_per_transfer"] > 0
        assert {"event loop", "chain", "senders"} >= row["threads"].keys()
    assert content["stages_cpu_us_per_transfer"]["recover senders"] > 0
    assert "| batches of 100 | 300 |" in capsys.readouterr().out
