"""Home of the tests of whole networks over sockets: who connects, who is refused, what passes between peers."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any

import pytest

from chain.errors import InvalidInput
from chain.network.identity import client_context, make_credentials
from chain.network.messages import (
    Blocks,
    GetBlocks,
    HaveBlobs,
    Message,
    NotHeld,
    Status,
    TransactionHashes,
    Votes,
)
from chain.network.network import Network
from chain.network.peer import ANSWERS_MAX, Peer, PeerGone, RequestTimedOut
from chain.network.settings import CannotListen, PortInUse
from chain.network.websocket import ConnectionEnded, Socket
from tests.chain.network.network_world import (
    World,
    connect,
    keep,
    key,
    node_id,
    over_sockets,
    random_hash,
    until,
)


async def read_to_the_end(socket: Socket) -> None:
    """Raises ConnectionEnded when it comes."""
    while True:
        await socket.receive()


def hashes(count: int = 1) -> TransactionHashes:
    return TransactionHashes(hashes=tuple(random_hash() for _ in range(count)))


# --------------------------------------------------------------------------------------------------------- connecting


@over_sockets
async def test_nodes_know_each_other_by_their_node_keys(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    await connect((a, b))
    assert (a.id, b.id) == (node_id(1), node_id(2))
    (at_a,), (at_b,) = a.peers(), b.peers()
    assert (at_a.id, at_a.host, at_a.port, at_a.inbound) == (b.id, "127.0.0.1", b.port, True)
    assert (at_b.id, at_b.host, at_b.port, at_b.inbound) == (a.id, "127.0.0.1", a.port, False)
    status = b.status()
    assert status["nodeId"] == "0x" + b.id.hex()
    assert status["peers"][0]["node"] == "0x" + a.id.hex()


@over_sockets
async def test_a_given_peer_may_be_named_with_its_id(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, f"0x{a.id.hex()}@127.0.0.1:{a.port}")
    await connect((a, b))


@over_sockets
async def test_another_node_than_the_one_named_is_not_accepted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lyceum.network")
    a = await world.node(1)
    b = await world.node(2, f"0x{node_id(9).hex()}@127.0.0.1:{a.port}")
    await until(lambda: "was expected" in caplog.text)
    assert not a.peers()
    assert not b.peers()


@over_sockets
async def test_a_node_of_another_network_is_refused(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lyceum.network")
    a = await world.node(1)
    b = await world.node(2, a, genesis=b"x" * 32)
    await until(lambda: caplog.text.count("is of network") >= 2)  # both sides say why
    assert not a.peers()
    assert not b.peers()


@over_sockets
async def test_a_node_that_is_given_itself_does_not_connect(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    a = await world.node(1, f"127.0.0.1:{port}", port=port)
    await until(lambda: all(address.own for address in a.book.all()))
    assert not a.peers()


@over_sockets
async def test_two_that_call_each_other_at_once_keep_the_same_connection(world: World) -> None:
    for turn in range(6):
        one, two = 10 + 2 * turn, 11 + 2 * turn
        ports = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as taken:
                ports.append(taken.getsockname()[1])
        a = world.make(one, f"127.0.0.1:{ports[1]}", port=ports[0])
        b = world.make(two, f"127.0.0.1:{ports[0]}", port=ports[1])
        await asyncio.gather(a.start(), b.start())
        await asyncio.gather(*(world.adopt(network) for network in (a, b)))
        await connect((a, b))
        await asyncio.sleep(0.3)
        assert len(a.peers()) == len(b.peers()) == 1
        at_a, at_b = a.peers()[0], b.peers()[0]
        assert at_a.inbound is not at_b.inbound
        came = keep(b, HaveBlobs)
        at_a.send(HaveBlobs(roots=(b"r" * 32,)))
        await until(lambda came=came: came)
        await world.stop(a)
        await world.stop(b)


@over_sockets
async def test_a_node_that_calls_again_has_lost_its_first_connection(world: World) -> None:
    a = await world.node(1)
    gone: list[Peer] = []
    a.gone.append(gone.append)
    first = await world.stranger(a, key(2))
    await until(a.peers)
    (peer,) = a.peers()
    await world.stranger(a, key(2))
    await until(lambda: gone == [peer])
    assert len(a.peers()) == 1
    assert a.peers()[0] is not peer
    with pytest.raises(ConnectionEnded, match="goes before"):
        await read_to_the_end(first)


@over_sockets
async def test_only_those_on_the_list_are_let_in(world: World) -> None:
    a = await world.node(1, allowed=frozenset({node_id(2)}))
    b = await world.node(2, a)
    await connect((a, b))
    c = await world.node(3, a)
    with pytest.raises(Exception, match="not on the list"):
        await world.stranger(a, key(4))
    await asyncio.sleep(0.2)
    assert [peer.id for peer in a.peers()] == [b.id]
    assert a.id not in [peer.id for peer in c.peers()]


@over_sockets
async def test_who_is_blamed_enough_is_cut_off_and_banned_also_after_a_restart(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    await connect((a, b))
    a.peers()[0].blame(60, "lies")
    assert a.peers()
    a.peers()[0].blame(60, "lies")
    assert not a.peers()
    await until(lambda: not b.peers())
    with pytest.raises(Exception, match="banned"):
        await world.stranger(a, key(2))
    await world.stop(a)
    again = await world.node(1)
    with pytest.raises(Exception, match="banned for a time: lies"):
        await world.stranger(again, key(2))
    await world.stranger(again, key(3))


@over_sockets
async def test_a_ban_ends(world: World) -> None:
    a = await world.node(1, ban_s=0.2)
    b = await world.node(2, a)
    await connect((a, b))
    a.peers()[0].blame(100, "lies")
    assert not a.peers()
    await connect((a, b))


@over_sockets
async def test_a_port_that_is_in_use_is_named(world: World) -> None:
    a = await world.node(1)
    with pytest.raises(PortInUse, match=str(a.port)):
        await world.make(2, port=a.port).start()
    with pytest.raises(CannotListen, match="can't listen"):
        await world.make(3, host="192.0.2.1").start()


# -------------------------------------------------------------------------------------------------- slots and ranges


@over_sockets
async def test_inbound_slots_are_bounded_and_the_rest_hear_why(world: World) -> None:
    a = await world.node(1, inbound_max=2)
    await world.stranger(a, key(2))
    await world.stranger(a, key(3))
    with pytest.raises(Exception, match="all 2 inbound slots"):
        await world.stranger(a, key(4))
    assert {peer.id for peer in a.peers()} == {node_id(2), node_id(3)}


@over_sockets
async def test_one_range_does_not_fill_all_slots(world: World) -> None:
    a = await world.node(1, per_local_range_max=1)
    await world.stranger(a, key(2))
    with pytest.raises(Exception, match="slots for this machine"):
        await world.stranger(a, key(3))


@over_sockets
async def test_full_inbound_slots_do_not_keep_a_node_from_calling_nor_named_ones_from_coming(world: World) -> None:
    b = await world.node(2)
    a = await world.node(1, f"0x{node_id(5).hex()}@127.0.0.1:1", f"127.0.0.1:{b.port}", inbound_max=1)
    await connect((a, b))
    await world.stranger(a, key(3))
    with pytest.raises(Exception, match="slots"):
        await world.stranger(a, key(4))
    await world.stranger(a, key(5))
    assert {peer.id for peer in a.peers()} == {b.id, node_id(3), node_id(5)}


@over_sockets
async def test_outbound_slots_are_bounded_for_all_but_given_peers(world: World) -> None:
    hub = await world.node(1)
    others = [await world.node(number, hub) for number in range(2, 7)]
    await connect(*((hub, other) for other in others))
    late = await world.node(9, hub, others[0], outbound_max=3, discovery_first_s=0.05, announce_port=0)
    await until(lambda: sum(not peer.inbound for peer in late.peers()) == 3)
    await asyncio.sleep(0.5)
    assert sum(not peer.inbound for peer in late.peers()) == 3


@over_sockets
async def test_unfinished_handshakes_are_bounded_by_range_and_none_is_begun_with_a_banned_host(world: World) -> None:
    a = await world.node(1, handshakes_per_range_max=2, handshakes_max=3)
    listener = a._listener
    assert listener is not None
    assert listener._room_for("8.8.8.8") == "8.8.0.0/16"
    listener._under_way["8.8.0.0/16"] = 2
    assert listener._room_for("8.8.4.4") is None
    assert listener._room_for("9.9.9.9") == "9.9.0.0/16"
    listener._under_way["9.9.0.0/16"] = 1
    assert listener._room_for("1.1.1.1") is None
    listener._under_way.clear()
    a._blame_host("8.8.8.8", "garbage")
    a._blame_host("127.0.0.1", "garbage")
    assert listener._room_for("8.8.8.8") is None
    assert listener._room_for("8.8.8.9") == "8.8.0.0/16"
    await world.stranger(a, key(2))  # nobody on this machine is banned for what another one there did


# --------------------------------------------------------------------------------------------------------- discovery


@over_sockets
async def test_sixteen_nodes_on_one_machine_that_know_one_all_meet(world: World) -> None:
    first = await world.node(1)
    nodes = [first, *[await world.node(number, first) for number in range(2, 17)]]
    await connect(*((a, b) for a in nodes for b in nodes if a is not b))


@over_sockets
async def test_nodes_that_know_one_find_all(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    c = await world.node(3, a)
    await connect((a, b), (a, c), (b, c))
    d = await world.node(4, c)
    await connect((a, d), (b, d), (c, d))


@over_sockets
async def test_a_node_comes_back_to_those_it_met_without_being_given_anyone(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    c = await world.node(3, b)
    await connect((a, b), (b, c), (a, c))
    await world.stop(b)
    again = await world.node(2)
    await until(lambda: again.peer(a.id) or again.peer(c.id))


@over_sockets
async def test_a_node_that_announces_nothing_is_told_to_nobody(world: World) -> None:
    a = await world.node(1)
    hidden = await world.node(2, a, announce_port=0)
    await connect((a, hidden))
    c = await world.node(3, a, announce_port=0)
    await connect((a, c))
    await asyncio.sleep(0.5)
    assert not c.peer(hidden.id)
    assert not hidden.peer(c.id)


@over_sockets
async def test_given_peers_are_called_until_they_are_there(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    a = await world.node(1, f"127.0.0.1:{port}", backoff_max_s=0.3)
    await until(lambda: a.book.all()[0].failures >= 3)
    b = await world.node(2, port=port)
    await connect((a, b))
    assert a.book.all()[0].failures == 0
    await world.stop(b)
    await until(lambda: not a.peers())
    again = await world.node(2, port=port)
    await connect((a, again))


@over_sockets
async def test_one_that_hangs_up_at_once_is_called_less_and_less_often(world: World) -> None:
    a = await world.node(1)
    calls: list[float] = []

    def hang_up(peer: Peer) -> None:
        calls.append(asyncio.get_running_loop().time())
        peer.cut("not now")

    a.connected.append(hang_up)
    b = await world.node(2, a, announce_port=0)
    await until(lambda: len(calls) >= 5)
    assert calls[4] - calls[3] > 0.2  # half of 0.05 s, doubled three times
    await until(lambda: b.book.all()[0].failures >= 4)


# ---------------------------------------------------------------------------------------------- what passes between


@over_sockets
async def test_messages_go_to_the_owner_of_their_kind_in_order(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    told, votes = keep(a, TransactionHashes), keep(a, Votes)
    await connect((a, b))
    (peer,) = b.peers()
    sent = [hashes() for _ in range(200)]
    for message in sent:
        assert peer.send(message)
    peer.send(Votes(votes=(b"vote",)))
    await until(lambda: len(told) == 200 and votes)
    assert told == sent
    assert b.traffic()["transaction_hashes"][2:] == a.traffic()["transaction_hashes"][:2] == (200, 200 * 37)


@over_sockets
async def test_a_broadcast_reaches_all_but_one(world: World) -> None:
    a = await world.node(1)
    others = [await world.node(number, a, announce_port=0) for number in (2, 3, 4)]
    came = [keep(other, TransactionHashes) for other in others]
    await connect(*((a, other) for other in others))
    message = hashes(3)
    a.broadcast(message, but=a.peer(others[1].id))
    await until(lambda: came[0] and came[2])
    await asyncio.sleep(0.05)
    assert came == [[message], [], [message]]


@over_sockets
async def test_a_long_message_passes(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    came = keep(a, Blocks)
    await connect((a, b))
    message = Blocks(id=1, first=1, blocks=tuple((bytes([i]) * 1_000_000, b"commit") for i in range(2)))
    b.peers()[0].send(message)
    await until(lambda: came)
    assert came == [message]


@over_sockets
async def test_questions_are_answered_each_with_its_own(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)

    async def answer(peer: Peer, question: GetBlocks) -> Message:
        await asyncio.sleep(0.002 * (question.first % 3))
        if question.first == 7:
            return NotHeld(id=question.id)
        return Blocks(id=question.id, first=question.first, blocks=((b"block", b"commit"),))

    a.answer(GetBlocks, answer)
    await connect((a, b))
    (peer,) = b.peers()
    answers = await asyncio.gather(*(peer.request(GetBlocks(id=0, first=n, count=1), 5) for n in range(20)))
    assert [item.first if isinstance(item, Blocks) else None for item in answers] == [
        None if n == 7 else n for n in range(20)
    ]


@over_sockets
async def test_a_question_without_an_answer_ends_in_time(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    asked = keep(a, GetBlocks)
    await connect((a, b))
    (peer,) = b.peers()
    with pytest.raises(RequestTimedOut):
        await peer.request(GetBlocks(id=0, first=1, count=1), 0.1)
    assert asked
    a.peers()[0].send(Blocks(id=asked[0].id, first=1, blocks=()))  # type: ignore[union-attr]
    await asyncio.sleep(0.1)
    assert b.peers() == [peer]  # who answers too late is only late


@over_sockets
async def test_a_question_to_one_that_goes_ends_at_once(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    keep(a, GetBlocks)
    await connect((a, b))
    question = asyncio.create_task(b.peers()[0].request(GetBlocks(id=0, first=1, count=1), 60))
    await asyncio.sleep(0.05)
    await world.stop(a)
    with pytest.raises(PeerGone):
        await question


@over_sockets
async def test_an_answer_of_another_kind_than_was_asked_for_ends_the_connection(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    a.handle(GetBlocks, lambda peer, question: peer.send(_a_status()) and peer.send(_headers(question.id)))
    statuses = keep(b, Status)
    await connect((a, b))
    (peer,) = b.peers()
    with pytest.raises(PeerGone, match="no answer to what was asked"):
        await peer.request(GetBlocks(id=0, first=1, count=1), 5)
    assert len(statuses) == 1


def _a_status() -> Status:
    return Status(height=1, round=0, oldest_block=1, votes=(), proposals=())


def _headers(id_: int) -> Message:
    from chain.network.messages import Headers

    return Headers(id=id_, first=1, headers=())


@over_sockets
async def test_only_so_many_questions_of_a_peer_are_worked_on_at_once(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a)
    at_work = most = 0

    async def answer(peer: Peer, question: GetBlocks) -> Message:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.01)
        at_work -= 1
        return NotHeld(id=question.id)

    a.answer(GetBlocks, answer)
    await connect((a, b))
    (peer,) = b.peers()
    await asyncio.gather(*(peer.request(GetBlocks(id=0, first=1, count=1), 5) for _ in range(30)))
    assert most == ANSWERS_MAX


@over_sockets
async def test_what_its_owner_finds_invalid_ends_the_connection_and_twice_is_a_ban(world: World) -> None:
    a = await world.node(1)
    b = await world.node(2, a, announce_port=0)

    def refuse(peer: Peer, message: Message) -> None:
        raise InvalidInput("nonsense")

    a.handle(HaveBlobs, refuse)
    gone: list[Peer] = []
    a.gone.append(gone.append)
    for _ in range(2):
        await connect((a, b))
        b.peers()[0].send(HaveBlobs(roots=(b"r" * 32,)))
        count = len(gone)
        await until(lambda count=count: len(gone) > count)
    assert [peer.gone for peer in gone] == ["nonsense", "banned: nonsense"]


@over_sockets
async def test_followers_hear_of_each_peer_that_comes_and_goes_once(world: World) -> None:
    a = await world.node(1)
    heard: list[tuple[str, bytes]] = []
    a.connected.append(lambda peer: heard.append(("came", peer.id)))
    a.gone.append(lambda peer: heard.append(("went", peer.id)))
    b = await world.node(2, a, announce_port=0)
    await connect((a, b))
    (peer,) = a.peers()
    peer.cut("enough")
    peer.cut("again")
    assert heard == [("came", b.id), ("went", b.id)]
    assert not peer.send(hashes())
    with pytest.raises(PeerGone):
        await peer.request(GetBlocks(id=0, first=1, count=1), 1)
    await connect((a, b))
    assert heard == [("came", b.id), ("went", b.id), ("came", b.id)]


@over_sockets
async def test_an_error_of_a_handler_ends_one_connection_and_not_the_node(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    a = await world.node(1)
    b = await world.node(2, a)

    def fail(peer: Peer, message: Message) -> None:
        raise ZeroDivisionError

    a.handle(HaveBlobs, fail)
    await connect((a, b))
    (peer,) = b.peers()
    peer.send(HaveBlobs(roots=()))
    await until(lambda: peer.gone)
    assert "ZeroDivisionError" in caplog.text
    await connect((a, b))


@over_sockets
async def test_an_error_of_a_follower_stops_the_network(world: World) -> None:
    a = world.make(1)

    def fail(peer: Peer) -> None:
        raise ZeroDivisionError

    a.connected.append(fail)
    await a.start()
    run = asyncio.create_task(a.run())
    await world.stranger(a, key(2))
    with pytest.raises(ZeroDivisionError):
        await run
    b = await world.node(3)
    c = world.make(4, b)
    c.connected.append(fail)
    await c.start()
    with pytest.raises(ZeroDivisionError):
        await c.run()


# ------------------------------------------------------------------------------------------------- who sits between


class Between:
    """Ends TLS with a certificate of its own and passes on what both sides say."""

    def __init__(self, target: Network) -> None:
        self._target = target
        self._server: asyncio.Server
        self.passed = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> int:
        credentials = make_credentials()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=credentials.server)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context: ssl.SSLContext = client_context()
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target.port, ssl=context)
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        self._server.close()


@over_sockets
async def test_who_ends_tls_in_between_gets_no_connection_through(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lyceum.network")
    a = await world.node(1)
    between = Between(a)
    b = await world.node(2, f"127.0.0.1:{await between.start()}")
    await until(lambda: "in between" in caplog.text)
    assert between.passed > 1000
    assert not a.peers()
    assert not b.peers()
    await between.close()
