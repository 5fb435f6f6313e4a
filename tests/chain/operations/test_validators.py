"""Tests of a validator's life: it registers, earns, votes, is left out, comes back, unbonds and withdraws."""

from __future__ import annotations

from typing import Any

import pytest

from chain import contract
from chain.abi import encode_call, revert_reason
from chain.ledger import execute_message
from chain.operations.attendance import absences_by_account
from chain.operations.learning_state import Member, Validator, VoteKey
from chain.operations.learning_store import read_members, read_validator, write_members
from chain.operations.registration import account_behind
from chain.operations.voter_store import read_vote_key
from chain.parameters import InvalidParameters, parameters_from
from chain.state import WorkingState
from chain.transition import environment_of
from chain.types import COIN, CONTRACT_ADDRESS, ZERO_ADDRESS
from learning.commitment import attestation_digest, record_hash
from tests.chain.ledger_world import ADDRESSES, PlainChain, network
from tests.chain.operations.learning_rounds import accepted, judged, line, nothing_gained, play
from tests.chain.operations.learning_world import MINERS, VALIDATORS, World, account, make_world

A, B, C, D = MINERS
KEY, OTHER_KEY = account("vote key"), account("other vote key")
UNBONDING, EVIDENCE = 40, 20
PARAMETERS = {"unbonding_blocks": UNBONDING, "evidence_blocks_max": EVIDENCE, "validator_bond_minimum": COIN}


def world_of(**parameters: int) -> World:
    return make_world(parameters=PARAMETERS | parameters)


@pytest.fixture
def world() -> World:
    return world_of()


def next_epoch(world: World) -> int:
    """Go to the first block of the next epoch; its height."""
    world.go(world.height - world.height % 10 + 10)
    return world.height


def register(world: World, sender: bytes = A, vote_key: bytes = ZERO_ADDRESS, bond: int = 4 * COIN) -> None:
    events = world.call(sender, "registerValidator", vote_key, value=bond)
    assert events == [("ValidatorRegistered", {"account": sender})]


def earn(world: World, number: int) -> None:
    """A is paid ten coins, which are 10,000 power."""
    play(world, number, lambda record: line(accepted(record), reward=10 * COIN))


def members(world: World) -> dict[bytes, int]:
    return dict(contract.validators_of(world))


# ------------------------------------------------------------------------------------------------------ a whole life


def test_the_life_of_a_validator_from_its_first_reward_to_its_bond_back(world: World) -> None:
    money = world.balance(A)
    earn(world, 0)
    assert read_validator(world, A).granted == 10_000
    next_epoch(world)
    assert (read_validator(world, A).power, members(world).get(A)) == (10_000, None)

    register(world, vote_key=KEY)
    assert A not in members(world)
    next_epoch(world)
    assert members(world)[A] == 4_000  # what four coins cover
    register(world, vote_key=KEY, bond=20 * COIN)
    next_epoch(world)
    assert members(world)[A] == 10_000  # all that it earned
    assert (KEY, 10_000) in contract.voters_of(world)
    assert world.view("powerOf", A) == (10_000, 10_000)

    first = next_epoch(world)
    world.signers = frozenset(VALIDATORS)
    world.go(first + 6)
    assert absences_by_account(world)[A] == 6
    next_epoch(world)
    assert A not in members(world)
    assert (read_validator(world, A).registered, read_validator(world, A).bond) == (0, 24 * COIN)
    next_epoch(world)
    assert A not in members(world)

    world.signers = frozenset((*VALIDATORS, KEY))
    register(world, vote_key=KEY, bond=0)
    next_epoch(world)
    assert members(world)[A] == 10_000

    height = world.height
    assert world.call(A, "unbond") == [("Unbonding", {"account": A, "height": height + UNBONDING})]
    assert members(world)[A] == 10_000  # it votes until the epoch's end
    next_epoch(world)
    assert A not in members(world)
    world.go(height + UNBONDING - 1)
    assert "may be withdrawn from height" in world.reason(A, "withdraw")
    world.go(height + UNBONDING)
    before = world.balance(A)
    assert world.call(A, "withdraw") == []
    assert world.balance(A) == before + 24 * COIN
    assert world.balance(A) > money  # it was paid for what it taught, and lost nothing
    assert read_validator(world, A) == Validator(earned=10_000)


