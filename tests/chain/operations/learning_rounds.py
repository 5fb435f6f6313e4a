"""Home of rounds played without training: how they come to each phase, and records that the rules allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chain.types import COIN
from learning.commitment import key_commitment
from learning.record import (
    CustodianFate,
    CustodianOutcome,
    Record,
    UpdateFate,
    UpdateOutcome,
)
from tests.chain.operations.learning_world import (
    CUSTODIANS,
    MINERS,
    SAMPLES,
    World,
    root,
)

FEE = COIN // 50


A, B = MINERS[:2]


def committed(world: World, *, count: int = 2) -> list[bytes]:
    """Round 0 with updates of A, B, A, ...; stands in the open phase of cycle 0."""
    world.go_to(0, 2)
    return [world.commit_update(MINERS[i % 2], f"update {i}") for i in range(count)]


def held(world: World, *, count: int = 2) -> list[bytes]:
    """The same, held by all; stands at the start of reveal."""
    roots = committed(world, count=count)
    world.hold(0)
    world.go_to(1, 0)
    return roots


def opening(world: World, *, count: int = 2) -> list[bytes]:
    """The same, all revealed; stands at the start of open."""
    roots = held(world, count=count)
    for i, sealed_root in enumerate(roots):
        world.reveal(MINERS[i % 2], 0, sealed_root, f"update {i}")
    world.go_to(1, 2)
    return roots


def judged(world: World, *, count: int = 2) -> list[bytes]:
    """The same, opened by both custodians and judged."""
    roots = opening(world, count=count)
    for custodian in CUSTODIANS:
        world.open_shard(custodian, 0)
    world.go_to(1, 4)
    return roots


def nothing_gained(world: World, number: int = 0) -> Record:
    """A record that the state allows: every revealed update gained nothing, the head stays."""
    state, round_ = world.task_state, world.round(number)
    return Record(
        task=world.task,
        round=number,
        parent=state.head,
        head=state.head,
        void=False,
        accepted=False,
        samples=SAMPLES * len(round_.openings),
        loss_before=700_000,
        loss_momentum=700_000,
        loss_after=700_000,
        correct_before=10,
        correct_after=10,
        momentum=0,
        value=0,
        radius=state.radius,
        updates=tuple(
            UpdateOutcome(id=item.id, fate=UpdateFate.NO_GAIN, contribution=-1, reward=0, charge=0, cut=0, streak=0)
            for item in round_.updates
            if item.key
        ),
        custodians=tuple(
            CustodianOutcome(custodian=item.custodian, fate=CustodianFate.USED, reward=0) for item in round_.openings
        ),
    )


def key_hash(world: World, miner: bytes, name: str = "key") -> bytes:
    return key_commitment(key=root(name), miner=miner, task=world.task, round_number=0)


def play(world: World, number: int, change: Callable[[Record], Record] = lambda record: record) -> None:
    """A whole round with one update of A, settled with a record in which it gained nothing, or with that changed."""
    world.go_to(number, 5)
    sealed = world.commit_update(A, f"of round {number}")
    world.hold(number)
    world.go_to(number + 1, 0)
    world.reveal(A, number, sealed, f"of round {number}")
    world.go_to(number + 1, 2)
    for custodian in CUSTODIANS:
        world.open_shard(custodian, number)
    world.go_to(number + 1, 4)
    settle(world, change(nothing_gained(world, number)), number)


def settle(world: World, record: Record, number: int = 0) -> list[Any]:
    world.attest(number, record.encode())
    return world.call(A, "settle", world.task, number, record.encode())


def line(record: Record, **changes: Any) -> Record:
    """The record with its first update's line changed."""
    return replace(record, updates=(replace(record.updates[0], **changes), *record.updates[1:]))


def opener(record: Record, **changes: Any) -> Record:
    return replace(record, custodians=(replace(record.custodians[0], **changes), *record.custodians[1:]))


def accepted(record: Record) -> Record:
    return line(replace(record, accepted=True, head=root("new")), fate=UpdateFate.ACCEPTED, contribution=5)


def void_record(world: World, number: int = 0) -> Record:
    record = nothing_gained(world, number)
    lines = tuple(replace(each, fate=UpdateFate.VOID, contribution=0) for each in record.updates)
    zero = dict.fromkeys(
        ("samples", "loss_before", "loss_momentum", "loss_after", "correct_before", "correct_after"), 0
    )
    return replace(record, void=True, updates=lines, **zero)
