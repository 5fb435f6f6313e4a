"""Tests of holding and settling by many validators: small and large sets, sets that change, liars, and whose turn it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from chain.abi import decode_arguments, encode_call, function_of
from chain.duties import TURN_BLOCKS, Duty, due, evidence_due, is_over
from chain.operations.learning_state import Fate, RoundStatus
from chain.operations.learning_store import read_members, read_validator, write_members
from chain.state import WorkingState
from chain.storage.blobs import BlobStore, UploadLimits
from consensus.codec import decode_equivocation
from consensus.types import Equivocation
from learning.commitment import attestation_digest, blob_root, record_hash
from tests.chain.operations.learning_rounds import FEE, A, committed, judged, line, nothing_gained
from tests.chain.operations.learning_world import BOND, MINERS, VALIDATOR_KEYS, VALIDATORS, World, account, make_world
from tests.chain.operations.test_evidence import TWO, twice, vote

SIZES = (4, 7, 100)


def many(size: int) -> tuple[bytes, ...]:
    return tuple(sorted(account(f"one of many {number}") for number in range(size)))


def powers_of(size: int) -> tuple[tuple[bytes, int], ...]:
    """Accounts by address with powers from 1,000 up."""
    return tuple((each, 1_000 + number) for number, each in enumerate(many(size)))


def least_quorum(powers: tuple[tuple[bytes, int], ...]) -> tuple[bytes, ...]:
    """The first accounts whose power is just enough."""
    total, chosen = sum(power for _, power in powers), 0
    for count, (_, power) in enumerate(powers, 1):
        chosen += power
        if 3 * chosen > 2 * total:
            return tuple(each for each, _ in powers[:count])
    raise AssertionError


def make(size: int) -> World:
    world = make_world(parameters={"epoch_blocks": 1000})
    world.set_validators(powers_of(size))
    return world


def judged_by_many(size: int) -> World:
    """Round 0 judged; the updates were held by the three usual validators, whom the many then replace."""
    world = make_world(parameters={"epoch_blocks": 1000})
    judged(world)
    world.set_validators(powers_of(size))
    return world


# ------------------------------------------------------------------------------------------------- the contract's side


@pytest.mark.parametrize("size", SIZES)
def test_updates_are_held_by_more_than_two_thirds_of_any_set(size: int) -> None:
    for missing in (0, 1):
        world = make(size)
        committed(world)
        quorum = least_quorum(powers_of(size))
        world.hold(0, validators=quorum[: len(quorum) - missing])
        world.go_to(1, 0)
        assert world.round(0).status is (RoundStatus.EMPTY if missing else RoundStatus.HELD)
        assert {update.fate for update in world.round(0).updates} == {Fate.NOT_HELD if missing else Fate.PENDING}


@pytest.mark.parametrize("size", SIZES)
def test_records_are_settled_by_more_than_two_thirds_of_any_set_and_fees_shared_by_power(size: int) -> None:
    world = judged_by_many(size)
    record = nothing_gained(world).encode()
    *most, last = least_quorum(powers_of(size))
    world.attest(0, record, tuple(most))
    assert "more than two thirds are needed" in world.reason(A, "settle", world.task, 0, record)
    world.attest(0, record, (last,))
    world.call(A, "settle", world.task, 0, record)
    matching = [(each, power) for each, power in powers_of(size) if each in (*most, last)]
    total = sum(power for _, power in matching)
    for each, power in powers_of(size):
        assert world.balance(each) == (2 * FEE * power // total if (each, power) in matching else 0)


@pytest.mark.parametrize("size", SIZES)
def test_whoever_copies_or_attests_another_record_is_paid_nothing(size: int) -> None:
    world = judged_by_many(size)
    right, wrong = nothing_gained(world).encode(), line(nothing_gained(world), contribution=-2).encode()
    *honest, liar = many(size)
    copier, *honest = honest if size > 4 else (None, *honest)
    world.attest(0, right, tuple(honest))
    world.attest(0, wrong, (liar,))
    if copier:
        stolen = dict(world.round(0).attestations)[honest[0]]
        world.call(copier, "attest", world.task, 0, stolen)
    assert "more than two thirds are needed" in world.reason(A, "settle", world.task, 0, wrong)
    world.call(A, "settle", world.task, 0, right)
    assert all(world.balance(each) for each in honest)
    assert not world.balance(liar)
    assert copier is None or not world.balance(copier)


def test_the_present_set_settles_whatever_others_attested_before() -> None:
    world = judged_by_many(7)
    record = nothing_gained(world).encode()
    world.attest(0, record, many(7))
    world.set_validators(powers_of(100))
    reason = world.reason(A, "settle", world.task, 0, record)
    assert "more than two thirds are needed" in reason
    newcomers = [each for each in least_quorum(powers_of(100)) if each not in many(7)]
    world.attest(0, record, (newcomers[0],))
    left = {each for each, _ in world.round(0).attestations}
    assert left == (set(many(7)) & set(many(100))) | {newcomers[0]}  # the others' are forgotten
    world.attest(0, record, tuple(newcomers[1:]))
    world.attest(0, record, least_quorum(powers_of(100)))
    world.call(A, "settle", world.task, 0, record)
    assert world.round(0).status is RoundStatus.SETTLED


def test_who_lost_its_power_between_attesting_and_settling_is_not_counted() -> None:
    world = judged_by_many(4)
    record = nothing_gained(world).encode()
    first, second, third, fourth = many(4)
    world.attest(0, record, (first, second, third))
    world.set_validators(((first, 10), (second, 10), (third, 1), (fourth, 11)))
    assert "more than two thirds are needed" in world.reason(A, "settle", world.task, 0, record)
    world.attest(0, record, (fourth,))
    world.call(A, "settle", world.task, 0, record)
    assert world.balance(third) == 2 * FEE // 32


# ----------------------------------------------------------------------------------------------- the validators' side


class Network:
    """Validators that do their duties each block; a call is included in the block after it was sent."""

    def __init__(self, world: World, *, dead: Collection[bytes] = (), late: Mapping[bytes, int] | None = None) -> None:
        self.world, self.dead, self.late = world, dead, late or {}
        self.record = nothing_gained(world).encode()
        self.sent: list[tuple[int, bytes, str]] = []
        self._waiting: list[tuple[bytes, Duty]] = []
        self._asked: set[tuple[bytes, tuple[str, bytes, int, int]]] = set()

    def block(self) -> None:
        for sender, duty in self._waiting:
            if duty.name[0] == "settle" and self.world.round(0).status is RoundStatus.SETTLED:
                continue  # somebody was faster
            self.world.raw_call(sender, duty.calldata)
        self._waiting = []
        self.world.end_block()
        for member in read_members(self.world):
            if member.account not in self.dead:
                self._do(member.account)

    def _do(self, sender: bytes) -> None:
        judged_yet = self.world.height >= self.late.get(sender, 0)
        records = {(self.world.task, 0): self.record} if judged_yet else {}
        for duty in due(self.world, self.world.height, sender, blob_size=lambda _: None, records=records):
            if (sender, duty.name) not in self._asked:
                self._asked.add((sender, duty.name))
                self.sent.append((self.world.height, sender, duty.name[0]))
                self._waiting.append((sender, duty))

    def play(self, blocks: int = 30) -> None:
        for _ in range(blocks):
            self.block()
            if self.world.round(0).status is RoundStatus.SETTLED:
                return

    def senders(self, name: str) -> list[bytes]:
        return [sender for _, sender, what in self.sent if what == name]


@pytest.mark.parametrize("size", SIZES)
def test_many_validators_attest_each_and_settle_once(size: int) -> None:
    network = Network(judged_by_many(size))
    network.play()
    assert network.world.round(0).status is RoundStatus.SETTLED
    assert sorted(network.senders("attest")) == list(many(size))
    assert len(network.senders("settle")) == 1


@pytest.mark.parametrize("size", SIZES)
def test_the_next_settles_where_the_first_died_after_attesting(size: int) -> None:
    network = Network(judged_by_many(size))
    network.block()
    network.block()
    assert len(network.world.round(0).attestations) == size
    first, *others = many(size)
    network.dead = (first,)
    network._waiting = [(sender, duty) for sender, duty in network._waiting if sender != first]
    started = network.world.height
    network.play()
    assert network.world.round(0).status is RoundStatus.SETTLED
    assert [sender for sender in network.senders("settle") if sender != first] == [others[0]]
    assert network.world.height <= started + 2 * TURN_BLOCKS


def test_a_third_that_is_dead_or_late_holds_nobody_up() -> None:
    size = 7
    dead = many(size)[:2]
    network = Network(judged_by_many(size), dead=dead, late={many(size)[2]: 25})
    network.play()
    assert network.world.round(0).status is RoundStatus.SETTLED
    assert len(network.senders("settle")) <= 2
    assert network.world.height >= 25


def test_a_vote_key_does_the_duties_of_its_account() -> None:
    world = judged_by_many(4)
    key = account("hot key")
    state = WorkingState(world)
    members = read_members(world)
    write_members(state, (replace(members[0], vote_address=key), *members[1:]))
    world.commit(state)
    record = nothing_gained(world).encode()
    records = {(world.task, 0): record}
    (duty,) = due(world, world.height, key, blob_size=lambda _: None, records=records)
    function = function_of(duty.calldata)
    assert function
    _, _, digest = decode_arguments(function, duty.calldata)
    assert digest == attestation_digest(record=record_hash(record), validator=members[0].account)
    world.raw_call(key, duty.calldata)
    assert due(world, world.height, key, blob_size=lambda _: None, records=records) == []
    assert due(world, world.height, account("nobody"), blob_size=lambda _: None, records=records) == []


def test_no_validator_says_that_it_holds_an_update_whose_root_is_that_of_a_head(tmp_path: Path) -> None:
    """All nodes have the bytes of a head, and no update is sealed in them: to judge one would stop every node."""
    world = make_world()
    limits = UploadLimits(blob_bytes=1 << 20, client_bytes=1 << 20, task_bytes=1 << 20, total_bytes=1 << 20)
    blobs = BlobStore(tmp_path, root_of=blob_root, limits=limits)
    world.go_to(0, 5)
    head, weights = world.task_state.head, bytes(400)
    blobs.put(head, weights)
    value = BOND + world.task_state.evaluation_fee
    world.call(MINERS[0], "commitUpdate", world.task, 0, head, head, len(weights), bytes(32), value=value)

    def duties() -> list[Duty]:
        return due(world, world.height, VALIDATORS[0], blob_size=blobs.size_of_content, records={})

    assert duties() == []
    root = world.commit_update(MINERS[1], "sealed")
    assert blobs.upload(world.blobs[root], client="c", task=world.task, expires=100) == root
    (duty,) = duties()
    assert duty.calldata == encode_call("attestHeld", world.task, 0, bytes([2]))


# ------------------------------------------------------------------------------------------------------------ evidence


def test_evidence_is_submitted_by_one_then_by_more_until_it_is_executed() -> None:
    world = make(100)
    world.set_validators(tuple(sorted((*powers_of(99), (VALIDATORS[0], 1_000)))))
    evidence = Equivocation(first=vote(VALIDATOR_KEYS[0], 1), second=vote(VALIDATOR_KEYS[0], 1, TWO))
    world.go(2)
    counts = []
    for height in range(2, 2 + 8 * TURN_BLOCKS):
        duties = {each: evidence_due(world, height, each, evidence) for each in many(99)}
        counts.append(sum(duty is not None for duty in duties.values()))
    assert counts[:TURN_BLOCKS] == [1] * TURN_BLOCKS
    assert counts == sorted(counts)
    assert counts[-1] == 99
    assert evidence_due(world, 100, VALIDATORS[0], evidence) is None  # nobody accuses itself
    assert evidence_due(world, 100, MINERS[0], evidence) is None
    duty = next(duty for duty in duties.values() if duty)
    assert not is_over(world, world.height, evidence, world.parameters)
    world.raw_call(many(99)[0], duty.calldata)
    assert read_validator(world, VALIDATORS[0]).barred
    assert is_over(world, world.height, evidence, world.parameters)


def test_evidence_that_is_too_old_is_let_go() -> None:
    world = make_world(parameters={"evidence_blocks_max": 10})
    evidence = decode_equivocation(twice(VALIDATOR_KEYS[0], 5))
    assert not is_over(world, 15, evidence, world.parameters)
    assert is_over(world, 16, evidence, world.parameters)
