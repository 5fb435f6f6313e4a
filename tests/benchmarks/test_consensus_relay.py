"""Tests of the relay that keeps nodes apart: everything comes, in order, and later by the delay each way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.consensus_relay import Relay

DELAY_S = 0.05


@asynccontextmanager
async def echo(delay_s: float) -> AsyncIterator[Relay]:
    """A relay in front of a server that sends everything back."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    relay = Relay(server.sockets[0].getsockname()[1], delay_s)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()
        server.close()


def test_what_is_sent_comes_back_after_both_ways_of_the_delay() -> None:
    async def run() -> float:
        async with echo(DELAY_S) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            started = time.monotonic()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()
            return time.monotonic() - started

    assert 2 * DELAY_S <= asyncio.run(run()) < 1.0


def test_a_stream_passes_whole_and_in_order_and_its_delay_is_no_limit_of_its_rate() -> None:
    sent = b"".join(number.to_bytes(4, "big") for number in range(500_000))

    async def run() -> tuple[bytes, float, int]:
        async with echo(DELAY_S) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            started = time.monotonic()
            writer.write(sent)
            got = await reader.readexactly(len(sent))
            writer.close()
            return got, time.monotonic() - started, relay.bytes_passed

    got, seconds, passed = asyncio.run(run())
    assert got == sent
    assert passed == 2 * len(sent)
    assert seconds < 3.0


def test_an_end_that_closes_closes_the_other_after_what_was_on_the_way() -> None:
    async def run() -> bytes:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"last words")
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        relay = Relay(server.sockets[0].getsockname()[1], DELAY_S)
        await relay.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        got = await asyncio.wait_for(reader.read(), 2)
        writer.close()
        await relay.close()
        server.close()
        return got

    assert asyncio.run(run()) == b"last words"


def test_a_target_that_does_not_listen_ends_the_connection() -> None:
    async def run() -> bytes:
        relay = Relay(1, DELAY_S)
        await relay.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        try:
            return await asyncio.wait_for(reader.read(), 2)
        except ConnectionError:
            return b""
        finally:
            writer.close()
            await relay.close()

    assert asyncio.run(run()) == b""
