"""Home of tests of the fault proxy: every fault does what it says, one way and both ways, and ends when it is healed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.system.proxy import FaultProxy


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Between node 0, which the tests are, and node 1, which echoes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo_all, args=(server,), daemon=True).start()
        with FaultProxy({0: 1, 1: server.getsockname()[1]}) as made:
            yield made
        server.shutdown(socket.SHUT_RDWR)


def _echo_all(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(1 << 16):
                connection.sendall(data)
        except OSError:
            return


def connect(proxy: FaultProxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port(0, 1)), timeout=10)
    connection.settimeout(10)
    return connection


def exchange(connection: socket.socket, data: bytes) -> float:
    """Send bytes and read them back; how long it took, in seconds."""
    started = time.monotonic()
    connection.sendall(data)
    received = b""
    while len(received) < len(data):
        part = connection.recv(1 << 16)
        assert part, "it was closed"
        received += part
    assert received == data
    return time.monotonic() - started


def nothing_comes(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1, socket.MSG_PEEK) is None
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)


def test_bytes_pass_unaltered_without_faults(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        exchange(connection, bytes(range(256)) * 4096)


@pytest.mark.parametrize("way", [(0, 1), (1, 0)])
def test_delays_are_of_one_way_and_end(proxy: FaultProxy, way: tuple[int, int]) -> None:
    with connect(proxy) as connection:
        proxy.delay(*way, 0.3)
        assert 0.3 <= exchange(connection, b"a") < 0.6 + 2
        proxy.heal()
        assert exchange(connection, b"b") < 0.3


def test_bandwidth_is_bounded(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        proxy.limit(0, 1, 1e6)
        assert exchange(connection, bytes(400_000)) >= 0.3


def test_what_is_held_back_arrives_after_healing(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        proxy.hold(1, 0)
        connection.sendall(b"late")
        assert nothing_comes(connection, 0.3)
        proxy.heal()
        assert connection.recv(4, socket.MSG_WAITALL) == b"late"


def test_a_cut_breaks_connections_and_refuses_new_ones_until_healed(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        exchange(connection, b"x")
        proxy.split([1], [0])
        with pytest.raises((AssertionError, ConnectionError)):
            exchange(connection, b"y")
    with connect(proxy) as refused, pytest.raises((AssertionError, ConnectionError)):
        exchange(refused, b"z")
    assert proxy.connections() == 0
    proxy.heal()
    with connect(proxy) as connection:
        exchange(connection, b"back")