def test_an_account_without_power_may_register_and_leaves_no_trace(world: World) -> None:
    keys = set(world.values)
    register(world)
    next_epoch(world)
    assert A not in members(world)
    world.call(A, "unbond")
    world.go(world.height + UNBONDING)
    world.call(A, "withdraw")
    assert not [key for key in set(world.values) - keys if A in key[1:]]


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "arguments", "value", "reason"),
    [
        ("registerValidator", (ZERO_ADDRESS,), COIN - 1, f"a validator's bond is at least {COIN}: with the value sent"),
        ("registerValidator", (VALIDATORS[0],), COIN, f"0x{VALIDATORS[0].hex()} is another validator's account"),
        ("unbond", (), 0, "this account has no validator's bond"),
        ("unbond", (), 1, "unbond takes no value"),
        ("withdraw", (), 0, "this account has no validator's bond"),
    ],
)
def test_what_an_account_may_not_do(world: World, name: str, arguments: Any, value: int, reason: str) -> None:
    assert reason in world.reason(A, name, *arguments, value=value)


def test_a_bond_is_withdrawn_after_unbonding_only_and_that_is_asked_for_once(world: World) -> None:
    register(world)
    assert world.reason(A, "withdraw") == "the bond is not unbonding: call unbond first"
    world.call(A, "unbond")
    assert f"withdraw it from height {world.height + UNBONDING} on" in world.reason(A, "unbond")
    register(world, bond=0)
    assert world.reason(A, "withdraw") == "the bond is not unbonding: call unbond first"


def test_a_bond_that_is_there_counts_for_registering_again(world: World) -> None:
    register(world, bond=COIN)
    register(world, bond=0)
    world.call(A, "unbond")
    world.go(world.height + UNBONDING)
    world.call(A, "withdraw")
    assert "a validator's bond is at least" in world.reason(A, "registerValidator", ZERO_ADDRESS)


def test_evidence_is_taken_for_less_long_than_bonds_are_kept() -> None:
    with pytest.raises(InvalidParameters, match="evidence_blocks_max 40 must be less than unbonding_blocks 40"):
        parameters_from({"unbonding_blocks": 40, "evidence_blocks_max": 40})


def test_with_long_epochs_a_bond_is_kept_until_its_last_vote_is_too_old() -> None:
    world = world_of(epoch_blocks=1000)
    register(world)
    ((_, unbonding),) = world.call(A, "unbond")
    assert unbonding["height"] == 999 + EVIDENCE + 1


def test_there_is_room_for_a_bounded_number_of_accounts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    register(world, B)
    monkeypatch.setattr("chain.operations.learning_store.HOLDERS_MAX", 0)
    assert "no more validators are taken whose addresses start like" in world.reason(
        A, "registerValidator", ZERO_ADDRESS, value=COIN
    )
    register(world, B)


# ---------------------------------------------------------------------------------------------------------- vote keys


def test_a_vote_key_is_one_accounts_for_ever(world: World) -> None:
    register(world, A, KEY)
    used = f"the vote key 0x{KEY.hex()} is that of the validator 0x{A.hex()}: choose another"
    assert world.reason(B, "registerValidator", KEY, value=COIN) == used
    register(world, A, OTHER_KEY)
    assert world.reason(B, "registerValidator", KEY, value=COIN) == used
    assert "is another validator's account" in world.reason(B, "registerValidator", A, value=COIN)
    register(world, A, KEY)
    assert read_validator(world, A).vote_address == KEY


def test_who_is_another_validators_vote_key_takes_itself_back_by_registering(world: World) -> None:
    earn(world, 0)
    register(world, A, B, bond=10 * COIN)
    next_epoch(world)
    assert (B, 10_000) in contract.voters_of(world)
    register(world, B, KEY)
    until = world.height - world.height % 10 + 10
    assert read_vote_key(world, B) == VoteKey(account=A, until=until)
    assert read_validator(world, A).registered == 0
    next_epoch(world)
    assert A not in members(world)
    assert "is another validator's account" in world.reason(A, "registerValidator", B)
    register(world, A, OTHER_KEY, bond=0)
    next_epoch(world)
    assert (OTHER_KEY, 10_000) in contract.voters_of(world)


def test_a_set_keeps_its_vote_keys_for_its_epoch(world: World) -> None:
    earn(world, 0)
    register(world, A, KEY, bond=10 * COIN)
    next_epoch(world)
    voters = contract.voters_of(world)
    assert sorted(address for address, _ in voters) == [address for address, _ in voters]
    register(world, A, OTHER_KEY)
    assert contract.voters_of(world) == voters
    next_epoch(world)
    assert (OTHER_KEY, 10_000) in contract.voters_of(world)
    assert KEY not in dict(contract.voters_of(world))


