"""Home of tests that restarts cost nothing: miners, custodian and node are killed in every phase of a round.

Miner and custodian run as processes of their own, as on any network; the node does not know them.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chain.development import ROLES_NAME
from tests.system.networks import (
    Role,
    custodian_arguments,
    events,
    eventually,
    make_network,
    miner_address,
    miner_arguments,
    only_task,
    running_role,
)
from tests.system.processes import RunningNode, free_port, running_node

pytestmark = pytest.mark.system

# A miner takes a second or three to start. Within the reveal phase here, 12 blocks of 0.3 s, it can do so.
LONG_REVEALS = {"cycle_blocks": 32, "reveal_blocks": 12, "open_blocks": 4, "hold_blocks": 3}
# The phases of a network's default, in 14 blocks instead of 20.
SHORT_CYCLES = {"cycle_blocks": 14, "reveal_blocks": 2, "open_blocks": 2, "hold_blocks": 3}
ENDED = ("settled", "void", "empty")


@dataclass
class Scene:
    """One node with a custodian, and what its miners are doing."""

    directory: Path
    port: int
    miners: list[Role]
    task: str = ""

    @contextmanager
    def node(self) -> Iterator[RunningNode]:
        with running_node(self.directory, "--no-mine", port=self.port) as node:
            self.task = only_task(node)
            yield node

    def journal(self, number: int) -> set[Path]:
        """The updates that a miner has written down."""
        return set((self.directory / ROLES_NAME / f"miner-{number}").glob("*.json"))

    def updates(self, node: RunningNode, number: int) -> dict[int, dict[str, Any]]:
        """A miner's committed updates by round, each with its round's status."""
        address, found = miner_address(self.directory, number), {}
        for round_number in range(self.now(node)[0] + 1):
            round_ = node.call("learn_round", self.task, round_number)
            for update in round_["updates"] if round_ else ():
                if update["miner"] == address:
                    found[round_number] = update | {"status": round_["status"]}
        return found

    def now(self, node: RunningNode) -> tuple[int, str]:
        """The round and the phase that the next block lies in."""
        task = node.call("learn_task", self.task)
        return task["round"], task["phase"]

    def wait_for_phase(self, node: RunningNode, phase: str) -> None:
        """Wait for the beginning of a phase, the next one if it runs."""
        node.wait_until(lambda: self.now(node)[1] != phase, 60, f"end of phase {phase}")
        eventually(lambda: self.now(node)[1] == phase, 60, f"phase {phase}")

    def assert_nothing_lost(self, node: RunningNode, last: int) -> None:
        """Every update that a miner committed up to a round was revealed and judged, and nobody's bond was cut."""
        for number, miner in enumerate(self.miners, start=1):
            updates = {r: update for r, update in self.updates(node, number).items() if r <= last}
            assert updates
            assert [r for r, update in updates.items() if update["key"] is None] == [], miner.log()
            assert {update["status"] for update in updates.values()} == {"settled"}
            assert {update["cut"] for update in updates.values()} == {"0x0"}
            paid = [r for r, update in updates.items() if int(update["reward"], 16)]
            print(f"miner {number}: updates in rounds {list(updates)}, paid in {paid}")
        assert events(node, "Penalised") == []
        assert events(node, "Rewarded") != []


@contextmanager
def scene(folder: Path, interval_seconds: float, parameters: dict[str, int], miners: int) -> Iterator[Scene]:
    directory = make_network(folder / "node", interval_seconds, parameters)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as roles:
        roles.enter_context(running_role(custodian_arguments(directory, url), folder / "custodian.log"))
        started = [
            roles.enter_context(
                running_role(miner_arguments(directory, url, number, miners), folder / f"miner-{number}.log")
            )
            for number in range(1, miners + 1)
        ]
        yield Scene(directory=directory, port=port, miners=started)


# ------------------------------------------------------------------------------------------------ a miner is killed


