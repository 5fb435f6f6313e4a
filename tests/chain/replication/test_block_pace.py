"""Tests of the pace of blocks: one an interval, whoever proposes and whenever each node has started."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.simulated_topology import mesh
from benchmarks.simulated_world import World

INTERVAL_MS = 1000


@pytest.mark.parametrize("late_ms", [(0, 0, 0), (700, 700, 700), (700,), (150, 400, 800)])
def test_nodes_that_started_apart_come_to_start_their_heights_together(late_ms: tuple[int, ...]) -> None:
    world = World(mesh(4), delay_ms=10, jitter_ms=2, transfers=1, seed=1)
    world.run(16, late_ms)
    begun = [world.heights[height].begun_ms for height in range(6, 16)]
    for before, after in pairwise(begun):
        assert INTERVAL_MS - 20 <= after - before <= INTERVAL_MS + 40
    assert all(world.heights[height].rounds == 1 for height in range(6, 16))
