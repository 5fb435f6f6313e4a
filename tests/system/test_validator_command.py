"""Home of tests of `validator`: an account registers, unbonds and is told how it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain.crypto import address_of, checksum_address
from tests.system.networks import ACCOUNT_KEYS
from tests.system.processes import FAST, Finished, run_command, running_node

pytestmark = pytest.mark.system


def test_an_account_bonds_and_unbonds_and_is_told_why_something_fails(tmp_path: Path) -> None:
    key_file, account = tmp_path / "key", checksum_address(address_of(ACCOUNT_KEYS[0]))
    vote_key = "0x" + address_of(ACCOUNT_KEYS[1]).hex()
    key_file.write_text(ACCOUNT_KEYS[0].hex())
    with running_node(tmp_path / "node", *FAST, "--task", "wine", "--no-mine") as node:
        node.wait_for_height(1)

        def validator(*words: object) -> Finished:
            return run_command("validator", *words, "--rpc", node.url, "--key", key_file)

        assert "not registered" in validator("status").output
        refused = validator("register", "--bond", "1")
        assert refused.status == 1
        assert "a validator's bond is at least" in refused.errors
        assert "has no validator's bond" in validator("unbond").errors
        done = validator("register", "--bond", "20", "--vote-key", vote_key)
        assert done.status == 0, done.errors
        lines = dict(line.split("  ", 1) for line in done.output.splitlines()[1:])
        assert lines["account"].strip() == account
        assert lines["bond"].strip() == "20 coins"
        assert lines["state"].strip() == f"registered, votes with the key of {vote_key}"
        assert "bond            25 coins" in validator("register", "--bond", "5").output
        assert "unbonding: its bond can be withdrawn from height" in validator("unbond").output
        assert "may be withdrawn from height" in validator("withdraw").errors
        told = json.loads(run_command("validator", "status", "--json", "--rpc", node.url, "--address", account).output)
        assert int(told["bond"], 16) == 25 * 10**18
        assert told["registered"] is False


def test_status_wants_one_account(tmp_path: Path) -> None:
    assert run_command("validator", "status").status == 2
    both = ("--key", tmp_path / "key", "--address", "0x" + "11" * 20)
    assert run_command("validator", "status", *both).status == 2
