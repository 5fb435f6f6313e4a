"""Every operation of the learning contract: what it does, and every reason for which it reverts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chain import contract
from chain.abi import FUNCTIONS, encode_call, revert_reason
from chain.call import Revert
from chain.committing import next_evaluation_fee
from chain.learning_state import Fate, RoundStatus
from chain.learning_store import read_update_location
from chain.parameters import Parameters
from chain.types import COIN, CONTRACT_ADDRESS
from learning.commitment import key_commitment, update_id
from learning.record import (
    CustodianFate,
    CustodianOutcome,
    Record,
    UpdateFate,
    UpdateOutcome,
)
from tests.chain.learning_world import (
    BALANCE,
    BOND,
    CHAIN_ID,
    CUSTODIANS,
    MINERS,
    SAMPLES,
    VALIDATORS,
    World,
    make_world,
    root,
    shard_keys,
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


# ------------------------------------------------------------------------------------------------- the contract itself


@pytest.mark.parametrize(
    ("calldata", "value", "reason"),
    [
        (b"", 0, "empty calldata"),
        (b"", 5, "empty calldata"),
        (b"\x01", 0, "unknown function selector 0x01"),
        (b"\xde\xad\xbe\xef" + bytes(64), 0, "unknown function selector 0xdeadbeef"),
        (encode_call("validators") + b"\0", 0, "not canonically encoded"),
        (encode_call("task", bytes(32))[:-1], 0, "do not decode"),
        (encode_call("attest", bytes(32), 0, bytes(32)), 1, "attest takes no value, 1 was sent"),
        (encode_call("task", bytes(32)), 0, f"unknown task {bytes(32).hex()}"),
        (encode_call("head", bytes(32)), 0, "unknown task"),
        (encode_call("contributionOf", bytes(32), A), 0, "unknown task"),
        (encode_call("update", bytes(32)), 0, "no update was committed with sealed root"),
    ],
)
def test_calls_that_are_none_revert_with_their_reason(calldata: bytes, value: int, reason: str):
    world = make_world()
    before = dict(world.values)
    with pytest.raises(Revert, match=reason) as reverted:
        world.raw_call(A, calldata, value)
    assert revert_reason(reverted.value.data) == reverted.value.reason
    assert world.values == before


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("createTask", (b"{}",)),
        ("closeTask", (bytes(32),)),
        ("joinCustody", (bytes(32), bytes(32), bytes(32), 5)),
        ("registerValidator", (A,)),
        ("unbond", ()),
        ("withdraw", ()),
        ("submitEvidence", (b"",)),
        ("voteTask", (bytes(32),)),
        ("voteCustodian", (bytes(32), A)),
    ],
)
def test_operations_of_later_versions_decode_and_revert(name: str, arguments: tuple[Any, ...]):
    assert make_world().reason(A, name, *arguments) == f"{name}: not active in this version of the protocol"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gas_is_fixed_by_the_function(name: str):
    parameters = Parameters()
    calldata = FUNCTIONS[name].selector
    price = contract.operation_gas(calldata, parameters)
    assert price == contract.operation_gas(calldata + bytes(1000), parameters) > 0
    if FUNCTIONS[name].mutability == "view":
        assert price == parameters.gas_view


def test_unknown_calls_cost_the_gas_of_a_view():
    assert contract.operation_gas(b"", Parameters()) == Parameters().gas_view
    assert contract.operation_gas(b"\0\0\0\0", Parameters()) == Parameters().gas_view
    assert contract.operation_gas(encode_call("settle", bytes(32), 0, b""), Parameters()) == Parameters().gas_settle


def test_an_operation_is_no_view():
    world = make_world()
    with pytest.raises(Revert, match="attest is not a view"):
        contract.call_view(world, world.context(), encode_call("attest", bytes(32), 0, bytes(32)))


def test_every_operation_on_an_unknown_task_reverts():
    world = make_world()
    unknown = bytes(32)
    for name, arguments in {
        "openShard": (unknown, 0, unknown),
        "commitUpdate": (unknown, 0, unknown, unknown, 5, unknown),
        "revealUpdate": (unknown, 0, unknown, unknown),
        "attestHeld": (unknown, 0, b"\1"),
        "attest": (unknown, 0, unknown),
        "settle": (unknown, 0, b""),
    }.items():
        assert world.reason(A, name, *arguments) == f"unknown task {unknown.hex()}"


# -------------------------------------------------------------------------------------------------------- commitUpdate


def test_a_commit_holds_fee_and_bond_and_is_the_rounds_next_update():
    world = make_world()
    world.go_to(0, 2)
    sealed = world.commit_update(A, "mine", bond=3 * COIN)
    (update,) = world.round(0).updates
    identity = update_id(chain_id=CHAIN_ID, task=world.task, round_number=0, miner=A, sealed_root=sealed)
    assert (update.id, update.bond, update.fee, update.fate) == (identity, 3 * COIN, FEE, Fate.PENDING)
    assert update.committed_at == world.height
    assert world.balance(A) == BALANCE - 3 * COIN - FEE
    assert world.task_state.pending == (0,)
    assert world.view("update", sealed) == (world.task, 0, A, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "value", "reason"),
    [
        ({"round": 1}, BOND, "round 1 takes no updates, the present round is 0"),
        ({"base": root("no head")}, BOND, "is not one of the last 3 heads"),
        ({"size": 0}, BOND, "a sealed update must have 1 to 1048576 bytes, not 0"),
        ({"size": 1048577}, BOND, "a sealed update must have 1 to 1048576 bytes, not 1048577"),
        ({}, COIN + FEE - 1, f"value must be the fee {FEE} and a bond of at least {COIN}, not {COIN + FEE - 1}"),
        ({}, 0, "value must be the fee"),
    ],
)
def test_a_commit_that_does_not_fit_reverts(change: dict[str, Any], value: int, reason: str):
    world = make_world()
    world.go_to(0, 2)
    given = {"round": 0, "base": world.task_state.head, "sealed": root("sealed"), "size": 100} | change
    found = world.reason(A, "commitUpdate", world.task, *given.values(), key_hash(world, A), value=value)
    assert reason in found
    assert world.balance(A) == BALANCE


@pytest.mark.parametrize(
    ("cycle", "position", "phase"),
    [(0, 0, "REVEAL"), (0, 1, "REVEAL"), (0, 9, "HOLD"), (0, 11, "HOLD"), (4, 5, "OVER")],
)
def test_updates_are_taken_in_open_and_commit_only(cycle: int, position: int, phase: str):
    world = make_world()
    world.go_to(cycle, position)
    with pytest.raises(Revert, match=f"no updates are taken at height {world.height}: it is in phase {phase} of cycle"):
        world.commit_update(A, "out of time")


def test_updates_are_taken_from_the_end_of_reveal_to_the_start_of_hold():
    world = make_world()
    world.go(world.clock.start - 1)
    with pytest.raises(Revert, match="phase PENDING"):
        world.commit_update(A, "too early")
    world.go_to(0, 2)
    world.commit_update(A, "first")
    world.go_to(0, 8)
    world.commit_update(A, "last")
    assert [update.committed_at for update in world.round(0).updates] == [5, 11]


def test_one_account_commits_a_root_once_a_round_but_another_may_name_it_too():
    world = make_world()
    world.go_to(0, 2)
    sealed = world.commit_update(A, "mine")
    head = world.task_state.head
    arguments = (world.task, 0, head, sealed, 9)
    assert "already committed by this account" in world.reason(
        A, "commitUpdate", *arguments, key_hash(world, A), value=BOND + FEE
    )
    world.call(B, "commitUpdate", *arguments, key_hash(world, B), value=BOND + FEE)
    assert [update.miner for update in world.round(0).updates] == [A, B]
    assert world.view("update", sealed)[2] == B  # the last one, until one of them is revealed
    world.hold(0)
    world.go_to(1, 0)
    world.reveal(A, 0, sealed, "mine")
    assert world.view("update", sealed)[2] == A


def test_a_round_has_so_many_slots():
    world = make_world()
    committed(world, count=8)
    with pytest.raises(Revert, match="the round's 8 slots are taken"):
        world.commit_update(A, "one more")


def test_commits_are_refused_while_too_many_judged_rounds_are_unsettled():
    world = make_world(settings={"cycle_blocks": 12, "unsettled_rounds_max": 1})
    judged(world)
    with pytest.raises(Revert, match="no updates are taken while 1 judged rounds are unsettled"):
        world.commit_update(A, "wait")


# ---------------------------------------------------------------------------------------------------------- attestHeld


def test_held_bits_add_up_over_a_validators_attestations():
    world = make_world()
    committed(world, count=2)
    world.call(VALIDATORS[0], "attestHeld", world.task, 0, b"\x02")
    world.call(VALIDATORS[0], "attestHeld", world.task, 0, b"\x01")
    world.commit_update(A, "update 9")
    world.call(VALIDATORS[0], "attestHeld", world.task, 0, b"\x04\0")
    assert world.round(0).holdings == ((VALIDATORS[0], b"\x07"),)


@pytest.mark.parametrize(
    ("bitmap", "fits"), [(b"", False), (b"\0", False), (b"\x04", False), (b"\x01\x01", False), (b"\x03", True)]
)
def test_a_bitmap_names_updates_of_the_round_and_no_others(bitmap: bytes, fits: bool):
    world = make_world()
    committed(world)
    if fits:
        world.call(VALIDATORS[0], "attestHeld", world.task, 0, bitmap)
    else:
        reason = world.reason(VALIDATORS[0], "attestHeld", world.task, 0, bitmap)
        assert reason == "the bitmap must name some of the round's 2 updates and no others"


def test_only_validators_attest_and_only_in_the_rounds_cycle():
    world = make_world()
    world.go_to(0, 2)
    assert world.reason(VALIDATORS[0], "attestHeld", world.task, 0, b"\1") == "round 0 has no updates"
    committed(world)
    assert world.reason(A, "attestHeld", world.task, 0, b"\1") == "only validators attest what they hold"
    world.hold(0)
    world.go_to(1, 0)
    reason = world.reason(VALIDATORS[0], "attestHeld", world.task, 0, b"\1")
    assert reason == "round 0 is past its cycle: it is HELD"


@pytest.mark.parametrize(
    ("validators", "kept"), [((0, 1), True), ((0, 2), True), ((1, 2), False), ((0,), False), ((0, 1, 2), True)]
)
def test_an_update_stays_if_more_than_two_thirds_of_power_hold_it(validators: tuple[int, ...], kept: bool):
    world = make_world()
    committed(world, count=1)
    world.hold(0, validators=tuple(VALIDATORS[i] for i in validators))
    world.go_to(1, 0)
    assert (world.round(0).status is RoundStatus.HELD) == kept
    assert (world.balance(A) == BALANCE) == (not kept)
    assert world.task_state.pending == ((0,) if kept else ())


def test_exactly_two_thirds_of_power_are_not_enough():
    world = make_world(parameters={"epoch_blocks": 1000})
    world.set_validators(tuple((validator, 1) for validator in VALIDATORS))
    committed(world, count=1)
    world.hold(0, validators=VALIDATORS[:2])
    world.go_to(1, 0)
    assert world.round(0).updates[0].fate is Fate.NOT_HELD


def test_what_accounts_attested_that_do_not_vote_any_more_is_dropped():
    world = make_world(parameters={"epoch_blocks": 1000})
    committed(world, count=1)
    world.hold(0, validators=VALIDATORS[:2])
    world.set_validators(((VALIDATORS[1], 1), (VALIDATORS[2], 1)))
    world.hold(0, validators=VALIDATORS[2:])
    assert [account for account, _ in world.round(0).holdings] == list(VALIDATORS[1:])


# -------------------------------------------------------------------------------------------------------- revealUpdate


@pytest.mark.parametrize(
    ("prepare", "sender", "arguments", "reason"),
    [
        (held, A, lambda world, roots: (1, roots[0], root("update 0")), "keys of round 1 are not taken at height 15"),
        (opening, A, lambda world, roots: (0, roots[0], root("update 0")), "they are in the first 2 blocks from 15 on"),
        (committed, A, lambda world, roots: (0, roots[0], root("update 0")), "keys of round 0 are not taken at height"),
        (held, A, lambda world, roots: (0, roots[1], root("update 1")), "this account committed no update with sealed"),
        (held, A, lambda world, roots: (0, roots[0], root("update 1")), "the key is not the one that was committed"),
    ],
)
def test_reveals_out_of_time_or_without_the_key_revert(
    prepare: Callable[[World], list[bytes]], sender: bytes, arguments: Callable[..., Any], reason: str
):
    world = make_world()
    roots = prepare(world)
    assert reason in world.reason(sender, "revealUpdate", world.task, *arguments(world, roots))


def test_an_update_is_revealed_once_and_only_if_it_was_held():
    world = make_world()
    roots = committed(world, count=2)
    for validator in VALIDATORS:
        world.call(validator, "attestHeld", world.task, 0, b"\x01")
    world.go_to(1, 0)
    (event,) = world.call(A, "revealUpdate", world.task, 0, roots[0], root("update 0"))
    assert event == ("UpdateRevealed", {"task": world.task, "miner": A, "round": 0, "sealedRoot": roots[0]})
    assert world.round(0).updates[0].revealed_at == world.height
    assert (
        world.reason(A, "revealUpdate", world.task, 0, roots[0], root("update 0")) == "this update is already revealed"
    )
    reason = world.reason(B, "revealUpdate", world.task, 0, roots[1], root("update 1"))
    assert reason == "this update is left out, as validators did not hold its blob in time"
    assert read_update_location(world, roots[1]).place == 1


def test_reveals_of_a_round_without_updates_revert():
    world = make_world()
    world.go_to(1, 0)
    assert world.reason(A, "revealUpdate", world.task, 0, root("x"), root("y")) == "round 0 has no updates"


def test_a_round_without_a_revealed_update_is_empty_and_burns_no_shard():
    world = make_world()
    held(world)
    world.go_to(1, 2)
    assert world.round(0).status is RoundStatus.EMPTY
    assert [update.fate for update in world.round(0).updates] == [Fate.NOT_REVEALED] * 2
    assert [world.balance(miner) for miner in (A, B)] == [BALANCE - BOND - FEE] * 2
    assert (world.task_state.pending, world.task_state.unsettled, world.task_state.judged) == ((), (), 0)
    key = shard_keys(CUSTODIANS[0]).key(0)
    reason = world.reason(CUSTODIANS[0], "openShard", world.task, 0, key)
    assert reason == "round 0 opens no shards: it is EMPTY"
    world.go_to(1, 4)
    assert [world.custodian(each).bond for each in CUSTODIANS] == [60 * COIN] * 2
    assert world.view("contributionOf", world.task, A) == (0, 0, 0, BOND, 1)


# ----------------------------------------------------------------------------------------------------------- openShard


def test_a_shard_is_opened_with_the_next_key_of_the_chain():
    world = make_world()
    opening(world)
    custodian = CUSTODIANS[0]
    (event,) = world.call(custodian, "openShard", world.task, 0, shard_keys(custodian).key(0))
    assert event == ("ShardOpened", {"task": world.task, "custodian": custodian, "round": 0})
    (opened,) = world.round(0).openings
    assert (opened.index, opened.key) == (0, shard_keys(custodian).key(0))
    assert (world.custodian(custodian).opened, world.custodian(custodian).last_key) == (1, opened.key)
    reason = world.reason(custodian, "openShard", world.task, 0, shard_keys(custodian).key(0))
    assert reason == "this custodian has already opened its shard for this round"


@pytest.mark.parametrize(
    ("prepare", "sender", "round_number", "key", "reason"),
    [
        (opening, A, 0, shard_keys(CUSTODIANS[0]).key(0), "this account is no custodian of the task"),
        (held, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[0]).key(0), "they are in the 2 blocks from 17 on"),
        (judged, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[0]).key(0), "shards for round 0 are not opened at height 19"),
        (opening, CUSTODIANS[0], 1, shard_keys(CUSTODIANS[0]).key(0), "shards for round 1 are not opened at height 17"),
        (opening, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[0]).key(1), "the key is not that of shard 0"),
        (opening, CUSTODIANS[0], 0, shard_keys(CUSTODIANS[1]).key(0), "the key is not that of shard 0"),
        (opening, CUSTODIANS[0], 0, bytes(32), "the key is not that of shard 0"),
    ],
)
def test_openings_that_are_out_of_time_or_not_of_the_chain_revert(
    prepare: Callable[[World], list[bytes]], sender: bytes, round_number: int, key: bytes, reason: str
):
    world = make_world()
    prepare(world)
    assert reason in world.reason(sender, "openShard", world.task, round_number, key)


def test_after_a_missed_opening_the_key_two_links_on_opens_the_next_shard():
    world = make_world()
    opening(world)
    world.open_shard(CUSTODIANS[0], 0)
    world.go_to(1, 4)
    settle(world, nothing_gained(world))
    world.commit_update(A, "second")
    world.hold(1)
    world.go_to(2, 0)
    world.call(A, "revealUpdate", world.task, 1, world.round(1).updates[0].sealed_root, root("second"))
    world.go_to(2, 2)
    late = CUSTODIANS[1]
    reason = world.reason(late, "openShard", world.task, 1, shard_keys(late).key(0))
    assert reason == "the key is not that of shard 1"
    world.call(late, "openShard", world.task, 1, shard_keys(late).key(1))
    assert world.custodian(late).opened == 2


# ------------------------------------------------------------------------------------------------- attest and settle


def settle(world: World, record: Record, number: int = 0) -> list[Any]:
    world.attest(number, record.encode())
    return world.call(A, "settle", world.task, number, record.encode())


def test_attestations_are_for_judged_rounds_by_validators():
    world = make_world()
    opening(world)
    reason = world.reason(VALIDATORS[0], "attest", world.task, 0, bytes(32))
    assert reason == "round 0 does not wait for settlement: it is OPENING"
    for custodian in CUSTODIANS:
        world.open_shard(custodian, 0)
    world.go_to(1, 4)
    assert world.reason(A, "attest", world.task, 0, bytes(32)) == "only validators attest records"
    assert world.reason(VALIDATORS[0], "attest", world.task, 1, bytes(32)) == "round 1 has no updates"
    world.call(VALIDATORS[0], "attest", world.task, 0, bytes(32))
    world.call(VALIDATORS[0], "attest", world.task, 0, root("changed its mind"))
    assert world.round(0).attestations == ((VALIDATORS[0], root("changed its mind")),)


@pytest.mark.parametrize(("validators", "enough"), [((0,), False), ((1, 2), False), ((0, 2), True), ((0, 1), True)])
def test_a_record_needs_more_than_two_thirds_of_power(validators: tuple[int, ...], enough: bool):
    world = make_world()
    judged(world)
    record = nothing_gained(world).encode()
    world.attest(0, record, tuple(VALIDATORS[i] for i in validators))
    if enough:
        world.call(A, "settle", world.task, 0, record)
        assert world.round(0).status is RoundStatus.SETTLED
        assert world.reason(A, "settle", world.task, 0, record) == "round 0 does not wait for settlement: it is SETTLED"
    else:
        assert "of the power attested this record: more than two thirds" in world.reason(
            A, "settle", world.task, 0, record
        )


def test_an_attestation_of_another_validator_counts_for_nobody_else():
    world = make_world()
    judged(world)
    record = nothing_gained(world).encode()
    world.attest(0, record, VALIDATORS[:1])
    copied = dict(world.round(0).attestations)[VALIDATORS[0]]
    world.call(VALIDATORS[1], "attest", world.task, 0, copied)
    assert world.reason(A, "settle", world.task, 0, record).startswith("500000 of the power")


def test_rounds_are_settled_in_order():
    world = make_world()
    judged(world)
    sealed = world.commit_update(A, "second")
    world.hold(1)
    world.go_to(2, 0)
    world.reveal(A, 1, sealed, "second")
    world.go_to(2, 2)
    for custodian in CUSTODIANS:
        world.open_shard(custodian, 1)
    world.go_to(2, 4)
    assert world.task_state.unsettled == (0, 1)
    second = nothing_gained(world, 1)
    world.attest(1, second.encode())
    reason = world.reason(A, "settle", world.task, 1, second.encode())
    assert reason == "round 0 is settled before round 1"
    settle(world, nothing_gained(world))
    world.call(A, "settle", world.task, 1, second.encode())
    assert world.task_state.unsettled == ()


def test_bytes_that_are_no_record_revert():
    world = make_world()
    judged(world)
    assert "not a settlement record" in world.reason(A, "settle", world.task, 0, b"")
    assert "not a settlement record" in world.reason(A, "settle", world.task, 0, nothing_gained(world).encode() + b"\0")


def line(record: Record, **changes: Any) -> Record:
    """The record with its first update's line changed."""
    return replace(record, updates=(replace(record.updates[0], **changes), *record.updates[1:]))