def restart_before_commit(scene: Scene, node: RunningNode) -> int:
    """Kill the miner when it has written its journal and not sent its commit; it goes on with the same update.

    Returns the update's round, at the time when its commit has been included.
    """
    for _ in range(8):
        committed = len(scene.updates(node, 1))
        eventually(lambda old=committed: len(scene.updates(node, 1)) > old, 60, "commit")  # it trains fast from now on
        before = scene.journal(1)
        eventually(lambda old=before: scene.journal(1) - old, 60, "entry in the journal", pause_seconds=0.001)
        scene.miners[0].kill()
        (path,) = scene.journal(1) - before
        entry = json.loads(path.read_text())
        node.wait_for_height(node.height() + 2)
        if entry["round"] not in scene.updates(node, 1):
            break
        scene.miners[0].restart()  # its commit was on its way already
    else:
        raise AssertionError("the miner was never caught between journal and commit")
    scene.miners[0].restart()
    eventually(lambda: entry["round"] in scene.updates(node, 1), 30, "commit")
    assert scene.updates(node, 1)[entry["round"]]["sealedRoot"] == entry["sealed_root"]
    return int(entry["round"])


def restart_miner(scene: Scene, pause_seconds: float) -> None:
    scene.miners[0].kill()
    time.sleep(pause_seconds)
    scene.miners[0].restart()


def restart_miner_in_every_phase(folder: Path, seed: int, times: int) -> None:
    print(f"seed {seed}")
    random = Random(seed)
    with scene(folder, 0.3, LONG_REVEALS, miners=1) as story, story.node() as node:
        killed: list[int] = []
        for _ in range(times):
            killed.append(restart_before_commit(story, node))
            restart_miner(story, random.uniform(0, 1))
            for phase in ("hold", "reveal"):
                story.wait_for_phase(node, phase)
                restart_miner(story, 0)
        last = killed[-1]
        node.wait_until(lambda: story.updates(node, 1)[last]["status"] in ENDED, 60, f"end of round {last}")
        story.assert_nothing_lost(node, last)
        assert int(story.updates(node, 1)[killed[0]]["reward"], 16) > 0


def test_a_miner_that_is_killed_in_any_phase_loses_no_bond(tmp_path: Path) -> None:
    restart_miner_in_every_phase(tmp_path, seed=1, times=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3])
def test_a_miner_that_is_killed_again_and_again_loses_no_bond(tmp_path: Path, seed: int) -> None:
    restart_miner_in_every_phase(tmp_path, seed, times=4)


# ------------------------------------------------------------------------------------------------- the node is killed


def restart_node_in_every_phase(folder: Path, seed: int, times: int) -> None:
    """Stop or kill the node in each phase; its miners and custodian wait for it, and go on."""
    print(f"seed {seed}")
    random = Random(seed)
    with scene(folder, 0.5, SHORT_CYCLES, miners=2) as story:
        with story.node() as node:
            node.wait_until(lambda: all(story.updates(node, number) for number in (1, 2)), 90, "commits of both")
            node.kill()
        for phase in ("hold", "reveal", "open", "commit") * times:
            with story.node() as node:
                story.wait_for_phase(node, phase)
                time.sleep(random.uniform(0, 0.5))
                node.signal(random.choice([signal.SIGKILL, signal.SIGTERM]))
            time.sleep(random.uniform(0, 2))
        with story.node() as node:
            before = len(story.updates(node, 1))
            node.wait_until(lambda: len(story.updates(node, 1)) > before, 60, "commit after all restarts")
            last = max(story.updates(node, 1))
            node.wait_until(lambda: story.updates(node, 1)[last]["status"] in ENDED, 60, f"end of round {last}")
            story.assert_nothing_lost(node, last)


def test_nobody_loses_a_bond_when_the_node_is_restarted_in_any_phase(tmp_path: Path) -> None:
    restart_node_in_every_phase(tmp_path, seed=1, times=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3])
def test_nobody_loses_a_bond_when_the_node_is_restarted_again_and_again(tmp_path: Path, seed: int) -> None:
    restart_node_in_every_phase(tmp_path, seed, times=4)
