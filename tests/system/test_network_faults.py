"""Home of tests of a network of four under faults, while transfers are sent and rounds are played all the time.

One network serves all of them, one after the other: each begins and ends with all four nodes level and of one history.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest

from tests.system.cluster import Cluster, Sender, running_cluster

pytestmark = pytest.mark.system

PAYERS_TRANSFERS = 500  # of each of the ten accounts


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four validators, a custodian and two miners; transfers go to all nodes. At the end, all directories are verified."""
    with running_cluster(tmp_path_factory.mktemp("faults") / "network", miners=2) as cluster:
        sender = Sender(cluster, PAYERS_TRANSFERS)
        try:
            cluster.wait_for_settlements(1, seconds=90)
            yield cluster
        finally:
            sender.stop()
        assert sender.included > 100, "hardly a transfer was included"
        cluster.verify()


@pytest.fixture
def level(network: Cluster) -> Iterator[Cluster]:
    """The network without faults, before and after."""
    yield network
    network.proxy.heal()
    network.start(*(number for number, node in network.nodes.items() if node.process.poll() is not None))
    network.wait_for_blocks(3)
    network.wait_until_level()


def test_one_of_four_is_killed_and_the_chain_goes_on_and_it_catches_up_by_itself(level: Cluster) -> None:
    level.nodes[3].kill()
    level.wait_for_settlements(1)
    level.wait_for_blocks(10)
    level.start(3)
    level.wait_for_blocks(5, 3)
    assert level.nodes[3].call("eth_syncing") is False
    level.wait_for_settlements(1, 3)


def test_two_of_four_are_killed_and_the_chain_stops_until_they_return(level: Cluster) -> None:
    level.nodes[2].kill()
    level.nodes[3].kill()
    level.assert_stands_still(4, 0, 1)
    level.start(2)  # with three, it goes on
    level.wait_for_blocks(3)
    level.start(3)
    level.wait_for_settlements(1)


def test_a_split_in_two_halves_stops_the_chain_and_it_goes_on_when_healed(level: Cluster) -> None:
    level.proxy.split([0, 1], [2, 3])
    level.assert_stands_still(4, 0, 1, 2, 3)
    level.proxy.heal()
    level.wait_for_blocks(5)
    level.wait_for_settlements(1)


def test_one_that_is_parted_from_three_stands_still_and_catches_up_when_healed(level: Cluster) -> None:
    level.proxy.split([0, 1, 2], [3], hold=True)  # nobody is told that the others are gone
    level.wait_for_blocks(10, 0, 1, 2)
    level.assert_stands_still(2, 3)
    level.proxy.heal()
    level.wait_for_blocks(5)


def test_one_that_hears_all_and_is_heard_by_nobody_does_no_harm(level: Cluster) -> None:
    for other in (0, 1, 2):
        level.proxy.hold(3, other)
    level.wait_for_blocks(10, 0, 1, 2)
    level.proxy.heal()
    level.wait_for_blocks(5)


# ---------------------------------------------------------------------------------------------------------- the long one


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_differs_after_many_faults_at_random(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Kills, cuts, held ways, delays and thin lines at random for some minutes."""
    print(f"seed {seed}")
    random = Random(seed)
    with running_cluster(tmp_path_factory.mktemp("random") / "network", miners=2) as cluster:
        sender = Sender(cluster, 4 * PAYERS_TRANSFERS)
        try:
            for _ in range(12):
                _fault(cluster, random)
                cluster.proxy.heal()
                cluster.start(*(number for number, node in cluster.nodes.items() if node.process.poll() is not None))
                cluster.wait_for_blocks(3)
                cluster.wait_until_level()
            cluster.wait_for_settlements(1)
        finally:
            sender.stop()
        assert sender.included > 500, "hardly a transfer was included"
        cluster.verify()


def _fault(cluster: Cluster, random: Random) -> None:
    """Something that hits one node or several for some seconds."""
    kind, numbers = random.choice(["kill", "split", "hold", "one way", "delay", "thin"]), list(range(4))
    random.shuffle(numbers)
    cut = random.choice([1, 2])
    one, others = numbers[:cut], numbers[cut:]
    print(f"{kind} {one}")
    ways = [(a, b) for a in one for b in others]
    if kind == "kill":
        for number in one:
            cluster.nodes[number].kill()
    elif kind in ("split", "hold"):
        cluster.proxy.split(one, others, hold=kind == "hold")
    for way in ways:
        if kind == "one way":
            cluster.proxy.hold(*way)
        elif kind == "delay":
            cluster.proxy.delay(*way, random.uniform(0.05, 1.0))
        elif kind == "thin":
            cluster.proxy.limit(*way, 50_000)
    time.sleep(random.uniform(2, 8))
