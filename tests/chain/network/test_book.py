"""Home of the tests of the address book, of ranges, and of what a node remembers between runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from chain.network.book import ADDRESSES_MAX, HEARSAY_TRIES_MAX, PER_RANGE_MAX, AddressBook, backoff_s
from chain.network.memory import Memory
from chain.network.messages import PEERS_MAX
from chain.network.ranges import LOOPBACK, PRIVATE, InvalidAddressOfNode, may_tell, network_range
from chain.network.settings import InvalidPeer, NetworkSettings, parse_peer
from chain.network.standing import Standing

A, B = b"a" * 20, b"b" * 20
FAR = "198.51.100.7"  # documentation's ranges count as private, so tests use public ones
PUBLIC, PUBLIC_2, PUBLIC_6 = "8.8.8.8", "9.9.9.9", "2a00:1450::1"


def book(*given: str, **choices: float) -> AddressBook:
    settings = NetworkSettings(**choices)  # type: ignore[arg-type]
    return AddressBook(settings, [parse_peer(text) for text in given], lambda: 1_000_000.0)


# ------------------------------------------------------------------------------------------------------------ ranges


def test_ranges_are_16_bits_of_ipv4_and_32_of_ipv6() -> None:
    assert network_range("8.8.8.8") == network_range("8.8.4.4") == "8.8.0.0/16"
    assert network_range("2a00:1450:4001::1") == network_range("2a00:1450:ffff::2") == "2a00:1450::/32"
    assert network_range("::ffff:8.8.8.8") == "8.8.0.0/16"
    assert network_range("127.0.0.9") == network_range("::1") == LOOPBACK
    assert network_range("10.1.2.3") == network_range("fe80::1%eth0") == network_range("fd00::1") == PRIVATE


@pytest.mark.parametrize("host", ["", "example.org", "0.0.0.0", "::", "224.0.0.1", "1.2.3", "8.8.8.8:1"])
def test_what_is_no_address_of_one_machine_has_no_range(host: str) -> None:
    with pytest.raises(InvalidAddressOfNode):
        network_range(host)


def test_local_addresses_are_told_to_their_own_range_only() -> None:
    assert may_tell(PUBLIC, PUBLIC_2)
    assert may_tell(PUBLIC, "127.0.0.1")
    assert may_tell("10.0.0.1", "192.168.0.1")
    assert may_tell("10.0.0.1", "127.0.0.1")
    assert may_tell("127.0.0.1", "127.0.0.1")
    assert not may_tell("127.0.0.1", PUBLIC)
    assert not may_tell("127.0.0.1", "10.0.0.1")
    assert not may_tell("10.0.0.1", PUBLIC)


# ------------------------------------------------------------------------------------------------------- given peers


def test_given_peers_are_parsed() -> None:
    node = "0x" + "ab" * 20
    assert (parse_peer("example.org:30333").host, parse_peer("example.org:30333").port) == ("example.org", 30333)
    assert parse_peer(f"{node}@192.0.2.7:1").node == parse_peer(f"{node[2:]}@192.0.2.7:1").node == b"\xab" * 20
    assert parse_peer("[2001:db8::1]:65535").host == "2001:db8::1"


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "ab@host:1", "@host:1", "zz" * 20 + "@host:1"]
)
def test_what_names_no_peer_is_refused(text: str) -> None:
    with pytest.raises(InvalidPeer):
        parse_peer(text)


# ----------------------------------------------------------------------------------------------------------- hearsay


def test_hearsay_is_kept_once_and_dialled_after_what_worked() -> None:
    addresses = book(f"{PUBLIC}:1")
    assert addresses.hear(PUBLIC, 2, A, PUBLIC_2)
    assert not addresses.hear(PUBLIC, 2, B, PUBLIC_2)
    assert addresses.hear(PUBLIC_6, 3, B, PUBLIC_2)
    (worked,) = (item for item in addresses.all() if item.port == 3)
    addresses.succeeded(worked, B)
    assert [item.port for item in addresses.ready(0.0)] == [1, 3, 2]


@pytest.mark.parametrize(
    ("host", "port"),
    [("10.0.0.1", 1), ("127.0.0.1", 1), (PUBLIC, 0), (PUBLIC, 65536), ("example.org", 1), ("0.0.0.0", 1), ("", 1)],
)
def test_hearsay_of_no_use_is_not_kept(host: str, port: int) -> None:
    addresses = book()
    assert not addresses.hear(host, port, A, PUBLIC)
    assert len(addresses) == 0


def test_one_range_fills_no_book() -> None:
    addresses = book()
    kept = sum(addresses.hear("8.8.1.1", port, A, PUBLIC) for port in range(1, 1000))
    assert kept == PER_RANGE_MAX
    assert addresses.hear(PUBLIC_2, 1, A, PUBLIC)


def test_a_full_book_gives_up_hearsay_that_failed_and_nothing_else() -> None:
    addresses = book("example.org:1")
    hosts = [f"{20 + number // 200}.{number % 200}.1.1" for number in range(ADDRESSES_MAX)]
    for host in hosts:
        addresses.hear(host, 1, A, PUBLIC)
    assert len(addresses) == ADDRESSES_MAX
    assert not addresses.hear(PUBLIC_6, 1, A, PUBLIC)
    failed = next(item for item in addresses.all() if not item.given)
    addresses.failed(failed, 0.0)
    assert addresses.hear(PUBLIC_6, 1, A, PUBLIC)
    assert len(addresses) == ADDRESSES_MAX
    assert failed not in addresses.all()


# ----------------------------------------------------------------------------------------------------------- waiting


def test_waits_double_up_to_the_most_with_jitter() -> None:
    for failures, middle in ((1, 0.5), (2, 1.0), (5, 8.0), (7, 30.0), (1000, 30.0)):
        waits = [backoff_s(failures, 0.5, 30.0) for _ in range(200)]
        assert 0.5 * middle <= min(waits) < 0.7 * middle
        assert 1.3 * middle < max(waits) <= 1.5 * middle


def test_hearsay_that_never_works_is_forgotten_and_given_peers_never() -> None:
    addresses = book("example.org:1")
    addresses.hear(PUBLIC, 2, A, PUBLIC_2)
    for _ in range(HEARSAY_TRIES_MAX):
        for item in addresses.all():
            addresses.failed(item, 0.0)
    assert [item.host for item in addresses.all()] == ["example.org"]
    for _ in range(100):
        addresses.failed(addresses.all()[0], 0.0)
    (given,) = addresses.all()
    assert 5 <= given.next_try <= 15
    assert addresses.ready(0.0) == []
    assert addresses.ready(15.0) == [given]


def test_what_worked_lately_is_tried_every_minute_and_forgotten_after_a_week() -> None:
    now = 1_000_000.0
    addresses = AddressBook(NetworkSettings(), [], lambda: now)
    addresses.hear(PUBLIC, 2, A, PUBLIC_2)
    (address,) = addresses.all()
    addresses.succeeded(address, A)
    for _ in range(50):
        addresses.failed(address, 0.0)
    assert 30 <= address.next_try <= 90
    now += 2 * 86_400
    addresses.failed(address, 0.0)
    assert 1800 <= address.next_try <= 5400
    assert addresses.all() == [address]
    now += 6 * 86_400
    addresses.failed(address, 0.0)
    assert addresses.all() == []


# ------------------------------------------------------------------------------------------------------------ telling


def test_only_what_worked_is_told_and_only_so_many() -> None:
    addresses = book("example.org:1")
    for number in range(2 * PEERS_MAX):
        addresses.hear(f"8.{number}.1.1", 1, A, PUBLIC)
    assert addresses.tell(PUBLIC) == []
    for item in addresses.all():
        addresses.succeeded(item, B)
    told = addresses.tell(PUBLIC)
    assert len(told) == PEERS_MAX
    assert all(item.node == B and item.host != b"example.org" for item in told)


# -------------------------------------------------------------------------------------------------------- remembering


def test_addresses_and_bans_outlive_a_run(tmp_path: Path) -> None:
    addresses, standing = book(), Standing(lambda: 1_000_000.0)
    addresses.hear(PUBLIC, 7, A, PUBLIC_2)
    addresses.succeeded(addresses.all()[0], A)
    standing.ban(B, 600, "floods")
    standing.ban(FAR, 600, "garbage")
    asyncio.run(Memory(tmp_path, addresses, standing).save())

    later, later_standing = book(), Standing(lambda: 1_000_300.0)
    Memory(tmp_path, later, later_standing).load()
    assert [(item.host, item.port, item.node, item.proved) for item in later.all()] == [(PUBLIC, 7, A, 1_000_000.0)]
    assert (later_standing.banned(B), later_standing.banned(FAR)) == ("floods", "garbage")
    assert [path.name for path in tmp_path.iterdir()] == ["peers.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"addresses": 3, "bans": []}',
        json.dumps({"addresses": [{"host": "nowhere"}], "bans": []}).encode(),
        json.dumps(
            {"addresses": [{"host": "x", "port": 1, "node": "0x", "proved": 0, "failures": 0}], "bans": []}
        ).encode(),
        json.dumps({"addresses": [], "bans": [{"who": "0xzz", "until": 1, "reason": ""}]}).encode(),
    ],
)
def test_a_damaged_file_is_begun_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "peers.json").write_bytes(content)
    addresses = book()
    memory = Memory(tmp_path, addresses, Standing(lambda: 0.0))
    memory.load()
    assert len(addresses) == 0
    assert "can't be read" in caplog.text
    asyncio.run(memory.save())
    assert json.loads((tmp_path / "peers.json").read_bytes()) == {"addresses": [], "bans": []}
