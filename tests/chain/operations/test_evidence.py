"""Tests of what becomes of a validator that votes twice, and of what is no evidence against anybody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain import contract
from chain.crypto import address_of, sha256
from chain.operations.learning_state import Validator
from chain.operations.learning_store import read_epoch, read_supply, read_validator
from chain.operations.treasury import held_for_others
from chain.types import COIN, ZERO_ADDRESS
from chain.vote_signatures import sign_vote
from consensus.codec import encode_equivocation, vote_fields
from consensus.types import BlockId, Equivocation, Height, Round, Vote, VoteKind, Voter, pack
from learning.record import Record
from tests.chain.operations.learning_rounds import accepted, line, play
from tests.chain.operations.learning_world import (
    GENESIS_HASH,
    MINERS,
    POWERS,
    VALIDATOR_KEYS,
    VALIDATORS,
    World,
    make_world,
    root,
)

A, B, *_ = MINERS
VOTE_KEY, OTHER_KEY = sha256(b"vote key"), sha256(b"other vote key")
UNBONDING, EVIDENCE = 40, 20
PARAMETERS = {"unbonding_blocks": UNBONDING, "evidence_blocks_max": EVIDENCE, "validator_bond_minimum": COIN}
ONE, TWO = BlockId(root("block one")), BlockId(root("block two"))


@pytest.fixture
def world() -> World:
    return make_world(parameters=PARAMETERS)


def vote(key: bytes, height: int, block_id: BlockId | None = ONE, **changes: Any) -> Vote:
    """A signed prevote of round 0, or another."""
    unsigned = Vote(
        height=Height(height), round=Round(0), kind=VoteKind.PREVOTE, block_id=block_id, voter=Voter(address_of(key))
    )
    unsigned = replace(unsigned, **changes)
    return replace(unsigned, signature=sign_vote(unsigned.sign_bytes(GENESIS_HASH), key))


def twice(key: bytes, height: int, **changes: Any) -> bytes:
    return encode_equivocation(
        Equivocation(first=vote(key, height, ONE, **changes), second=vote(key, height, TWO, **changes))
    )


def slashed(world: World, key: bytes, height: int, sender: bytes = B) -> list[Any]:
    return world.call(sender, "submitEvidence", twice(key, height))


def refusal(world: World, evidence: bytes) -> str:
    return world.reason(B, "submitEvidence", evidence)


def test_who_votes_twice_loses_its_power_half_its_bond_and_its_place(world: World) -> None:
    key, account = VALIDATOR_KEYS[0], VALIDATORS[0]
    bond = read_validator(world, account).bond
    world.go(5)
    burnt, held = read_supply(world).burnt, held_for_others(world)
    assert slashed(world, key, 4) == [("Slashed", {"account": account, "amount": bond // 2})]
    assert (read_supply(world).burnt, held_for_others(world)) == (burnt + bond // 2, held - bond // 2)
    assert read_validator(world, account) == Validator(
        bond=bond // 2, vote_address=account, barred=1, withdraw_at=5 + UNBONDING
    )
    # The set of an epoch is fixed: it votes to the epoch's end, and never again.
    assert dict(contract.validators_of(world))[account] == POWERS[0]
    world.go(10)
    assert [each for each, _ in contract.validators_of(world)] == list(VALIDATORS[1:])
    world.give(account, 10 * COIN)
    assert "barred for voting twice" in world.reason(account, "registerValidator", ZERO_ADDRESS, value=5 * COIN)
    assert "withdraw it from height 45 on" in world.reason(account, "unbond")
    world.go(45)
    world.call(account, "withdraw")
    assert world.balance(account) == 10 * COIN + bond // 2
    assert read_validator(world, account) == Validator(barred=1)
    assert "barred for voting twice" in world.reason(account, "registerValidator", ZERO_ADDRESS, value=5 * COIN)


def test_it_is_punished_once(world: World) -> None:
    slashed(world, VALIDATOR_KEYS[0], 1)
    world.go(3)
    again = f"the validator 0x{VALIDATORS[0].hex()} is barred already"
    assert refusal(world, twice(VALIDATOR_KEYS[0], 1)) == again
    assert refusal(world, twice(VALIDATOR_KEYS[0], 2)) == again


@pytest.mark.parametrize("kind", list(VoteKind))
@pytest.mark.parametrize("second", [None, TWO])
def test_votes_of_both_kinds_and_for_nothing_are_votes(world: World, kind: VoteKind, second: BlockId | None) -> None:
    key = VALIDATOR_KEYS[1]
    votes = [vote(key, 1, each, kind=kind, round=Round(7)) for each in (ONE, second)]
    for first, other in (votes, votes[::-1]):
        fresh = make_world(parameters=PARAMETERS)
        evidence = encode_equivocation(Equivocation(first=first, second=other))
        assert fresh.call(A, "submitEvidence", evidence)[0][0] == "Slashed"


def test_evidence_has_its_time(world: World) -> None:
    key = VALIDATOR_KEYS[0]
    world.go(30)
    assert refusal(world, twice(key, 31)) == "the votes are of height 31, which is yet to come"
    assert refusal(world, twice(key, 9)) == "the votes are of height 9: those before 10 are not punished any more"
    assert slashed(world, key, 10)
    assert slashed(world, VALIDATOR_KEYS[1], 30)


def test_signatures_are_the_accused_ones_on_this_network(world: World) -> None:
    good = vote(VALIDATOR_KEYS[0], 1)
    other = vote(VALIDATOR_KEYS[0], 1, TWO)
    elsewhere = replace(other, signature=sign_vote(other.sign_bytes(bytes(32)), VALIDATOR_KEYS[0]))
    stolen = replace(other, signature=vote(VALIDATOR_KEYS[1], 1, TWO).signature)
    for wrong in (elsewhere, stolen, *(replace(other, signature=each) for each in (b"", bytes(65), good.signature))):
        for first, second in ((good, wrong), (wrong, good)):
            message = refusal(world, encode_equivocation(Equivocation(first=first, second=second)))
            assert message == f"the signature for block {TWO.hex()} is not of 0x{VALIDATORS[0].hex()}"


def test_what_is_no_equivocation_is_no_evidence(world: World) -> None:
    first = vote(VALIDATOR_KEYS[0], 1)
    others = (
        first,
        vote(VALIDATOR_KEYS[0], 2, TWO),
        vote(VALIDATOR_KEYS[0], 1, TWO, round=Round(1)),
        vote(VALIDATOR_KEYS[0], 1, TWO, kind=VoteKind.PRECOMMIT),
        vote(VALIDATOR_KEYS[1], 1, TWO),
    )
    right = twice(VALIDATOR_KEYS[0], 1)
    for second in others:
        assert refusal(world, _pair(first, second)).startswith("this is no evidence: ")
    for wrong in (b"", right[:-1], right + b"\0", bytes(400)):
        assert refusal(world, wrong).startswith("this is no evidence: ")


def _pair(first: Vote, second: Vote) -> bytes:
    """The encoding of two votes that are no equivocation."""
    return pack([vote_fields(first), vote_fields(second)])


def test_a_stranger_has_nothing_to_lose(world: World) -> None:
    assert "is no validator's vote key" in refusal(world, twice(VOTE_KEY, 1))
    assert read_validator(world, address_of(VOTE_KEY)) == Validator()


# ---------------------------------------------------------------------------------------------------- other vote keys


def test_the_account_answers_for_every_vote_key_that_it_ever_had(world: World) -> None:
    for key in (VOTE_KEY, OTHER_KEY):
        world.call(A, "registerValidator", address_of(key), value=2 * COIN)
    assert slashed(world, VOTE_KEY, 1) == [("Slashed", {"account": A, "amount": 2 * COIN})]
    assert "is barred already" in refusal(world, twice(OTHER_KEY, 1))


def test_an_account_answers_for_its_own_key_after_it_chose_another(world: World) -> None:
    key, account = VALIDATOR_KEYS[2], VALIDATORS[2]
    world.give(account, COIN)
    world.call(account, "registerValidator", address_of(VOTE_KEY))
    world.go(12)
    assert slashed(world, key, 3)[0][1]["account"] == account


def test_a_key_that_takes_itself_back_leaves_what_it_signed_to_whom_it_signed_for(world: World) -> None:
    own = address_of(VOTE_KEY)
    world.give(own, 10 * COIN)
    world.call(A, "registerValidator", own, value=2 * COIN)
    world.go(5)
    world.call(own, "registerValidator", ZERO_ADDRESS, value=2 * COIN)
    world.go(12)
    assert slashed(world, VOTE_KEY, 9)[0][1]["account"] == A
    assert slashed(world, VOTE_KEY, 10)[0][1]["account"] == own


def test_who_unbonds_is_at_risk_until_it_may_withdraw(world: World) -> None:
    account = VALIDATORS[0]
    bond = read_validator(world, account).bond
    world.go(5)
    world.call(account, "unbond")
    world.go(5 + EVIDENCE + 4)
    ((_, event),) = slashed(world, VALIDATOR_KEYS[0], 9)
    assert event["amount"] == bond // 2
    world.go(5 + UNBONDING)
    assert "may be withdrawn from height" in world.reason(account, "withdraw")  # the delay starts anew
    world.go(29 + UNBONDING)
    world.call(account, "withdraw")
    assert world.balance(account) == bond // 2


# ------------------------------------------------------------------------------------------------------ power and bond


def ten_coins(record: Record) -> Record:
    return replace(line(accepted(record), reward=10 * COIN), head=root(f"head {record.round}"))


def test_what_was_earned_in_the_epoch_goes_too_and_nothing_is_earned_after(world: World) -> None:
    world.call(A, "registerValidator", address_of(VOTE_KEY), value=20 * COIN)
    play(world, 0, ten_coins)
    assert (read_validator(world, A).granted, read_epoch(world).granted) == (10_000, 10_000)
    slashed(world, VOTE_KEY, world.height)
    assert (read_validator(world, A).granted, read_epoch(world).granted) == (0, 0)
    powers = contract.validators_of(world)
    world.go(world.height + 10)
    assert contract.validators_of(world) == powers  # no grants, no decay
    play(world, 2, ten_coins)
    assert (read_validator(world, A).granted, read_epoch(world).granted) == (0, 0)


@pytest.mark.parametrize(("share", "cut"), [(0, 0), (1, COIN // 500), (1000, 2 * COIN)])
def test_the_share_that_is_cut_is_the_networks(share: int, cut: int) -> None:
    world = make_world(parameters=PARAMETERS | {"slash_milli": share})
    world.call(A, "registerValidator", address_of(VOTE_KEY), value=2 * COIN)
    assert slashed(world, VOTE_KEY, 1) == [("Slashed", {"account": A, "amount": cut})]
    if share == 1000:
        assert world.reason(A, "withdraw") == "this account has no validator's bond"
    else:
        world.go(1 + UNBONDING)
        world.call(A, "withdraw")


def test_where_nobody_else_can_vote_the_barred_go_on(world: World) -> None:
    world.set_validators(((VALIDATORS[0], 5),))
    for validator in VALIDATORS[1:]:
        world.call(validator, "unbond")
    slashed(world, VALIDATOR_KEYS[0], 1)
    world.go(10)
    assert contract.validators_of(world) == ((VALIDATORS[0], 5),)
    assert read_validator(world, VALIDATORS[0]).withdraw_at == 10 + UNBONDING