def opener(record: Record, **changes: Any) -> Record:
    return replace(record, custodians=(replace(record.custodians[0], **changes), *record.custodians[1:]))


def accepted(record: Record) -> Record:
    return line(replace(record, accepted=True, head=root("new")), fate=UpdateFate.ACCEPTED, contribution=5)


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


def void_record(world: World, number: int = 0) -> Record:
    record = nothing_gained(world, number)
    lines = tuple(replace(each, fate=UpdateFate.VOID, contribution=0) for each in record.updates)
    zero = dict.fromkeys(
        ("samples", "loss_before", "loss_momentum", "loss_after", "correct_before", "correct_after"), 0
    )
    return replace(record, void=True, updates=lines, **zero)


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


def test_a_void_settlement_returns_bonds_and_fees_and_punishes_those_who_did_not_open():
    world = make_world()
    opening(world)
    world.go_to(1, 4)
    events = settle(world, void_record(world))
    assert [name for name, _ in events] == ["Penalised", "Penalised", "RoundSettled"]
    assert [world.balance(miner) for miner in (A, B)] == [BALANCE, BALANCE]
    assert [world.custodian(each).bond for each in CUSTODIANS] == [59 * COIN] * 2
    assert world.round(0).status is RoundStatus.VOID
    assert world.task_state.settled == 1
    assert world.task_state.measured.height == 0
    assert [update.round for update in world.task_state.recent] == [0, 0]


