"""Home of tests of a node whose vote log has lost something: it does not vote unless it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.storage.votelog_file import VOTES_NAME
from consensus.votelog import HEADER_BYTES
from tests.system.processes import run_command, running_node

pytestmark = pytest.mark.system


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_node_whose_vote_log_lost_its_last_votes_does_not_vote(short_chain: Path, share: float) -> None:
    path = short_chain / VOTES_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: max(HEADER_BYTES, int(share * len(whole)))])
    refused = run_command("run", "--data-dir", short_chain, "--no-mine", "--rpc-port", 0, "--quiet")
    assert refused.status == 1
    (line,) = refused.errors.splitlines()
    assert "votes.log ends before the precommit that this key has signed" in line
    assert "--forget-votes" in line
    path.write_bytes(whole)
    with running_node(short_chain, "--no-mine") as node:
        node.wait_for_height(node.height() + 1)


def test_a_node_votes_without_its_log_if_it_is_told_that_nothing_was_signed(short_chain: Path) -> None:
    (short_chain / VOTES_NAME).write_bytes((short_chain / VOTES_NAME).read_bytes()[:HEADER_BYTES])
    with running_node(short_chain, "--no-mine", "--forget-votes") as node:
        node.wait_for_height(node.height() + 1)
