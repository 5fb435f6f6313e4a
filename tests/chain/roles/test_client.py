"""Home of tests of the roles' client: nodes that do not answer, and answers that come in parts."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web

from chain.roles import client
from chain.roles.client import NodeClient, NodeUnreachable
from tests.system.processes import free_port

BLOB = bytes(range(256)) * 12_000  # more than any buffer on the way holds


async def serve(port: int) -> web.AppRunner:
    """A server that knows one number and one blob."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": "0x7"})

    async def blob(_: web.Request) -> web.Response:
        return web.Response(body=BLOB)

    application = web.Application()
    application.router.add_post("/", answer)
    application.router.add_get("/blobs/0x12", blob)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


def test_large_blobs_arrive_whole_and_too_large_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()

    async def fetch() -> bytes:
        runner = await serve(port)
        try:
            async with NodeClient(f"http://127.0.0.1:{port}") as node:
                return await node.get_blob("0x12")
        finally:
            await runner.cleanup()

    assert asyncio.run(fetch()) == BLOB
    monkeypatch.setattr(client, "BLOB_BYTES_MAX", len(BLOB) - 1)
    with pytest.raises(client.NodeError, match=f"more than {len(BLOB) - 1} bytes"):
        asyncio.run(fetch())


@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize("url", ["", "node", "127.0.0.1:8545", "ftp://node", "http://"])
def test_what_is_no_address_is_refused_even_by_the_patient(url: str, patient: bool) -> None:
    async def ask() -> None:
        async with NodeClient(url, patient=patient) as node:
            await node.call("eth_blockNumber")

    with pytest.raises(NodeUnreachable):
        asyncio.run(asyncio.wait_for(ask(), 5))


def test_who_is_not_patient_hears_at_once_why_there_is_no_answer() -> None:
    port = free_port()

    async def ask() -> None:
        async with NodeClient(f"http://127.0.0.1:{port}") as node:
            await node.call("eth_blockNumber")

    with pytest.raises(NodeUnreachable) as refused:
        asyncio.run(asyncio.wait_for(ask(), 5))
    assert str(refused.value) == f"no node answers at http://127.0.0.1:{port} (Connection refused); is it running?"


def test_the_patient_wait_through_any_number_of_failures_and_say_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", (0.0,))
    port, attempts = free_port(), 1500
    sleep, slept = asyncio.sleep, 0

    async def ask() -> str:
        runner: list[web.AppRunner] = []

        async def count(seconds: float) -> None:
            nonlocal slept
            slept += 1
            if slept == attempts:
                runner.append(await serve(port))
            await sleep(seconds)

        monkeypatch.setattr(client.asyncio, "sleep", count)
        async with NodeClient(f"http://127.0.0.1:{port}", patient=True) as node:
            result = str(await node.call("eth_blockNumber"))
        await runner[0].cleanup()
        return result

    with caplog.at_level(logging.WARNING, "lyceum"):
        assert asyncio.run(asyncio.wait_for(ask(), 60)) == "0x7"
    assert slept >= attempts
    assert [record.getMessage() for record in caplog.records] == [
        f"no node answers at http://127.0.0.1:{port} (Connection refused); waiting for it"
    ]
