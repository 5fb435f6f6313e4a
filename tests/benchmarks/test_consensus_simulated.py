"""Tests of the simulated part: the same history each time, three delays to finality, costs that grow as they must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.consensus import main
from benchmarks.simulated_topology import Topology, gossip, mesh
from benchmarks.simulated_world import World


def played(topology: Topology, heights: int = 4) -> World:
    world = World(topology, delay_ms=100, jitter_ms=10, transfers=20, seed=3)
    world.run(heights)
    return world


def test_the_same_arguments_give_the_same_history() -> None:
    first, second = played(gossip(7, 3, 1)), played(gossip(7, 3, 1))
    assert first.heights == second.heights
    assert first.now_ms == second.now_ms


def test_in_a_full_mesh_a_block_is_final_after_proposal_prevotes_and_precommits() -> None:
    world = played(mesh(7))
    for height in (3, 4):
        count = world.heights[height]
        assert len(count.committed_ms) == 7
        assert count.rounds == 1
        for at in count.committed_ms:
            assert 2.7 <= (at - count.begun_ms) / 100 <= 3.3


def test_gossip_connects_everyone_with_bounded_degree() -> None:
    topology = gossip(50, 8, 5)
    assert all(8 <= len(peers) <= 12 for peers in topology.peers)
    assert all(node in topology.peers[peer] for node, peers in enumerate(topology.peers) for peer in peers)
    reached, frontier = {0}, [0]
    while frontier:
        frontier = [peer for node in frontier for peer in topology.peers[node] if peer not in reached]
        reached |= set(frontier)
    assert reached == set(range(50))


def test_everyone_commits_over_few_links_later_than_in_a_mesh() -> None:
    spread = played(gossip(16, 3, 1)).heights[4]
    direct = played(mesh(16)).heights[4]
    assert len(spread.committed_ms) == len(direct.committed_ms) == 16
    assert max(spread.committed_ms) - spread.begun_ms > max(direct.committed_ms) - direct.begun_ms
    assert spread.bytes["Votes"] < direct.bytes["Votes"]


def test_command_writes_a_table_figures_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "simulated"
    options = ["--simulated", "--sizes", "4,7", "--degree", "3", "--heights", "2", "--transfers", "10"]
    assert main([*options, "--out", str(out)]) == 0
    rows = json.loads(out.with_suffix(".json").read_text())["costs"]
    assert [(row["validators"], row["topology"]) for row in rows] == [
        (4, "full mesh"),
        (7, "full mesh"),
        (7, "gossip, 3 peers"),
    ]
    for row in rows:
        assert row["bytes_per_block"] == pytest.approx(row["bytes_per_block_and_node"] * row["validators"])
        assert row["bytes_by_kind"]["Votes"] > 0
        assert row["first_final_delays"] <= row["median_final_delays"] <= row["last_final_delays"]
    assert "| 7 | full mesh |" in capsys.readouterr().out
    assert out.with_suffix(".png").stat().st_size > 5000