def test_a_vote_key_speaks_for_its_account_until_it_is_in_the_set_no_more(world: World) -> None:
    earn(world, 0)
    register(world, A, KEY, bond=10 * COIN)
    world.go_to(2, 5)
    world.commit_update(B, "held")
    world.call(KEY, "attestHeld", world.task, 2, b"\1")
    register(world, A, OTHER_KEY)
    world.call(KEY, "attestHeld", world.task, 2, b"\1")
    assert [voter for voter, _ in world.round(2).holdings] == [A]
    assert "only validators" in world.reason(OTHER_KEY, "attestHeld", world.task, 2, b"\1")
    world.go_to(2, 11)
    next_epoch(world)
    assert OTHER_KEY in dict(contract.voters_of(world))


def test_an_attestation_by_a_vote_key_is_its_accounts(world: World) -> None:
    judged(world)
    state = WorkingState(world)
    write_members(state, (Member(account=A, vote_address=KEY, power=10),))
    world.commit(state)
    digest = attestation_digest(record=record_hash(nothing_gained(world).encode()), validator=A)
    world.call(KEY, "attest", world.task, 0, digest)
    assert dict(world.round(0).attestations) == {A: digest}


def test_a_key_that_its_own_account_took_back_is_never_anothers_vote_key_again(world: World) -> None:
    """What it signs is its own account's from then on: with it another one could vote twice, and lose nothing."""
    register(world, A, B)
    register(world, B)
    world.call(B, "unbond")
    next_epoch(world)
    world.go(world.height + UNBONDING)
    world.call(B, "withdraw")
    assert read_vote_key(world, B) is not None
    assert account_behind(world, B, world.height) == B
    assert "its own account took it back" in world.reason(A, "registerValidator", B)
    register(world, A, KEY, bond=0)
    assert account_behind(world, KEY, world.height) == A


# ------------------------------------------------------------------------------------------------- sets and absences


def test_an_empty_next_set_keeps_the_old_one_and_its_bonds(world: World) -> None:
    heights = []
    for validator in VALIDATORS:
        ((_, event),) = world.call(validator, "unbond")
        heights.append(event["height"])
    before = read_members(world)
    end = next_epoch(world)
    assert read_members(world) == before
    asked = [read_validator(world, each).withdraw_at for each in VALIDATORS]
    assert asked == [end + UNBONDING] * 3 > heights
    world.go(heights[0])
    assert "may be withdrawn from height" in world.reason(VALIDATORS[0], "withdraw")
    # Once somebody registers, the others leave, and are at risk for the whole delay after their last epoch.
    register(world, VALIDATORS[1], bond=0)
    end = next_epoch(world)
    assert list(members(world)) == [VALIDATORS[1]]
    assert read_validator(world, VALIDATORS[0]).withdraw_at >= end - 10 + UNBONDING


def test_unbonding_on_an_epochs_last_block_counts_for_the_next_one(world: World) -> None:
    world.go(9)
    world.call(VALIDATORS[2], "unbond")
    world.go(10)
    assert VALIDATORS[2] not in members(world)


def test_absences_of_who_left_the_registry_meanwhile_change_nothing(world: World) -> None:
    world.signers = frozenset(VALIDATORS[:2])
    world.go(8)
    world.call(VALIDATORS[2], "unbond")
    held = read_validator(world, VALIDATORS[2])
    next_epoch(world)
    assert read_validator(world, VALIDATORS[2]) == held
    assert list(members(world)) == list(VALIDATORS[:2])
    assert absences_by_account(world) == dict.fromkeys(VALIDATORS[:2], 0)


def test_wallets_are_told_why_before_they_pay() -> None:
    chain = PlainChain(genesis=network())
    outcome = execute_message(
        WorkingState(chain),
        sender=ADDRESSES[0],
        to=CONTRACT_ADDRESS,
        value=0,
        data=encode_call("withdraw"),
        gas_limit=500_000,
        intrinsic=21_000,
        environment=environment_of(chain.tip, chain.genesis.parameters),
    )
    assert (outcome.succeeded, outcome.reason) == (False, "this account has no validator's bond")
    assert revert_reason(outcome.output) == outcome.reason


def test_a_block_must_hold_the_commit_of_all_validators() -> None:
    assert parameters_from({"block_bytes_max": 1 << 16}).validators_max == 100
    assert parameters_from({"validators_max": 1000}).block_bytes_max == 1 << 20
    for validators in (1000, 10**9):  # no set is larger than consensus allows
        with pytest.raises(InvalidParameters, match="raise it to at least 125832"):
            parameters_from({"block_bytes_max": 1 << 16, "validators_max": validators})
    assert parameters_from({"block_bytes_max": 125832, "validators_max": 1000})
