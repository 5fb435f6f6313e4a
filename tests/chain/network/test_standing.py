"""Home of the tests of blame and bans."""

from __future__ import annotations

from chain.network.standing import FADE_POINTS_PER_SECOND, REMEMBERED_MAX, Standing

NODE, OTHER = b"n" * 20, b"o" * 20


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_points_add_up_and_fade() -> None:
    clock = Clock()
    standing = Standing(clock)
    assert standing.blame(NODE, 30) == 30
    assert standing.blame(OTHER, 5) == 5
    clock.now += 100
    assert standing.blame(NODE, 30) == 60 - 100 * FADE_POINTS_PER_SECOND
    clock.now += 10_000
    assert standing.blame(NODE, 1) == 1


def test_a_ban_ends() -> None:
    clock = Clock()
    standing = Standing(clock)
    standing.ban(NODE, 60, "floods")
    standing.ban("192.0.2.1", 30, "garbage")
    assert (standing.banned(NODE), standing.banned("192.0.2.1"), standing.banned(OTHER)) == ("floods", "garbage", None)
    clock.now += 30
    assert (standing.banned(NODE), standing.banned("192.0.2.1")) == ("floods", None)
    clock.now += 30
    assert standing.banned(NODE) is None
    assert standing.bans() == []


def test_a_banned_node_begins_anew_afterwards() -> None:
    standing = Standing(Clock())
    standing.blame(NODE, 100)
    standing.ban(NODE, 60, "floods")
    assert standing.blame(NODE, 1) == 1


def test_memory_of_others_is_bounded() -> None:
    standing = Standing(Clock())
    for number in range(REMEMBERED_MAX + 100):
        node = number.to_bytes(20, "big")
        standing.blame(node, 10)
        standing.ban(node, 60, "x")
    assert len(standing.bans()) == REMEMBERED_MAX
    assert standing.banned((99).to_bytes(20, "big")) is None
    assert standing.banned((100).to_bytes(20, "big")) == "x"
    assert len(standing._points) <= REMEMBERED_MAX