def test_charges_come_out_of_the_reward_and_cuts_out_of_the_bond():
    world = make_world()
    judged(world)
    record = accepted(nothing_gained(world))
    record = line(record, reward=COIN, charge=COIN // 4)
    harmful = replace(record.updates[1], cut=BOND // 2, charge=COIN // 8, streak=0)
    record = replace(record, updates=(record.updates[0], harmful))
    record = opener(record, reward=COIN // 20)
    events = settle(world, record)
    assert world.balance(A) == BALANCE - FEE + COIN - COIN // 4
    assert world.balance(B) == BALANCE - FEE - BOND // 2 - COIN // 8
    assert world.balance(CUSTODIANS[0]) == COIN // 20
    assert [(name, values.get("reason"), values.get("amount")) for name, values in events] == [
        ("Rewarded", None, COIN),
        ("Penalised", 3, BOND // 2),
        ("CustodianRewarded", None, COIN // 20),
        ("RoundSettled", None, None),
    ]
    assert world.view("contributionOf", world.task, A) == (5, COIN, COIN // 4, 0, 1)
    assert world.view("contributionOf", world.task, B) == (-1, 0, COIN // 8, BOND // 2, 1)


def test_a_missed_opening_costs_half_the_trailing_mean_pay_but_never_more_than_the_bond():
    world = make_world(custodian_bond=3 * COIN, settings={"cycle_blocks": 12, "custodian_bond": str(COIN)})
    judged(world)
    settle(world, line(accepted(nothing_gained(world)), reward=40 * COIN))
    assert world.task_state.mean_pay == 5 * COIN
    for number, expected in ((1, 3 * COIN - 5 * COIN // 2), (2, 0)):
        sealed = world.commit_update(A, f"later {number}")
        world.hold(number)
        world.go_to(number + 1, 0)
        world.reveal(A, number, sealed, f"later {number}")
        world.go_to(number + 1, 4)
        settle(world, void_record(world, number), number)
        assert [world.custodian(each).bond for each in CUSTODIANS] == [expected] * 2


def test_a_round_that_nobody_settles_in_time_is_void():
    world = make_world(settings={"cycle_blocks": 12, "settle_grace_cycles": 1})
    judged(world)
    record = nothing_gained(world)
    world.go_to(2, 3)
    assert world.round(0).status is RoundStatus.JUDGED
    world.go_to(2, 4)
    assert world.round(0).status is RoundStatus.VOID
    assert [world.balance(miner) for miner in (A, B)] == [BALANCE, BALANCE]
    assert (world.task_state.unsettled, world.task_state.settled) == ((), 0)
    assert len(world.task_state.recent) == 2
    reason = world.reason(A, "settle", world.task, 0, record.encode())
    assert reason == "round 0 does not wait for settlement: it is VOID"


def test_what_the_chain_saw_itself_is_punished_even_in_a_round_that_nobody_settled():
    world = make_world(settings={"cycle_blocks": 12, "settle_grace_cycles": 1})
    roots = held(world)
    world.reveal(A, 0, roots[0], "update 0")
    world.go_to(1, 2)
    world.open_shard(CUSTODIANS[0], 0)
    world.go_to(2, 4)
    assert world.balance(A) == BALANCE
    assert world.balance(B) == BALANCE - BOND - FEE
    assert [world.custodian(each).bond for each in CUSTODIANS] == [60 * COIN, 59 * COIN]


def test_fees_that_do_not_divide_by_power_are_burnt():
    world = make_world()
    judged(world, count=1)
    record = nothing_gained(world).encode()
    world.attest(0, record, (VALIDATORS[0], VALIDATORS[1]))
    held_before = world.balance(CONTRACT_ADDRESS)
    world.call(A, "settle", world.task, 0, record)
    shares = [FEE * 500_000 // 800_000, FEE * 300_000 // 800_000, 0]
    assert [world.balance(each) for each in VALIDATORS] == shares
    assert held_before - world.balance(CONTRACT_ADDRESS) == BOND + FEE


# ------------------------------------------------------------------------------------------------------ evaluation fee


def test_the_evaluation_fee_follows_the_use_of_slots():
    parameters = Parameters(updates_per_round=8, evaluation_fee_minimum=1000)
    assert next_evaluation_fee(8000, 4, parameters) == 8000
    assert next_evaluation_fee(8000, 8, parameters) == 9000
    assert next_evaluation_fee(8000, 6, parameters) == 8500
    assert next_evaluation_fee(8000, 0, parameters) == 7000
    assert next_evaluation_fee(1001, 0, parameters) == 1000
    assert next_evaluation_fee(1000, 5, parameters) == 1000 + 1000 // 4 // 8
    assert next_evaluation_fee(1, 5, replace(parameters, evaluation_fee_minimum=0)) == 2


def test_full_rounds_raise_the_fee_of_the_next_and_empty_ones_lower_it():
    world = make_world()
    committed(world, count=8)
    world.go_to(1, 0)
    assert world.task_state.evaluation_fee == FEE * 9 // 8
    world.go_to(2, 0)
    assert world.task_state.evaluation_fee == FEE  # never below its minimum


# --------------------------------------------------------------------------------------------------------------- views


def test_the_view_of_a_task_follows_its_clock():
    world = make_world(rounds=1)
    seen = []
    while world.height < world.clock.last_height + 2:
        _, status, cycle, phase, *_ = world.view("task", world.task)
        seen.append((status, cycle, phase))
        world.end_block()
    pending, first, second = [(1, 0, 0)] * 2, [(1, 0, 1)] * 2 + [(1, 0, 2)] * 2, [(1, 1, 1)] * 2 + [(1, 1, 2)] * 2
    assert seen == pending + first + [(1, 0, 3)] * 5 + [(1, 0, 4)] * 3 + second + [(2, 1, 5)]
    spec, *_, head, loss, escrow = world.view("task", world.task)
    assert (spec.encode(), head, loss, escrow) == (world.spec, world.task_state.head, 0, 0)


def test_views_of_power_and_validators():
    world = make_world()
    assert world.view("validators") == (VALIDATORS, (500_000, 300_000, 200_000))
    assert world.view("powerOf", VALIDATORS[1]) == (300_000, 300_000)
    assert world.view("powerOf", A) == (0, 0)
