"""Home of the tests of rates."""

from __future__ import annotations

import pytest

from chain.network.limits import ARRIVALS_BURST_S, BURST_S, OTHER, RATES, Arrivals, Bucket, Meter, Rate
from chain.network.messages import Kind

RATE = Rate(frames_per_second=10, bytes_per_second=1000)


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = Bucket(RATE, 0.0)
    assert [bucket.take(1, 0.0) for _ in range(20)] == [0.0] * 20
    assert bucket.take(1, 0.0) == pytest.approx(0.1)
    assert bucket.take(1, 0.2) == 0.0
    assert bucket.take(1, 0.2) == pytest.approx(0.1)


def test_bytes_are_counted_beside_frames() -> None:
    bucket = Bucket(RATE, 0.0)
    assert bucket.take(2000, 0.0) == 0.0
    assert bucket.take(500, 0.0) == pytest.approx(0.5)


def test_who_waits_as_told_is_out_of_debt() -> None:
    bucket = Bucket(RATE, 0.0)
    now = sent = 0.0
    while now < 100:
        now += bucket.take(50, now)
        sent += 1
    assert sent == pytest.approx(100 * 10 + 10 * BURST_S, rel=0.02)


def test_quiet_times_are_not_saved_up() -> None:
    bucket = Bucket(RATE, 0.0)
    bucket.take(1, 0.0)
    passed = sum(bucket.take(1, 1e6) == 0.0 for _ in range(100))
    assert passed == 10 * BURST_S


def test_a_frame_larger_than_the_burst_passes_once_and_is_paid_for() -> None:
    assert Bucket(RATE, 0.0).take(10_000, 0.0) == pytest.approx(8.0)


def test_kinds_are_measured_apart() -> None:
    meter = Meter({1: RATE, 2: RATE})
    for _ in range(21):
        debt = meter.take(1, 1, 0.0)
    assert debt > 0
    assert meter.take(2, 1, 0.0) == 0.0
    assert meter.take(77, 1, 0.0) == 0.0
    assert meter.is_flood(1, 201)
    assert not meter.is_flood(1, 200)
    assert not meter.is_flood(77, int(OTHER.frames_per_second))


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_rate_at_which_its_largest_frame_costs_under_ten_seconds(kind: Kind) -> None:
    from chain.network.messages import frame_bytes_max

    rate = RATES.get(kind, OTHER)
    assert Bucket(rate, 0.0).take(frame_bytes_max(kind), 0.0) < 10


def test_new_connections_come_in_a_burst_and_then_at_the_rate_of_their_range() -> None:
    arrivals = Arrivals(10)
    came = [arrivals.take("here", 5, 0.0) for _ in range(100)]
    assert sum(came) == 5 * ARRIVALS_BURST_S
    assert arrivals.take("there", 5, 0.0)
    assert sum(arrivals.take("here", 5, tenth / 10) for tenth in range(1, 101)) == pytest.approx(50, abs=1)


def test_only_so_many_ranges_are_remembered() -> None:
    arrivals = Arrivals(10)
    for number in range(1000):
        arrivals.take(str(number), 1, 0.0)
    assert len(arrivals._left) == 10
