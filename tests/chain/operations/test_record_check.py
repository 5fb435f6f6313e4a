"""What even a quorum can not make a record do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chain.operations.call import Revert
from chain.types import COIN
from learning.record import (
    CustodianFate,
    Record,
    UpdateFate,
)
from tests.chain.operations.learning_rounds import (
    A,
    accepted,
    judged,
    line,
    nothing_gained,
    opener,
    opening,
    void_record,
)
from tests.chain.operations.learning_world import (
    BOND,
    CUSTODIANS,
    SAMPLES,
    make_world,
    root,
)

FORGERIES: list[tuple[Callable[[Record], Record], str]] = [
    (lambda record: replace(record, task=bytes(32)), "the record is of task"),
    (lambda record: replace(record, round=1), "the record is of round 1"),
    (lambda record: replace(record, parent=root("other")), "the record's parent is not the head"),
    (lambda record: replace(record, updates=record.updates[:1]), "updates are not those revealed, in commit order"),
    (lambda record: replace(record, updates=record.updates[::-1]), "updates are not those revealed, in commit order"),
    (lambda record: replace(record, custodians=record.custodians[:1]), "custodians are not those that opened"),
    (lambda record: line(record, streak=2), "has a streak of 2 after 0"),
    (lambda record: line(record, charge=BOND, cut=1), "loses more than its bond"),
    (lambda record: replace(record, void=True), "2 shards are used, 1 make a round"),
    (lambda record: replace(record, samples=SAMPLES), "2 shards have no 30 samples"),
    (lambda record: replace(record, loss_after=2**25 + 1), "are above 33554432"),
    (lambda record: replace(record, correct_after=2 * SAMPLES + 1), "61 of 60 samples can't be right"),
    (lambda record: replace(record, radius=1), "radius 1 is not from"),
    (lambda record: replace(record, radius=2**40 + 1), "radius 1099511627777 is not from"),
    (lambda record: replace(record, head=root("new")), "the head changed without an accepted round or momentum"),
    (lambda record: line(record, fate=UpdateFate.ACCEPTED), "an update's line contradicts its fate"),
    (lambda record: line(record, fate=UpdateFate.VOID), "an update's line contradicts its fate"),
    (lambda record: line(record, contribution=1), "an update's line contradicts its fate"),
    (lambda record: line(record, contribution=-(2**25) - 1), "an update's line contradicts its fate"),
    (lambda record: line(record, reward=1), "an update's line contradicts its fate"),
    (lambda record: line(record, fate=UpdateFate.NOT_SIGNIFICANT), "an update's line contradicts its fate"),
    (lambda record: line(record, fate=UpdateFate.COPY, contribution=0, cut=1), "an update's line contradicts its fate"),
    (lambda record: line(record, fate=UpdateFate.MALFORMED, contribution=3), "an update's line contradicts its fate"),
    (lambda record: line(accepted(record), reward=50 * COIN + 1), "is above the cap"),
    (lambda record: opener(line(accepted(record), reward=1000), reward=101), "custodians are due at most 100 together"),
    (
        lambda record: opener(
            line(replace(accepted(record), samples=SAMPLES), reward=1000), fate=CustodianFate.UNUSED, reward=1
        ),
        "custodians are due at most 100 together, and only those whose shard was used",
    ),
]


@pytest.mark.parametrize(("forge", "reason"), FORGERIES)
def test_even_a_quorum_cannot_settle_outside_the_rules(forge: Callable[[Record], Record], reason: str):
    world = make_world()
    judged(world)
    record = forge(nothing_gained(world)).encode()
    world.attest(0, record)
    before = dict(world.values)
    with pytest.raises(Revert, match=reason):
        world.call(A, "settle", world.task, 0, record)
    assert world.values == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"samples": 30}, "a void record measures nothing"),
        ({"loss_before": 1}, "a void record measures nothing"),
        ({"radius": 2**30}, "a void record changes nothing"),
        ({"head": root("new")}, "a void record changes nothing"),
        ({"void": False}, "0 shards are used, 1 make a round"),
    ],
)
def test_void_records_change_and_measure_nothing(changes: dict[str, Any], reason: str):
    world = make_world()
    opening(world)
    world.go_to(1, 4)
    record = void_record(world)
    forged = replace(record, **changes).encode()
    world.attest(0, forged)
    assert world.reason(A, "settle", world.task, 0, forged) == reason


def test_a_void_record_judges_no_update():
    world = make_world()
    opening(world)
    world.go_to(1, 4)
    record = line(void_record(world), fate=UpdateFate.MALFORMED, cut=BOND).encode()
    world.attest(0, record)
    assert world.reason(A, "settle", world.task, 0, record) == "a void record judges no update"


def test_a_void_record_pays_no_custodian():
    world = make_world(settings={"cycle_blocks": 12, "openings_minimum": 2})
    opening(world)
    world.open_shard(CUSTODIANS[0], 0)
    world.go_to(1, 4)
    record = opener(void_record(world), reward=1).encode()
    world.attest(0, record)
    assert world.reason(A, "settle", world.task, 0, record) == "a void record pays nobody"
