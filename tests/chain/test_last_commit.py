"""Tests of a block's last commit: nothing but the parent's, by enough of those who voted on it, is valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from chain.codec import block_hash
from chain.contract import voters_of, voters_on_parent
from chain.crypto import address_of, sha256
from chain.operations.attendance import commits_counted, members_on_parent
from chain.operations.voter_store import read_absences
from chain.parameters import Parameters
from chain.transition import InvalidBlock
from chain.types import COIN, Header
from chain.vote_signatures import REMEMBERED_MAX, VoteSignatures, sign_vote
from consensus.codec import encode_commit
from consensus.types import BlockId, Commit, Height
from tests.chain.commits import commit_of, with_signature
from tests.chain.ledger_world import STRANGER, PlainChain, network

KEYS = tuple(sorted((sha256(b"validator %d" % number) for number in range(4)), key=address_of))
VOTERS = tuple(address_of(key) for key in KEYS)
OTHER_KEY = sha256(b"other")
EPOCH = 5


def four(*powers: int, **parameters: int) -> PlainChain:
    """A chain of four validators, all of whose powers are 1000 unless told otherwise."""
    given = powers or (1000,) * 4
    validators = [(voter, power, power * COIN // 1000) for voter, power in zip(VOTERS, given, strict=True)]
    genesis = network(validators=validators, **({"epoch_blocks": EPOCH} | parameters))
    return PlainChain(genesis=genesis, keys=KEYS)


def build(chain: PlainChain, commit: Commit | bytes, **changes: Any) -> Any:
    """A block that claims the commit, built as a dishonest proposer would: on the right one, and then changed."""
    encoded = encode_commit(commit) if isinstance(commit, Commit) else commit
    block = chain.build(proposer=VOTERS[0]).block
    return replace(block, last_commit=encoded, header=replace(block.header, last_commit_root=sha256(encoded)))


def refusal(chain: PlainChain, commit: Commit | bytes) -> str:
    with pytest.raises(InvalidBlock) as raised:
        chain.apply(build(chain, commit), ())
    return str(raised.value)


def commit(chain: PlainChain, keys: Sequence[bytes] = KEYS, tip: Header | None = None) -> Commit:
    return commit_of(tip or chain.tip, chain.genesis.hash, keys)


def add(chain: PlainChain, keys: Sequence[bytes] = KEYS) -> None:
    """A block on the tip whose last commit is signed by these keys, checked as by who received it."""
    encoded = encode_commit(commit(chain, keys)) if chain.tip.height else b""
    built = chain.build(proposer=VOTERS[0], last_commit=encoded)
    assert chain.apply(built.block, ()) == built.execution
    chain.take(built.block, built.execution.changes)


@pytest.fixture
def chain() -> PlainChain:
    made = four()
    for _ in range(2):
        add(made)
    return made


def test_the_block_after_genesis_carries_none() -> None:
    assert refusal(four(), b"x").startswith("height 1: last_commit: it has 1 bytes; that of height 1 is empty")


@pytest.mark.parametrize("count", [3, 4])
def test_more_than_two_thirds_are_enough_and_all_are_allowed(chain: PlainChain, count: int) -> None:
    add(chain, KEYS[:count])
    assert chain.tip.height == 3


def test_two_thirds_are_not_enough() -> None:
    chain = four(999, 1000, 1001, 1500)
    add(chain)
    message = refusal(chain, commit(chain, KEYS[:3]))
    assert message == "height 2: last_commit: it has a power of 3000 of 4500; more than two thirds are needed"
    add(chain, KEYS[1:])


def test_a_commit_that_is_no_encoding_is_refused(chain: PlainChain) -> None:
    right = encode_commit(commit(chain))
    for wrong in (b"", b"\x00", right + b"\0", right[:-1], b"\x94" + b"\xcd\x00\x02" + right[2:]):
        assert refusal(chain, wrong).startswith("height 3: last_commit: "), wrong.hex()


def test_the_commit_of_another_block_is_refused(chain: PlainChain) -> None:
    right = commit(chain)
    other = replace(right, block_id=BlockId(bytes(32)))
    assert f"it is for block {'00' * 32}, the parent is {block_hash(chain.tip).hex()}" in refusal(chain, other)
    late = replace(right, height=Height(3))
    assert refusal(chain, late) == "height 3: last_commit: it is for height 3, the parent's is 2"


def test_signers_that_are_no_voters_or_stand_twice_or_out_of_order_are_refused(chain: PlainChain) -> None:
    stranger = commit_of(chain.tip, chain.genesis.hash, [*KEYS, OTHER_KEY])
    assert f"{address_of(OTHER_KEY).hex()} is no validator" in refusal(chain, stranger)
    right = commit(chain)
    for rows in (right.signatures[::-1], (right.signatures[0], *right.signatures)):
        assert "ascending order" in refusal(chain, replace(right, signatures=rows))


def test_every_signature_is_looked_at_even_those_that_are_not_needed(chain: PlainChain) -> None:
    right = commit(chain)
    stolen = dict(right.signatures)[right.signatures[0][0]]
    message = refusal(chain, with_signature(right, VOTERS[3], stolen))
    assert message == f"height 3: last_commit: the signature of 0x{VOTERS[3].hex()} is that of 0x{VOTERS[0].hex()}"
    other_round = commit_of(chain.tip, chain.genesis.hash, KEYS[:1], round_=1).signatures[0][1]
    assert f"the signature of 0x{VOTERS[0].hex()} is that of" in refusal(
        chain, with_signature(right, VOTERS[0], other_round)
    )
    elsewhere = commit_of(chain.tip, bytes(32), KEYS[:1]).signatures[0][1]
    assert "the signature of" in refusal(chain, with_signature(right, VOTERS[0], elsewhere))
    for none in (b"", bytes(65), stolen[:64], stolen[:64] + b"\2"):
        message = refusal(chain, with_signature(right, VOTERS[3], none))
        assert message == f"height 3: last_commit: what stands beside 0x{VOTERS[3].hex()} is no signature"


def test_absences_are_counted_and_the_first_block_of_an_epoch_counts_for_nobody() -> None:
    chain = four()
    add(chain)
    for absent in (0, 1, 3):
        add(chain, [key for place, key in enumerate(KEYS) if place != absent])
    assert read_absences(chain) == ()  # height 4 was the epoch's last
    assert [member.account for member in members_on_parent(chain, 5, chain.genesis.parameters)] == list(VOTERS)
    add(chain, KEYS[1:])  # the old epoch's commit
    assert read_absences(chain) == ()
    add(chain, KEYS[1:])
    assert read_absences(chain) == (1, 0, 0, 0)
    add(chain)
    assert read_absences(chain) == (1, 0, 0, 0)


def test_who_is_absent_from_over_half_of_an_epochs_commits_is_left_out() -> None:
    chain = four()
    absent_of = {2: KEYS[3], 3: KEYS[3], 4: KEYS[2]}  # two and one of three commits
    while chain.tip.height < EPOCH - 1:
        height = chain.tip.height + 1
        add(chain, [key for key in KEYS if key != absent_of.get(height)])
    assert [voter for voter, _ in voters_of(chain)] == list(VOTERS[:3])
    # The four decided the last block of the epoch, and three of them decide the next one.
    assert voters_on_parent(chain, EPOCH, chain.genesis.parameters) == tuple((voter, 1000) for voter in VOTERS)
    add(chain, KEYS)
    assert voters_on_parent(chain, EPOCH + 1, chain.genesis.parameters) == tuple((voter, 1000) for voter in VOTERS[:3])
    assert "is no validator" in refusal(chain, commit(chain, KEYS))
    add(chain, KEYS[:3])
    for _ in range(2 * EPOCH):
        add(chain, KEYS[:3])
    assert [voter for voter, _ in voters_of(chain)] == list(VOTERS[:3])


def test_half_of_the_commits_is_not_over_half() -> None:
    chain = four(epoch_blocks=6)
    while chain.tip.height < 5:
        add(chain, KEYS if chain.tip.height % 2 else KEYS[:3])
    assert len(voters_of(chain)) == 4


@pytest.mark.parametrize(
    ("epoch", "height", "counted"), [(5, 4, 3), (5, 9, 4), (5, 5, 0), (1, 0, 0), (1, 1, 0), (1, 7, 0), (2, 1, 0)]
)
def test_counted_commits_of_an_epoch(epoch: int, height: int, counted: int) -> None:
    assert commits_counted(height, Parameters(epoch_blocks=epoch)) == counted


def test_with_epochs_of_one_block_the_sets_follow_each_other() -> None:
    chain = four(epoch_blocks=1)
    for _ in range(4):
        add(chain)
    assert len(voters_of(chain)) == 4


# -------------------------------------------------------------------------------------------- recovered once a node


def test_signers_are_recovered_once_and_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from chain import vote_signatures

    asked: list[int] = []
    recover = vote_signatures.recover_many

    def counting(signatures: Any) -> Any:
        asked.append(len(signatures))
        return recover(signatures)

    monkeypatch.setattr(vote_signatures, "recover_many", counting)
    chain = four()
    add(chain)
    known = VoteSignatures(chain.genesis.hash)
    first, whole = commit(chain, KEYS[:3]), commit(chain)
    assert known.signers_of(first) == list(VOTERS[:3])
    assert known.signers_of(whole) == list(VOTERS)
    assert known.signers_of(whole) == list(VOTERS)
    assert asked == [3, 1]
    digest = sha256(b"digest")
    for number in range(3):
        signature = sign_vote(b"%d" % number, KEYS[0])
        assert known.signer(digest, signature) not in (None, VOTERS[0])
    assert known.signer(digest, b"short") is None
    assert known.signer(digest, bytes(65)) is None
    assert len(known._known) == 7 <= REMEMBERED_MAX
    monkeypatch.setattr(vote_signatures, "REMEMBERED_MAX", 2)
    known.signer(digest, sign_vote(b"4", KEYS[0]))
    assert len(known._known) == 2


def test_a_block_built_by_who_is_no_vote_key_is_refused(chain: PlainChain) -> None:
    block = chain.build(proposer=VOTERS[0]).block
    with pytest.raises(InvalidBlock, match="is no validator's vote key"):
        chain.apply(replace(block, header=replace(block.header, proposer=STRANGER)), ())
