"""Tests of light verification: honest chains are followed over any distance, and nothing forged is believed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.codec import InvalidEncoding, block_hash
from chain.crypto import sha256
from chain.light import (
    InvalidLight,
    TooFar,
    Trusted,
    TrustExpired,
    descend,
    reach,
    rules_of,
    step,
    trust_block,
    trust_genesis,
)
from chain.light_blocks import LightBlock, decode_light_block, encode_light_block
from chain.transition import validators_hash
from chain.types import Header
from chain.vote_signatures import VoteSignatures
from tests.chain.ledger_world import network
from tests.chain.light_world import GENESIS, STEP_MS, HeaderChain, members_of, rules, signed

CHAIN = HeaderChain(60)


def walk(
    steps: Generator[int, LightBlock, Trusted], blocks: Callable[[int], LightBlock] = CHAIN.blocks.__getitem__
) -> tuple[Trusted, list[int]]:
    """What a walk ends at, and the heights that it asked for."""
    asked = []
    try:
        wanted = next(steps)
        while True:
            asked.append(wanted)
            wanted = steps.send(blocks(wanted))
    except StopIteration as done:
        return done.value, asked


# ------------------------------------------------------------------------------------------------------- honest


def test_genesis_is_trusted_by_its_file_alone() -> None:
    trusted = trust_genesis(GENESIS)
    assert trusted.header.parent == GENESIS.hash
    assert validators_hash(trusted.next_validators.members) == trusted.header.next_validators_hash


@settings(deadline=None, max_examples=30)
@given(start=st.integers(1, 59), distance=st.integers(1, 59))
def test_any_later_block_is_reached(start: int, distance: int) -> None:
    height = min(60, start + distance)
    found, _ = walk(reach(CHAIN.trusted(start), height, rules(), CHAIN.now_ms()))
    assert found.hash == block_hash(CHAIN.blocks[height].header)


def test_a_third_of_the_trusted_power_allows_one_long_step() -> None:
    found, asked = walk(reach(CHAIN.trusted(1), 12, rules(), CHAIN.now_ms()))  # two of four validators are the same
    assert (found.height, asked) == (12, [12])


def test_where_too_few_overlap_blocks_in_between_are_asked_for() -> None:
    with pytest.raises(TooFar):
        step(CHAIN.trusted(1), CHAIN.blocks[40], rules(), CHAIN.now_ms())
    found, asked = walk(reach(CHAIN.trusted(1), 40, rules(), CHAIN.now_ms()))
    assert found.height == 40
    assert 2 < len(asked) < 12, asked
    assert len(asked) == len(set(asked))


def test_a_chain_whose_set_changes_whole_is_followed_block_by_block() -> None:
    trusted = CHAIN.trusted(1)
    for height in range(2, 30):
        trusted = step(trusted, CHAIN.blocks[height], rules(), CHAIN.now_ms())
    assert trusted.height == 29


def test_earlier_blocks_are_reached_by_parents() -> None:
    found, asked = walk(descend(CHAIN.trusted(20), 11))
    assert found.hash == block_hash(CHAIN.blocks[11].header)
    assert asked == list(range(19, 10, -1))


def test_encoding_is_canonical_and_gives_back_the_block() -> None:
    for block in CHAIN.blocks.values():
        assert decode_light_block(encode_light_block(block)) == block


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=300))
def test_decoding_any_bytes_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        decode_light_block(data)


# ------------------------------------------------------------------------------------------------------- forged


def flipped(value: object) -> object:
    """Another value of the same kind."""
    if isinstance(value, int):
        return value ^ 1
    assert isinstance(value, bytes)
    return bytes([value[0] ^ 1]) + value[1:]


@pytest.mark.parametrize("height", [13, 11])
@pytest.mark.parametrize("field", [field.name for field in fields(Header)])
def test_a_header_with_any_field_changed_is_refused(field: str, height: int) -> None:
    block = CHAIN.blocks[height]
    header = replace(block.header, **{field: flipped(getattr(block.header, field))})
    with pytest.raises(InvalidLight):
        step(CHAIN.trusted(10), replace(block, header=header), rules(), CHAIN.now_ms())


@pytest.mark.parametrize("height", [13, 11])
def test_any_changed_part_of_a_commit_is_refused(height: int) -> None:
    block = CHAIN.blocks[height]
    commit = block.commit
    assert commit is not None
    voter, signature = commit.signatures[0]
    forged = [
        replace(commit, height=commit.height + 1),
        replace(commit, round=commit.round + 1),
        replace(commit, block_id=flipped(commit.block_id)),
        replace(commit, signatures=commit.signatures[2:]),
        replace(commit, signatures=commit.signatures[::-1]),
        replace(commit, signatures=(commit.signatures[0], *commit.signatures)),
        replace(commit, signatures=((flipped(voter), signature), *commit.signatures[1:])),
        *(
            replace(commit, signatures=((voter, changed), *commit.signatures[1:]))
            for changed in (flipped(signature), signature[:64] + flipped(signature[64:]), b"", signature[:64])
        ),
        None,
    ]
    for each in forged:
        with pytest.raises(InvalidLight):
            step(CHAIN.trusted(10), replace(block, commit=each), rules(), CHAIN.now_ms())


@pytest.mark.parametrize("height", [13, 11])
@pytest.mark.parametrize("which", ["validators", "next_validators"])
def test_any_other_members_are_refused(height: int, which: str) -> None:
    block = CHAIN.blocks[height]
    members = getattr(block, which)
    (address, power), *others = members
    for forged in ((), members[1:], ((address, power + 1), *others), ((flipped(address), power), *others), members * 2):
        with pytest.raises(InvalidLight):
            step(CHAIN.trusted(10), replace(block, **{which: tuple(forged)}), rules(), CHAIN.now_ms())


def test_exactly_two_thirds_do_not_decide() -> None:
    voters = tuple(sorted((address, 10) for address, _ in members_of(11)[:3]))
    header = replace(CHAIN.blocks[11].header, validators_hash=validators_hash(voters))
    trusted = replace(
        CHAIN.trusted(10), header=replace(CHAIN.blocks[10].header, next_validators_hash=header.validators_hash)
    )
    header = replace(header, parent=trusted.hash)
    block = LightBlock(
        header=header, commit=signed(header, voters[:2]), validators=voters, next_validators=members_of(12)
    )
    with pytest.raises(InvalidLight, match="20 of 30"):
        step(trusted, block, rules(), CHAIN.now_ms())
    step(trusted, replace(block, commit=signed(header, voters)), rules(), CHAIN.now_ms())


def test_a_set_that_signs_for_itself_is_not_believed() -> None:
    """Strangers with all the power they like, over any distance."""
    strangers = members_of(35)
    for height in (11, 13, 50):
        header = replace(
            CHAIN.blocks[height].header,
            validators_hash=validators_hash(strangers),
            next_validators_hash=validators_hash(strangers),
        )
        block = LightBlock(
            header=header, commit=signed(header, strangers), validators=strangers, next_validators=strangers
        )
        with pytest.raises(InvalidLight):
            step(CHAIN.trusted(10), block, rules(), CHAIN.now_ms())


def test_signatures_for_another_network_do_not_count() -> None:
    block = CHAIN.blocks[11]
    elsewhere = replace(block, commit=signed(block.header, block.validators, genesis=network(balances={})))
    with pytest.raises(InvalidLight):
        step(CHAIN.trusted(10), elsewhere, rules(), CHAIN.now_ms())


def test_prevotes_do_not_decide() -> None:
    block = CHAIN.blocks[11]
    assert block.commit is not None
    with pytest.raises(InvalidLight):
        step(CHAIN.trusted(10), replace(block, commit=replace(block.commit, round=1)), rules(), CHAIN.now_ms())


def test_trust_ends_with_its_period() -> None:
    trusted, block = CHAIN.trusted(10), CHAIN.blocks[12]
    step(trusted, block, rules(5 * STEP_MS), CHAIN.now_ms(15))
    with pytest.raises(TrustExpired):
        step(trusted, block, rules(5 * STEP_MS), CHAIN.now_ms(15) + 1)
    step(trusted, block, rules(None), CHAIN.now_ms(15) + 10**12)


def test_the_trust_period_lies_within_that_of_evidence() -> None:
    parameters = GENESIS.parameters
    period = rules_of(GENESIS, VoteSignatures(GENESIS.hash).signers_of).trust_period_ms
    assert period is not None
    assert period < parameters.evidence_blocks_max * parameters.block_interval_ms
    assert parameters.evidence_blocks_max < parameters.unbonding_blocks


def test_blocks_from_the_future_are_refused() -> None:
    with pytest.raises(InvalidLight, match="clock"):
        step(CHAIN.trusted(10), CHAIN.blocks[40], rules(), CHAIN.now_ms(10))


def test_a_named_block_must_be_the_one_that_is_given() -> None:
    block = CHAIN.blocks[10]
    hash_ = block_hash(block.header)
    for height, wanted in ((11, hash_), (10, flipped(hash_))):
        with pytest.raises(InvalidLight):
            trust_block(block, height, wanted)
    with pytest.raises(InvalidLight):
        trust_block(replace(block, next_validators=()), 10, hash_)


def test_a_block_of_another_height_than_asked_is_refused() -> None:
    with pytest.raises(InvalidLight, match="asked"):
        walk(reach(CHAIN.trusted(1), 30, rules(), CHAIN.now_ms()), lambda wanted: CHAIN.blocks[wanted - 1])


def test_descending_over_a_forged_parent_is_refused() -> None:
    forged = replace(CHAIN.blocks[15], header=replace(CHAIN.blocks[15].header, state_root=sha256(b"")))
    with pytest.raises(InvalidLight):
        walk(descend(CHAIN.trusted(16), 15), lambda wanted: forged)
    members = replace(CHAIN.blocks[15], next_validators=members_of(40))
    with pytest.raises(InvalidLight):
        walk(descend(CHAIN.trusted(16), 15), lambda wanted: members)
