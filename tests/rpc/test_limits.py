"""Home of the tests of whom the server trusts and how much it does for one client."""

from __future__ import annotations

import pytest

from rpc.limits import RateLimit, Settings, host_is_allowed, origin_is_allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8545", True),
        ("localhost:8545", True),
        ("LOCALHOST", True),
        ("[::1]:8545", True),
        ("10.1.2.3", True),
        ("", True),
        ("rebound.example:8545", False),
        ("localhost.rebound.example", False),
        ("127.0.0.1.rebound.example", False),
    ],
)
def test_only_addresses_and_known_names_are_hosts(host: str, allowed: bool) -> None:
    assert host_is_allowed(host, ("localhost",)) is allowed
    assert host_is_allowed(host, ("*",))


def test_a_given_name_is_a_host() -> None:
    assert host_is_allowed("node.example:1", ("localhost", "node.example"))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://127.0.0.1:8545", True),
        ("http://127.0.0.1:3000", False),
        ("https://page.example", False),
        ("null", False),
        ("https://friend.example", True),
    ],
)
def test_only_own_and_given_origins_may_open_websockets(origin: str | None, allowed: bool) -> None:
    assert origin_is_allowed(origin, "127.0.0.1:8545", ("https://friend.example",)) is allowed


def test_an_address_has_a_burst_and_then_its_rate() -> None:
    now = [0.0]
    rates = RateLimit(Settings(calls_per_second=10, calls_burst=20), lambda: now[0])
    assert rates.allow("10.0.0.1", 20)
    assert not rates.allow("10.0.0.1")
    assert rates.allow("10.0.0.2")
    now[0] = 0.5
    assert not rates.allow("10.0.0.1", 6)
    assert rates.allow("10.0.0.1", 5)
    assert not rates.allow("10.0.0.1")
    now[0] = 1e6
    assert not rates.allow("10.0.0.1", 21)


def test_the_machine_itself_is_not_limited() -> None:
    rates = RateLimit(Settings(calls_per_second=1, calls_burst=1), lambda: 0.0)
    assert all(rates.allow("127.0.0.1", 1000) for _ in range(10))


def test_remembered_clients_are_bounded() -> None:
    rates = RateLimit(Settings(calls_per_second=1, calls_burst=1, rate_clients_max=2), lambda: 0.0)
    for address in ("a", "b", "c"):
        assert rates.allow(address)
    assert not rates.allow("c")
    assert rates.allow("a")  # forgotten, so it begins anew
