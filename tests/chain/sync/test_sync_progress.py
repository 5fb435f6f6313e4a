"""Tests of how catching up is told: where it began, how far it is, how fast, and nothing once in step."""

from __future__ import annotations

import pytest

from chain.sync.sync_progress import RATE_SECONDS, SyncProgress, in_time


class Watched:
    def __init__(self) -> None:
        self.height = self.highest = 0
        self.clock = 100.0
        self.progress = SyncProgress(lambda: self.height, lambda: self.highest, lambda: self.clock)


def test_a_node_in_step_tells_nothing() -> None:
    node = Watched()
    node.height, node.highest = 10, 12
    assert node.progress.now() is None
    assert node.progress.syncing() is None


def test_speed_and_time_left_follow_from_the_last_seconds() -> None:
    node = Watched()
    node.height, node.highest = 100, 1100
    assert node.progress.now().blocks_per_second == 0  # type: ignore[union-attr]
    for _ in range(40):
        node.clock += 0.5
        node.height += 10
        found = node.progress.now()
    assert found is not None
    assert (found.starting, found.current, found.highest) == (100, 500, 1100)
    assert found.blocks_per_second == pytest.approx(20)
    assert found.seconds_left == pytest.approx(30)
    assert found.part == pytest.approx(0.4)
    assert found.text() == "block 500 of 1,100 (40 %), 20.0 blocks/s, 30 s left"
    node.clock += 2 * RATE_SECONDS
    node.progress.now()
    node.clock += 2 * RATE_SECONDS
    stopped = node.progress.now()
    assert stopped is not None
    assert (stopped.blocks_per_second, stopped.seconds_left) == (0, None)


def test_the_next_time_behind_begins_anew() -> None:
    node = Watched()
    node.highest = 50
    assert node.progress.syncing().starting == 0  # type: ignore[union-attr]
    node.height = 50
    assert node.progress.syncing() is None
    node.highest = 90
    assert node.progress.syncing().starting == 50  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")]
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert in_time(seconds) == text
