"""Home of tests of `verify` on chains that really learned: what it computes anew, and that it finds every difference."""

from __future__ import annotations

import json

import pytest

from tests.system.learned import LONG_BLOCKS, LONG_SETTLEMENTS, TRANSFERS, LearnedChains
from tests.system.processes import run_command

pytestmark = pytest.mark.system


def test_verify_recomputes_a_long_chain(learned_chains: LearnedChains) -> None:
    plain = run_command("verify", "--data-dir", learned_chains.long)
    assert (plain.status, plain.errors) == (0, "")
    told = run_command("verify", "--data-dir", learned_chains.long, "--json")
    found = json.loads(told.output)
    assert found["height"] >= LONG_BLOCKS
    assert found["settlements"] >= LONG_SETTLEMENTS
    assert found["transactions"] >= 2 * TRANSFERS
    assert plain.output == (
        f"verified {found['height']} blocks, {found['transactions']} transactions, {found['settlements']} settlements "
        f"and {found['heads']} heads; state root {found['stateRoot']}\n"
    )
