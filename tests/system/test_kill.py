"""Home of tests that kill -9 loses nothing: a node is killed at random moments while transfers and rounds go on."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.system.networks import CALM, custodian_arguments, events, make_network, miner_arguments, running_role
from tests.system.processes import free_port, run_command, running_node, start_process
from tests.system.traffic import GONE, Traffic

pytestmark = pytest.mark.system

LIFE_SECONDS_MAX = 3.0
EARLY_SECONDS_MAX = 1.5  # of a life that ends before RPC answers
EARLY_SHARE = 0.2


def live_until_killed(directory: Path, port: int, traffic: Traffic, random: Random) -> None:
    """Start a node, see that nothing is gone, and use it until a clock of its own kills it."""
    if random.random() < EARLY_SHARE:
        node = start_process(directory, "--no-mine", port=port)
        time.sleep(random.uniform(0, EARLY_SECONDS_MAX))
        node.kill()
        return
    with running_node(directory, "--no-mine", port=port) as node:
        killer = threading.Timer(random.uniform(0, LIFE_SECONDS_MAX), node.process.kill)
        killer.start()
        try:
            traffic.assert_nothing_gone(node.url)
            while True:
                traffic.step(node.url)
        except GONE:
            killer.join()
            assert node.process.wait() == -9, f"it ended by itself:\n{node.log()[-3000:]}"
        finally:
            killer.cancel()


def tell_story(folder: Path, kills: int, seed: int, interval_seconds: float) -> None:
    """Kill a node so often, then let it go on until it has settled two more rounds, and verify its history."""
    print(f"seed {seed}")
    random, traffic, port = Random(seed), Traffic(transfers_each=150 * kills), free_port()
    directory, url = make_network(folder / "node", interval_seconds, CALM), f"http://127.0.0.1:{port}"
    with ExitStack() as roles:
        roles.enter_context(running_role(custodian_arguments(directory, url), folder / "custodian.log"))
        for number in (1, 2, 3):
            roles.enter_context(running_role(miner_arguments(directory, url, number), folder / f"miner-{number}.log"))
        with running_node(directory, "--no-mine", port=port) as node:  # until the miners are at work
            node.wait_until(lambda: len(events(node, "UpdateCommitted")) > 0, 60, "commit")
            node.kill()
        for _ in range(kills):
            live_until_killed(directory, port, traffic, random)
        with running_node(directory, "--no-mine", port=port) as node:
            traffic.assert_nothing_gone(node.url)
            before, height = len(events(node, "RoundSettled")), node.height()
            node.wait_until(lambda: len(events(node, "RoundSettled")) >= before + 2, 60, "two more settlements")
            traffic.step(node.url)
            node.wait_for_height(height + 40)
            traffic.assert_nothing_gone(node.url)
            blocks, receipts, settled = node.height(), len(traffic.receipts), len(events(node, "RoundSettled"))
            penalised = len(events(node, "Penalised"))
            node.kill()
    assert receipts > 10 * kills, "the node was hardly used"
    verified = run_command("verify", "--data-dir", directory)
    assert verified.status == 0, verified.errors
    print(
        f"{kills} kills, {blocks} blocks, {len(traffic.blocks)} of them seen, {receipts} receipts, {settled} rounds, {penalised} bonds cut"
    )


def test_nothing_is_lost_when_a_node_is_killed_at_random_moments(tmp_path: Path) -> None:
    tell_story(tmp_path, kills=5, seed=1, interval_seconds=0.1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3])
def test_nothing_is_lost_in_thirty_kills(tmp_path: Path, seed: int) -> None:
    tell_story(tmp_path, kills=30, seed=seed, interval_seconds=0.25)  # the task lasts for 600 blocks
