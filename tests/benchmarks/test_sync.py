"""Tests of the sync benchmark: its chain is real, and its figures are of a newcomer that has all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import sync
from benchmarks.sync_chain import make_chain


def test_each_step_of_a_block_is_measured_on_the_whole_chain(tmp_path: Path) -> None:
    make_chain(tmp_path / "made", 12, 20)
    stages = sync.execute_alone(tmp_path)
    assert list(stages) == ["decode", "senders", "execute", "commit"]
    assert all(spent > 0 for spent in stages.values())


@pytest.mark.system
def test_a_newcomer_is_measured_and_verified(tmp_path: Path) -> None:
    settled = make_chain(tmp_path / "made", 60, 5)
    assert settled == 2
    with sync.serving(tmp_path) as server:
        run = sync.newcomer(tmp_path, "full", 60, settled, server)
    assert (run.verified["height"], run.verified["settlements"]) == (60, settled)
    assert run.times_as_fast_as_made == pytest.approx(60 / run.seconds, rel=0.05)
    assert 0 < run.ready_seconds < run.seconds
    assert json.dumps(run.verified)
