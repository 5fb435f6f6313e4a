"""Home of tests of nodes that join late, or come back with an empty disk: by every block, or by a recent state."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from consensus.codec import decode_commit
from tests.system.cluster import Cluster, running_cluster
from tests.system.processes import RpcFailed, RunningNode

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four validators, a custodian and two miners, when some rounds have been settled."""
    directory = tmp_path_factory.mktemp("joining") / "network"
    with running_cluster(directory, miners=2, parameters={"checkpoint_blocks": 10}) as cluster:
        cluster.wait_for_settlements(2, seconds=120)
        yield cluster
        cluster.verify(*(cluster.directory / name / "data" for name in ("full", "snap")))


def trusted(cluster: Cluster) -> str:
    """A recent block, as --trust has it."""
    block = cluster.nodes[1].call("eth_getBlockByNumber", hex(cluster.nodes[1].height()), False)
    return f"{int(block['number'], 16)}:{block['hash']}"


def began_at(node: RunningNode) -> int:
    """The first height that a node has a block of, after genesis."""
    return next(at for at in range(1, node.height() + 1) if has_block(node, at))


def has_block(node: RunningNode, height: int) -> bool:
    try:
        return node.call("eth_getBlockByNumber", hex(height), False) is not None
    except RpcFailed:
        return False


def signed(node: RunningNode, height: int, address: bytes) -> bool:
    """Whether a key's precommit is in the commit of a height."""
    commit = decode_commit(bytes.fromhex(node.call("learn_header", hex(height))["commit"][2:]))
    return address in [bytes(voter) for voter, _ in commit.signatures]


def follow(cluster: Cluster, newcomer: RunningNode) -> None:
    """Wait until a newcomer has what others have, stays with them, and has judged a round with them."""
    newcomer.wait_for_height(cluster.height(), 60)
    newcomer.wait_until(lambda: newcomer.call("eth_syncing") is False, 30, "end of syncing")
    cluster.wait_for_settlements(1)
    newcomer.wait_for_height(cluster.height(), 30)
    assert newcomer.stop() == 0


def test_a_node_with_a_genesis_file_and_one_address_joins_by_every_block(network: Cluster) -> None:
    with network.newcomer("full", "--sync", "full") as newcomer:
        newcomer.wait_for_height(network.height(), 60)
        network.assert_same_history([newcomer, network.nodes[1]], first=1)
        follow(network, newcomer)


def test_a_node_joins_by_a_recent_state_that_two_thirds_have_signed(network: Cluster) -> None:
    with network.newcomer("snap", "--sync", "snap", "--trust", trusted(network)) as newcomer:
        newcomer.wait_for_height(network.height(), 60)
        first = began_at(newcomer)
        assert first > 1, "it took every block"
        network.assert_same_history([newcomer, network.nodes[1]], first=first)
        follow(network, newcomer)


def test_a_validator_whose_disk_is_wiped_rejoins_by_a_recent_state_and_abstains_first(network: Cluster) -> None:
    network.nodes[3].kill()
    shutil.rmtree(network.data_directory(3))
    network.wait_for_blocks(3)
    network.start(3, extra=["--sync", "snap", "--trust", trusted(network)])
    node, address = network.nodes[3], network.folder.validators[3].address
    up = node.height()
    network.wait_for_blocks(5)
    assert began_at(node) > 1, "it took every block"
    node.wait_until(lambda: signed(node, node.height() - 1, address), 30, "vote")
    back = next(at for at in range(up + 1, node.height()) if signed(node, at, address))
    assert back >= up + 3, "it voted at a height that it may have voted at before"
    network.wait_until_level()
    network.nodes[2].kill()  # without the one that came back, the others would be no quorum
    network.wait_for_blocks(5)
    network.start(2)
    network.wait_until_level()
