"""Home of tests of a network in which somebody does not do its part: a slow evaluator, a custodian that is gone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, running_cluster
from tests.system.networks import events, eventually, signed_transfers
from tests.system.slow_node import LEAST_SECONDS, TIMES_SLOWER

pytestmark = pytest.mark.system

MISSED_OPENING = 4  # of the event Penalised


def pay(cluster: Cluster, nonce: int) -> float:
    """Send a transfer to the first node, wait for its receipt; how long that took, in seconds."""
    node = cluster.nodes[0]
    (raw,) = signed_transfers(0, 1, to=1, first_nonce=nonce)
    started = time.monotonic()
    hash_ = node.call("eth_sendRawTransaction", "0x" + raw.hex())
    eventually(lambda: node.call("eth_getTransactionReceipt", hash_), 20, "receipt")
    return time.monotonic() - started


def round_states(cluster: Cluster) -> list[str]:
    """The status of each round that has ended."""
    node = cluster.nodes[0]
    task = node.call("learn_tasks")[0]
    rounds = (node.call("learn_round", task["task"], number) for number in range(task["round"]))
    return [found["status"] for found in rounds if found and found["status"] in ("settled", "void")]


@pytest.mark.soak
def test_a_validator_that_evaluates_twenty_times_slower_holds_up_neither_payments_nor_rounds(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "network", miners=2) as cluster:
        cluster.wait_for_blocks(1)
        cluster.nodes[3].stop()
        cluster.start(3, extra=["--evaluation", "reference"], module="tests.system.slow_node")
        cluster.wait_for_settlements(1, seconds=90)
        eventually(lambda: "a round is judged in" in cluster.nodes[3].log(), 30, "slow evaluation")
        waits = [pay(cluster, nonce) for nonce in range(20)]
        cluster.wait_for_settlements(2)
        slow = TIMES_SLOWER * LEAST_SECONDS
        assert sorted(waits)[10] < slow / 2, f"payments waited for the slow one: {waits}"
        assert "void" not in round_states(cluster)
        cluster.wait_until_level()
        cluster.verify()


@pytest.mark.soak
def test_rounds_go_on_without_a_custodian_that_vanished_and_it_pays_for_it(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "network", custodians=2, miners=2) as cluster:
        cluster.wait_for_settlements(1, seconds=90)
        cluster.clients["custodian-2"].kill()
        gone = "0x" + cluster.folder.custodians[1].address.hex().rjust(64, "0")
        node = cluster.nodes[0]
        eventually(lambda: [e for e in events(node, "Penalised") if gone in e["topics"]], 60, "penalty")
        cluster.wait_for_settlements(2)
        assert round_states(cluster)[-2:] == ["settled", "settled"]
        penalised = [event for event in events(node, "Penalised") if gone in event["topics"]]
        assert {int(event["data"][2:][64:128], 16) for event in penalised} == {MISSED_OPENING}
        cluster.verify()
