"""Home of the tests of abuse: peers that flood, do not read, send nonsense or stay silent, while others are served."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chain.network import peer as peer_module
from chain.network.frames import PIECE_BYTES_MAX, FrameWriter
from chain.network.handshake import encode as encode_handshake
from chain.network.identity import client_context, make_credentials
from chain.network.limits import ARRIVALS_BURST_S, BURST_S, GIVEN, RATES
from chain.network.messages import (
    Blocks,
    GetBlocks,
    GetPeers,
    Kind,
    Message,
    Peers,
    TransactionHashes,
    encode,
    frame_bytes_max,
)
from chain.network.network import Network
from chain.network.peer import ANSWER_BYTES_MAX, ANSWERS_MAX, Peer
from chain.network.settings import NetworkSettings
from chain.network.websocket import ConnectionEnded, Socket
from tests.chain.network.network_world import World, connect, keep, key, node_id, over_sockets, side, until


def pieces(*messages: Message) -> list[bytes]:
    writer = FrameWriter()
    for message in messages:
        writer.add(encode(message))
    found = []
    while piece := writer.next_piece():
        found.append(piece)
    return found


async def ending(socket: Socket) -> str:
    """Why the other side ends a connection."""
    async with asyncio.timeout(8):
        try:
            while True:
                await socket.receive()
        except ConnectionEnded as error:
            return str(error)


@asynccontextmanager
async def honest_traffic(world: World, hub: Network) -> AsyncIterator[list[float]]:
    """A node that asks the hub, one question after the other; how long each answer took."""
    honest = await world.node(100, hub, announce_port=0)

    async def answer(peer: Peer, question: GetBlocks) -> Message:
        return Blocks(id=question.id, first=question.first, blocks=((b"b" * 5000, b"c"),))

    hub.answer(GetBlocks, answer)
    await connect((hub, honest))
    took: list[float] = []

    async def ask() -> None:
        (peer,) = honest.peers()
        while True:
            start = time.perf_counter()
            await peer.request(GetBlocks(id=0, first=1, count=1), 5)
            took.append(time.perf_counter() - start)
            await asyncio.sleep(0.03)

    task = asyncio.create_task(ask())
    try:
        yield took
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ----------------------------------------------------------------------------------------------------------- flooding


@over_sockets
async def test_who_sends_ten_times_as_much_as_allowed_is_slowed_while_others_are_served(world: World) -> None:
    a = await world.node(1)
    came = keep(a, TransactionHashes)
    rate = RATES[Kind.TRANSACTION_HASHES].frames_per_second
    async with honest_traffic(world, a) as took:
        flooding = await world.stranger(a, key(2))
        start = time.perf_counter()
        sent = 0
        while (passed := time.perf_counter() - start) < 3:
            while sent < 10 * rate * passed:
                await asyncio.wait_for(flooding.send(pieces(TransactionHashes(hashes=(b"h" * 32,)))[0]), 8)
                sent += 1
            await asyncio.sleep(0.005)
        (peer,) = (p for p in a.peers() if p.id == node_id(2))
        assert peer.held_back_s > 0.3
        assert len(came) <= rate * (passed + BURST_S) * 1.1
    assert len(took) > 50
    assert sorted(took)[len(took) * 9 // 10] < 0.1


@over_sockets
async def test_who_sends_ten_bursts_in_one_go_is_banned(world: World) -> None:
    a = await world.node(1)
    flooding = await world.stranger(a, key(2))
    await flooding.send(pieces(*[GetPeers(id=1 << 31)] * 200)[0])
    assert "banned: 1" in await ending(flooding)
    with pytest.raises(Exception, match="banned"):
        await world.stranger(a, key(2))


@over_sockets
async def test_who_talks_too_fast_for_long_is_banned_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "OVERRUN_S", 0.5)
    a = await world.node(1)
    flooding = await world.stranger(a, key(2))
    piece = pieces(*[GetPeers(id=1 << 31)] * 10)[0]

    async def flood() -> None:
        while True:
            await flooding.send(piece)

    task = asyncio.create_task(flood())
    assert "banned: it talks too fast" in await ending(flooding)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@over_sockets
async def test_what_a_flooding_peer_makes_us_keep_is_bounded(world: World) -> None:
    a = await world.node(1)
    keep_nothing: list[int] = []
    a.handle(Blocks, lambda peer, message: keep_nothing.append(len(keep_nothing)))
    flooding = await world.stranger(a, key(2))
    message = Blocks(id=1, first=1, blocks=((b"b" * 1_000_000, b"c"),))
    parts = pieces(message)
    tracemalloc.start()
    try:

        async def flood() -> None:
            while True:
                for part in parts:
                    await flooding.send(part)

        task = asyncio.create_task(flood())
        await until(lambda: len(keep_nothing) > 20)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        await until(lambda: len(keep_nothing) > 60)
        assert tracemalloc.get_traced_memory()[1] - before < 16 << 20  # the sender is in this process as well
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    finally:
        tracemalloc.stop()


# -------------------------------------------------------------------------------------------------------- not reading


@over_sockets
async def test_who_does_not_read_is_dropped_and_others_hear_everything(world: World) -> None:
    a = await world.node(1, queue_bytes_max=4 << 20)
    b = await world.node(2, a)
    came = keep(b, Blocks)
    await connect((a, b))
    await world.stranger(a, key(3))
    gone: list[Peer] = []
    a.gone.append(gone.append)
    for number in range(40):
        a.broadcast(Blocks(id=number, first=1, blocks=((bytes([number]) * 900_000, b"c"),)))
        await until(lambda number=number: len(came) > number)
    await until(lambda: gone)
    assert [peer.id for peer in gone] == [node_id(3)]
    assert "does not read" in str(gone[0].gone)
    assert [message.id for message in came] == list(range(40))  # type: ignore[union-attr]


@over_sockets
async def test_who_asks_and_does_not_read_the_answers_is_not_answered_further(world: World) -> None:
    a = await world.node(1)
    answered = 0

    async def answer(peer: Peer, question: GetBlocks) -> Message:
        nonlocal answered
        answered += 1
        return Blocks(id=question.id, first=1, blocks=((b"b" * 1_000_000, b"c"),))

    a.answer(GetBlocks, answer)
    asking = await world.stranger(a, key(2))
    for number in range(60):
        await asking.send(pieces(GetBlocks(id=(1 << 31) + number, first=1, count=1))[0])
    await asyncio.sleep(0.5)
    before = answered
    await asyncio.sleep(0.5)
    (peer,) = a.peers()
    assert answered == before < 60
    assert peer.queued_bytes <= ANSWER_BYTES_MAX + ANSWERS_MAX * 1_100_000


@over_sockets
async def test_who_asks_for_ever_is_given_its_share_and_its_other_messages_are_read(world: World) -> None:
    a = await world.node(1)
    given = 0

    async def answer(peer: Peer, question: GetBlocks) -> Message:
        nonlocal given
        given += 1_000_000
        return Blocks(id=question.id, first=1, blocks=((b"b" * 1_000_000, b"c"),))

    a.answer(GetBlocks, answer)
    came = keep(a, TransactionHashes)
    asking = await world.stranger(a, key(2))
    start = time.perf_counter()

    async def ask() -> None:
        for number in range(1000):
            await asking.send(pieces(GetBlocks(id=(1 << 31) + number, first=1, count=1))[0])
            while given < (number - 1) * 1_000_000:  # never more than two questions are open
                await asking.receive()

    task = asyncio.create_task(ask())
    await until(lambda: given > BURST_S * GIVEN.bytes_per_second)
    for _ in range(20):
        await asking.send(pieces(TransactionHashes(hashes=(b"h" * 32,)))[0])
        await asyncio.sleep(0.05)
    passed = time.perf_counter() - start
    await until(lambda: len(came) == 20, 0.5)
    assert given <= (passed + BURST_S) * GIVEN.bytes_per_second + 4_000_000
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ----------------------------------------------------------------------------------------------------------- nonsense


NONSENSE = {
    "an unknown kind": b"\1\0\0\0\2\xff\x00",
    "an empty frame": b"\1\0\0\0\0\x0a",
    "a frame longer than its kind": b"\1" + (frame_bytes_max(Kind.GET_PEERS) + 1).to_bytes(4, "big") + b"\x0a",
    "a length of four GiB": b"\0\xff\xff\xff\xff\x20",
    "a lane that is none": b"\7\0\0\0\2\x0a\x90",
    "no msgpack": b"\1\0\0\0\3\x0a\xc1\xc1",
    "another value than its kind has": b"\1\0\0\0\3\x0a\x91\xa0",
    "an encoding that is not canonical": b"\1\0\0\0\4\x0a\x91\xcc\x05",
    "trailing bytes": b"\1\0\0\0\4\x0a\x91\x05\x05",
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
@over_sockets
async def test_who_sends_nonsense_is_banned_at_once(world: World, nonsense: bytes) -> None:
    a = await world.node(1)
    lying = await world.stranger(a, key(2))
    await lying.send(nonsense)
    assert "banned" in await ending(lying)
    assert not a.peers()
    with pytest.raises(Exception, match="banned"):
        await world.stranger(a, key(2))


@over_sockets
async def test_a_piece_beyond_the_bound_ends_the_connection(world: World) -> None:
    a = await world.node(1)
    lying = await world.stranger(a, key(2))
    await lying.send(b"\1" + bytes(PIECE_BYTES_MAX))
    assert "closed" in await ending(lying) or "broke" in await ending(lying)
    await until(lambda: not a.peers())


@over_sockets
async def test_text_and_control_messages_are_not_spoken(world: World) -> None:
    a = await world.node(1)
    for say in ("ping", "send_str"):
        talking = await world.stranger(a, key(2))
        await until(a.peers)
        await getattr(talking._socket, say)(b"x" if say == "ping" else "x")
        await until(lambda: not a.peers())


@over_sockets
async def test_addresses_that_nobody_asked_for_change_nothing(world: World) -> None:
    a = await world.node(1)
    lying = await world.stranger(a, key(2))
    await lying.send(pieces(Peers(id=1, addresses=()))[0])
    await lying.send(pieces(Peers(id=(1 << 31) + 77, addresses=()))[0])
    await asyncio.sleep(0.1)
    assert len(a.book) == 0
    assert len(a.peers()) == 1


@pytest.mark.parametrize("id_", [1, 1 << 31, (1 << 31) + 77])
@over_sockets
async def test_who_answers_what_nobody_asked_is_banned_in_the_end(world: World, id_: int) -> None:
    a = await world.node(1)
    lying = await world.stranger(a, key(2))
    for _ in range(6):
        await lying.send(pieces(Peers(id=id_, addresses=()))[0])
    assert "banned: a Peers that nobody has asked for" in await ending(lying)


# ------------------------------------------------------------------------------------------------- unfinished sockets


@over_sockets
async def test_who_comes_again_and_again_is_let_in_at_a_rate(world: World) -> None:
    a = await world.node(1, local_arrivals_per_second=5.0)
    welcome, start = 0, time.perf_counter()
    while time.perf_counter() - start < 2:
        with suppress(Exception):
            await world.stranger(a, secrets.token_bytes(32))
            welcome += 1
        world.forget_strangers()
    passed = time.perf_counter() - start
    assert 20 <= welcome <= 5 * (passed + ARRIVALS_BURST_S)
    await asyncio.sleep(0.25)
    await world.stranger(a, key(2))


@over_sockets
async def test_silent_sockets_are_cut_and_do_not_keep_others_out(world: World) -> None:
    a = await world.node(1, handshake_s=0.6, handshakes_per_local_range_max=10)
    silent = [await asyncio.open_connection("127.0.0.1", a.port) for _ in range(30)]
    await asyncio.sleep(0.1)
    status = a.status()
    assert status["handshakes"] == 10
    for reader, _ in silent:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    await until(lambda: a.status()["handshakes"] == 0)
    await world.stranger(a, key(2))
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize("stage", ["TLS", "half a request", "WebSocket", "hello"])
@over_sockets
async def test_who_stops_halfway_is_cut_in_time(world: World, stage: str) -> None:
    a = await world.node(1, handshake_s=0.5)
    start = time.perf_counter()
    context: ssl.SSLContext = client_context()
    if stage in ("TLS", "half a request"):
        reader, writer = await asyncio.open_connection("127.0.0.1", a.port, ssl=context)
        if stage == "half a request":
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nUpgra")
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    else:
        opened, _ = await world.open_socket(a)
        if stage == "hello":
            await opened.send(encode_handshake(side(key(2)).hello()))
        await ending(opened)
    assert 0.3 < time.perf_counter() - start < 2
    await until(lambda: a.status()["handshakes"] == 0)
    await world.stranger(a, key(2))


@over_sockets
async def test_a_handshake_is_dripped_through_in_vain(world: World) -> None:
    a = await world.node(1, handshake_s=0.5)
    context: ssl.SSLContext = client_context()
    _, writer = await asyncio.open_connection("127.0.0.1", a.port, ssl=context)
    start = time.perf_counter()
    with pytest.raises(OSError):  # noqa: PT012 - some write after the cut fails
        for letter in b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 1000:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.02)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("seed", range(4))
@over_sockets
async def test_garbage_instead_of_tls_http_or_a_handshake_harms_nobody(
    world: World, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    a = await world.node(1, handshake_s=1.0)
    generator = random.Random(seed)
    context: ssl.SSLContext = client_context()
    for _ in range(15):
        _, writer = await asyncio.open_connection("127.0.0.1", a.port)
        writer.write(generator.choice((b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n")) + generator.randbytes(300))
        writer.close()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", a.port, ssl=context)
            writer.write(
                generator.choice((b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n")) + generator.randbytes(99)
            )
            writer.write(b"\r\n\r\n" + generator.randbytes(generator.randrange(5000)))
            writer.close()
        except OSError:
            pass
        opened, _ = await world.open_socket(a)
        await opened.send(generator.randbytes(generator.randrange(2000)))
        await opened.close("")
    await world.stranger(a, key(2))
    assert len(a.peers()) == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@over_sockets
async def test_a_page_that_is_asked_for_is_not_there(world: World) -> None:
    a = await world.node(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", a.port, ssl=client_context())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 404")
    writer.close()


@over_sockets
async def test_a_node_that_is_called_elsewhere_by_http_does_not_go(world: World) -> None:
    """What listens at a peer's address can't send the node to other places."""
    asked: list[bytes] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/secret\r\nContent-Length: 0\r\n\r\n" % port)
        await writer.drain()
        writer.close()

    plain = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    secure = await asyncio.start_server(redirect, "127.0.0.1", 0, ssl=make_credentials().server)
    a = await world.node(1, f"127.0.0.1:{secure.sockets[0].getsockname()[1]}")
    await until(lambda: a.book.all()[0].failures >= 2)
    assert asked
    assert not any(b"secret" in request for request in asked)
    plain.close()
    secure.close()


# ------------------------------------------------------------------------------------------------------------- silence


@over_sockets
async def test_a_peer_of_which_nothing_comes_is_cut_and_quiet_nodes_are_not(world: World) -> None:
    times = {"idle_s": 0.8, "keepalive_s": 0.2}
    a = await world.node(1, **times)
    b = await world.node(2, a, **times)
    await connect((a, b))
    await world.stranger(a, key(3))
    await until(lambda: len(a.peers()) == 2)
    gone: list[Peer] = []
    a.gone.append(gone.append)
    await until(lambda: gone)
    await asyncio.sleep(1.0)
    assert [(peer.id, peer.gone) for peer in gone] == [(node_id(3), "nothing came from it for 0.8 s")]
    assert len(a.peers()) == 1


@over_sockets
async def test_a_cut_wire_is_noticed_and_the_nodes_meet_again(world: World) -> None:
    times = {"idle_s": 0.8, "keepalive_s": 0.2}
    a = await world.node(1, **times)
    wire = _Wire(a.port)
    b = await world.node(2, f"127.0.0.1:{await wire.start()}", announce_port=0, **times)
    await connect((a, b))
    wire.cut = True
    await until(lambda: not a.peers() and not b.peers())
    wire.cut = False
    await connect((a, b))
    wire.close()


class _Wire:
    """Passes on what goes to a port, unless it is cut: then nothing, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server
        self.cut = False

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                if not self.cut:
                    writer.write(data)
        except OSError:
            pass
        writer.close()

    def close(self) -> None:
        self._server.close()


def test_the_defaults_bound_what_all_peers_together_can_make_a_node_keep() -> None:
    settings = NetworkSettings()
    slots = settings.inbound_max + settings.outbound_max
    longest = max(frame_bytes_max(kind) for kind in Kind)
    assert slots * (2 * longest + settings.queue_bytes_max) < 1 << 30
