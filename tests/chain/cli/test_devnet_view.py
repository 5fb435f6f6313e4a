"""Home of tests of the table of a local network: it fits any terminal, and says what does not answer."""

from __future__ import annotations

from typing import Any

import pytest

from chain.cli.devnet_view import ClientLine, Network, NodeLine, render, summary, task_now
from chain.types import COIN

UP = NodeLine(
    name="validator-1", url="http://127.0.0.1:8545", state="running", height=42, peers=3, task="wine", round=31, rounds=30,
    loss_nats=0.51234,
)  # fmt: skip
DOWN = NodeLine(name="validator-2", url="http://127.0.0.1:8546", state="ended with status -9")
MINER = ClientLine(name="miner-1", state="running", balance=5 * COIN // 2, says="wine round 3: trained on 30 samples")
NETWORK = Network(nodes=(UP, DOWN), clients=(MINER,))


def test_the_table_tells_of_every_process() -> None:
    lines = [line.plain for line in render(NETWORK, "net", 200, 50)]
    (up,) = [line for line in lines if line.startswith("validator-1")]
    assert up.split()[1:] == ["http://127.0.0.1:8545", "42", "3", "wine", "30", "of", "30", "0.5123", "running"]
    (down,) = [line for line in lines if line.startswith("validator-2")]
    assert "ended with status -9" in down
    (miner,) = [line for line in lines if line.startswith("miner-1")]
    assert "2.50" in miner
    assert "trained on 30 samples" in miner


@pytest.mark.parametrize(("width", "height"), [(200, 50), (80, 24), (40, 5), (1, 1)])
def test_the_table_fits_the_terminal(width: int, height: int) -> None:
    lines = render(NETWORK, "net", width, height)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)


def test_a_line_for_the_log_has_every_height() -> None:
    assert summary(NETWORK) == "heights 42 -, peers 3 0, wine round 30 of 30, loss 0.5123"
    assert summary(Network(nodes=(DOWN,), clients=())) == "heights -, peers 0"


def test_the_task_that_is_taught_comes_before_those_to_come_and_those_that_are_over() -> None:
    def task(name: str, phase: str) -> dict[str, Any]:
        return {"name": name, "phase": phase}

    over, now, coming = task("a", "over"), task("b", "commit"), task("c", "pending")
    assert task_now([over, now, coming]) is now
    assert task_now([over, coming]) is coming
    assert task_now([over]) is over
    assert task_now([]) is None
