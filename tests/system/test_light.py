"""Home of the test that a light client believes a real node process, as far as the node can prove what it says."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from chain.development import DEVELOPMENT_ACCOUNTS, DEVELOPMENT_BALANCE
from chain.light import InvalidLight
from chain.light_client import LightClient
from chain.node_directory import GENESIS_NAME, read_genesis
from chain.roles.client import NodeClient
from tests.system.processes import FAST, running_node

pytestmark = pytest.mark.system


def test_a_light_client_follows_a_running_node(tmp_path: Path) -> None:
    with running_node(tmp_path / "node", *FAST, "--no-mine") as node:
        node.wait_for_height(5, 30)
        _, genesis = read_genesis(tmp_path / "node" / GENESIS_NAME)

        async def ask(trust: tuple[int, bytes] | None) -> tuple[int, int]:
            async with NodeClient(node.url) as calls:
                client = LightClient(genesis, calls.call, now_ms=lambda: time.time_ns() // 1_000_000, trust=trust)
                task = bytes.fromhex((await calls.call("learn_tasks"))[0]["task"][2:])
                assert (
                    "0x" + (await client.head(task)).hex()
                    == (await calls.call("learn_head", "0x" + task.hex()))["root"]
                )
                return await client.account(DEVELOPMENT_ACCOUNTS[0])

        named = node.call("learn_header", "0x2")
        for trust in (None, (2, bytes.fromhex(named["hash"][2:]))):
            assert asyncio.run(ask(trust)) == (0, DEVELOPMENT_BALANCE)
        with pytest.raises(InvalidLight):
            asyncio.run(ask((2, bytes(32))))
