"""Tests of what is answered about blocks from before a node's first: as nodes that have pruned their history do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chain.full_node import FullNode, NodeSettings
from chain.light import InvalidLight
from chain.light_client import LightClient
from chain.node_directory import Directory
from chain.roles.client import NodeClient, NodeError
from rpc.jsonrpc import PRUNED_HISTORY
from tests.chain.ledger_world import ADDRESSES
from tests.chain.sync.snapshot_world import GENESIS, follow, grow, open_chain, take

BEGIN, TIP = 6, 12
OLD, FIRST = hex(BEGIN - 1), hex(BEGIN)


def serve(folder: Path, questions: Callable[[Callable[..., Awaitable[Any]]], Awaitable[None]]) -> None:
    """Ask a node whose directory began with the state of BEGIN, and has followed to TIP."""
    source = open_chain(folder / "source")
    grow(source, TIP)
    chain = take(source, BEGIN, folder / "later")
    follow(chain, source)
    source.store.close()

    async def work() -> None:
        directory = Directory(path=chain.store.path, genesis=GENESIS, store=chain.store)
        node = FullNode(directory, NodeSettings(rpc_port=0), None, folder)
        await node.start()
        try:
            async with NodeClient(node.url) as client:
                await questions(client.call)
        finally:
            await node.close()

    asyncio.run(work())


def test_old_blocks_are_refused_as_pruned_and_all_others_told(tmp_path: Path) -> None:
    async def questions(call: Callable[..., Awaitable[Any]]) -> None:
        for method, parameters in (
            ("eth_getBlockByNumber", (OLD, True)),
            ("eth_getBlockReceipts", (OLD,)),
            ("eth_getBlockTransactionCountByNumber", (OLD,)),
            ("eth_getTransactionByBlockNumberAndIndex", (OLD, "0x0")),
            ("eth_getLogs", ({"fromBlock": OLD, "toBlock": FIRST},)),
            ("eth_getLogs", ({"fromBlock": "earliest"},)),
            ("eth_feeHistory", ("0x1", OLD, [50])),
            ("learn_header", (OLD,)),
        ):
            with pytest.raises(NodeError, match="pruned history unavailable") as raised:
                await call(method, *parameters)
            assert raised.value.code == PRUNED_HISTORY, method
        for reference in ("earliest", "0x0", FIRST, "latest"):
            assert (await call("eth_getBlockByNumber", reference, True))["hash"]
            assert (await call("learn_header", reference))["hash"]
        first = await call("eth_getBlockByNumber", FIRST, False)
        assert await call("eth_getTransactionReceipt", first["transactions"][0])
        assert await call("eth_getBlockByHash", first["parentHash"], False) is None
        assert await call("eth_getLogs", {"fromBlock": FIRST}) == []
        assert (await call("eth_feeHistory", "0x400", "latest", [50]))["oldestBlock"] == FIRST
        assert int(await call("eth_gasPrice"), 16) > 0
        with pytest.raises(NodeError, match="historical state"):
            await call("eth_getBalance", "0x" + ADDRESSES[0].hex(), OLD)
        assert int(await call("eth_getBalance", "0x" + ADDRESSES[0].hex(), FIRST), 16) > 0

    serve(tmp_path, questions)


def test_light_clients_verify_what_such_a_node_tells(tmp_path: Path) -> None:
    async def questions(call: Callable[..., Awaitable[Any]]) -> None:
        client = LightClient(GENESIS, call, now_ms=lambda: 10**15)
        nonce, balance = await client.account(ADDRESSES[0])
        assert nonce == TIP
        assert balance == int(await call("eth_getBalance", "0x" + ADDRESSES[0].hex()), 16)
        with pytest.raises((InvalidLight, NodeError)):
            await client.header(BEGIN - 1)

    serve(tmp_path, questions)
