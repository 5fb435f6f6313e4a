"""Home of tests of who votes: a miner that becomes a validator by what it taught, and one that signs twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from chain.cli.network_folder import DATA_NAME
from chain.crypto import address_of, checksum_address
from chain.keys import load_plain_key, new_key, write_private
from chain.types import COIN
from tests.system.cluster import Cluster, running_cluster
from tests.system.networks import events, eventually
from tests.system.processes import RunningNode, run_command

pytestmark = pytest.mark.system

BOND_COINS = 600  # covers 600,000 of power, where each of four starts with 1,000,000
# An epoch is a cycle; what a round's pay grants fills what an epoch may grant, and old power fades fast.
QUICK = {"epoch_blocks": 20, "power_per_coin": 200_000, "power_grant_milli": 300, "power_decay_milli": 900}


def standing(node: RunningNode, address: bytes) -> dict[str, Any]:
    """`learn_validator`, its quantities as numbers."""
    found = node.call("learn_validator", "0x" + address.hex())
    return {
        name: int(value, 16) if isinstance(value, str) and name not in ("address", "voteKey") else value
        for name, value in found.items()
    }


def share(node: RunningNode, address: bytes) -> float:
    found = standing(node, address)
    return float(found["votingPower"] / found["totalVotingPower"])


@pytest.mark.soak
def test_a_miner_votes_by_what_it_taught_and_the_share_of_an_idle_validator_falls(tmp_path: Path) -> None:
    vote_key, key_file = new_key(), tmp_path / "vote.key"
    write_private(key_file, vote_key.hex().encode())
    funds = {address_of(vote_key): 10 * COIN}  # for the gas of its attestations
    with running_cluster(tmp_path / "network", miners=1, parameters=QUICK, funds=funds) as cluster:
        node, miner, idle = cluster.nodes[0], cluster.folder.miners[0], cluster.folder.validators[3].address
        assert share(node, idle) == 0.25
        with cluster.newcomer("taught", "--validator", key_file) as newcomer:
            node.wait_until(lambda: standing(node, miner.address)["power"] > 600_000, 120, "power of the miner")
            assert standing(node, miner.address)["votingPower"] == 0
            register(cluster, miner.address, vote_key)
            node.wait_until(lambda: standing(node, miner.address)["votingPower"] > 0, 60, "vote of the miner")
            assert standing(node, miner.address)["votingPower"] == 600_000, "power votes as far as a bond covers it"
            assert share(node, idle) < 0.25
            eventually(lambda: proposed_lately(node, address_of(vote_key)), 60, "block of the miner")
            cluster.nodes[3].kill()  # three that are left of four have no quorum without the new one
            assert 3 * sum(share(node, each.address) for each in cluster.folder.validators[:3]) < 2
            cluster.wait_for_blocks(5)
            assert newcomer.stop() == 0
            cluster.start(3)
            cluster.wait_until_level()
        cluster.verify(cluster.directory / "taught" / DATA_NAME)


def register(cluster: Cluster, account: bytes, vote_key: bytes) -> None:
    """As the miner's owner does it."""
    key_file = cluster.directory / cluster.folder.miners[0].folder / cluster.folder.miners[0].key_file
    done = run_command(
        "validator", "register", "--rpc", cluster.nodes[1].url, "--key", key_file, "--bond", BOND_COINS,
        "--vote-key", "0x" + address_of(vote_key).hex(),
    )  # fmt: skip
    assert done.status == 0, done.errors
    assert f"account         {checksum_address(account)}" in done.output
    assert f"bond            {BOND_COINS} coins" in done.output


def proposed_lately(node: RunningNode, address: bytes) -> bool:
    """Whether a vote key has built one of the last blocks."""
    height = node.height()
    blocks = (node.call("eth_getBlockByNumber", hex(at), False) for at in range(max(1, height - 8), height + 1))
    return "0x" + address.hex() in [block["miner"] for block in blocks]


def test_a_validator_that_signs_twice_is_slashed_on_every_node(tmp_path: Path) -> None:
    """Its key votes in a second node as well, one that takes no heed of what the key has said elsewhere."""
    with running_cluster(tmp_path / "network", parameters={"epoch_blocks": 50}) as cluster:
        cluster.wait_for_blocks(3)
        liar = cluster.folder.validators[3]
        key_file = tmp_path / "copy.key"
        shutil.copy(cluster.directory / liar.folder / liar.key_file, key_file)
        assert address_of(load_plain_key(key_file)) == liar.address
        before = standing(cluster.nodes[0], liar.address)
        with cluster.newcomer("double", "--validator", key_file, "--forget-votes", module="tests.system.reckless_node"):
            honest = [cluster.nodes[number] for number in (0, 1, 2)]
            for node in honest:
                node.wait_until(lambda node=node: standing(node, liar.address)["barred"], 90, "proof of two votes")
            cluster.nodes[3].kill()
        for node in honest:
            after = standing(node, liar.address)
            assert (after["power"], after["registered"]) == (0, False)
            assert after["bond"] < before["bond"]
            (slashed,) = events(node, "Slashed")
            assert int(slashed["data"], 16) == before["bond"] - after["bond"] > COIN
            node.wait_until(lambda node=node: standing(node, liar.address)["votingPower"] == 0, 60, "new set")
        cluster.wait_for_blocks(5, 0, 1, 2)
        cluster.wait_until_level()
        cluster.verify()
