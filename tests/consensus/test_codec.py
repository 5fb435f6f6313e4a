"""One value has one encoding, what is signed says all that it must, and no other bytes are accepted."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import codec
from consensus.codec import InvalidEncoding
from consensus.types import (
    POWER_MAX,
    ROUND_MAX,
    VALIDATORS_MAX,
    BlockId,
    Commit,
    Equivocation,
    Height,
    InvalidConsensus,
    Proposal,
    Round,
    ValidatorSet,
    Vote,
    VoteKind,
    Voter,
)
from tests.consensus.scene import EQUAL, FOUR, ONE, STRANGER, THREE, TWO, X, Y, precommits, prevotes, proposal

heights = st.integers(0, 2**63 - 1).map(Height)
rounds = st.integers(0, ROUND_MAX).map(Round)
ids = st.binary(min_size=32, max_size=32).map(BlockId)
voters = st.binary(min_size=20, max_size=20).map(Voter)
signatures = st.binary(max_size=65)
vote_values = st.builds(
    Vote,
    height=heights,
    round=rounds,
    kind=st.sampled_from(VoteKind),
    block_id=st.none() | ids,
    voter=voters,
    signature=signatures,
)
proposals = st.builds(
    Proposal,
    height=heights,
    round=rounds,
    block_id=ids,
    valid_round=st.just(-1),
    proposer=voters,
    signature=signatures,
)
sets = st.dictionaries(voters, st.integers(1, POWER_MAX), min_size=1, max_size=6).map(
    lambda powers: ValidatorSet(members=tuple(sorted(powers.items())))
)
commits = st.builds(
    Commit,
    height=heights,
    round=rounds,
    block_id=ids,
    signatures=st.dictionaries(voters, signatures, max_size=6).map(lambda signed: tuple(sorted(signed.items()))),
)

Encode, Decode = Callable[[Any], bytes], Callable[[bytes], Any]
CODECS: list[tuple[Any, Encode, Decode]] = [
    (vote_values, codec.encode_vote, codec.decode_vote),
    (proposals, codec.encode_proposal, codec.decode_proposal),
    (sets, codec.encode_validators, codec.decode_validators),
    (commits, codec.encode_commit, codec.decode_commit),
]
SAMPLES: list[tuple[bytes, Decode]] = [
    (codec.encode_vote(prevotes(3, X, ONE)[0]), codec.decode_vote),
    (codec.encode_proposal(proposal(3, X, 2)), codec.decode_proposal),
    (codec.encode_validators(EQUAL), codec.decode_validators),
    (
        codec.encode_commit(Commit(height=Height(7), round=Round(0), block_id=X, signatures=((ONE, b"s"),))),
        codec.decode_commit,
    ),
    (
        codec.encode_equivocation(Equivocation(first=prevotes(0, X, ONE)[0], second=prevotes(0, None, ONE)[0])),
        codec.decode_equivocation,
    ),
]


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_decoding_inverts_encoding(data: st.DataObject) -> None:
    strategy, encode, decode = data.draw(st.sampled_from(CODECS))
    value = data.draw(strategy)
    assert decode(encode(value)) == value


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_decodes_is_the_encoding_of_its_value(data: st.DataObject) -> None:
    index = data.draw(st.integers(0, 3))
    sample, decode = SAMPLES[index]
    at = data.draw(st.integers(0, len(sample) - 1))
    bent = sample[:at] + bytes([data.draw(st.integers(0, 255))]) + sample[at + 1 :]
    try:
        value = decode(bent)
    except InvalidEncoding:
        return
    assert CODECS[index][1](value) == bent


@pytest.mark.parametrize(("sample", "decode"), SAMPLES)
def test_cut_and_lengthened_bytes_are_refused(sample: bytes, decode: Decode) -> None:
    assert decode(sample) is not None
    for bent in [sample[:n] for n in range(len(sample))] + [sample + b"\0", b"", b"\xc0", b"\xc1"]:
        with pytest.raises(InvalidEncoding):
            decode(bent)


def vote_bytes(*fields: object) -> bytes:
    return bytes(msgpack.packb(list(fields), use_bin_type=True))


@pytest.mark.parametrize(
    "fields",
    [
        (-1, 0, 1, X, ONE, b""),
        (2**63, 0, 1, X, ONE, b""),
        (1, ROUND_MAX + 1, 1, X, ONE, b""),
        (1, 0, 0, X, ONE, b""),
        (1, 0, 3, X, ONE, b""),
        (1, 0, True, X, ONE, b""),
        (1.0, 0, 1, X, ONE, b""),
        (1, 0, 1, X[1:], ONE, b""),
        (1, 0, 1, "x" * 32, ONE, b""),
        (1, 0, 1, X, ONE + b"1", b""),
        (1, 0, 1, X, ONE, bytes(66)),
        (1, 0, 1, X, ONE, None),
        (1, 0, 1, X, ONE),
        (1, 0, 1, X, ONE, b"", 0),
        (1, 0, 1, X, {}, b""),
    ],
)
def test_vote_out_of_bounds_is_refused(fields: tuple[object, ...]) -> None:
    assert codec.decode_vote(vote_bytes(1, 0, 1, X, ONE, b"")).voter == ONE
    with pytest.raises(InvalidEncoding):
        codec.decode_vote(vote_bytes(*fields))


def test_longer_form_of_an_integer_is_refused() -> None:
    short = codec.encode_vote(prevotes(0, X, ONE)[0])
    assert short[1] == 7
    with pytest.raises(InvalidEncoding, match="canonical"):
        codec.decode_vote(short[:1] + b"\xcc\x07" + short[2:])


def test_huge_lengths_are_refused_before_anything_is_allocated() -> None:
    for claim in (b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x96\xdf\xff\xff\xff\xff"):
        with pytest.raises(InvalidEncoding):
            codec.decode_commit(claim)
    with pytest.raises(InvalidEncoding, match="at most"):
        codec.decode_vote(bytes(1_000))


def test_signers_of_a_commit_ascend_each_once() -> None:
    for signers in ([TWO, ONE], [ONE, ONE]):
        commit = Commit(height=Height(1), round=Round(0), block_id=X, signatures=tuple((v, b"s") for v in signers))
        with pytest.raises(InvalidEncoding, match="ascending"):
            codec.decode_commit(codec.encode_commit(commit))
        with pytest.raises(InvalidConsensus, match="ascend"):
            commit.power(EQUAL)


def test_power_of_a_commit_is_that_of_its_signers() -> None:
    validators = ValidatorSet(members=((ONE, 1), (TWO, 3), (THREE, 5)))
    commit = Commit(height=Height(7), round=Round(0), block_id=X, signatures=((ONE, b"a"), (THREE, b"c")))
    assert commit.power(validators) == 6
    assert [vote.voter for vote in commit.votes()] == [ONE, THREE]
    assert commit.votes()[0] == replace(precommits(0, X, ONE)[0], signature=b"a")
    stranger = replace(commit, signatures=((STRANGER, b"s"),))
    with pytest.raises(InvalidConsensus, match="no validator"):
        stranger.power(validators)


# ----------------------------------------------------------------------------------------------- what is signed


def test_sign_bytes_differ_in_everything_that_a_vote_says() -> None:
    vote = prevotes(1, X, ONE)[0]
    others = [
        replace(vote, height=Height(8)),
        replace(vote, round=Round(2)),
        replace(vote, kind=VoteKind.PRECOMMIT),
        replace(vote, block_id=Y),
        replace(vote, block_id=None),
    ]
    signed = [item.sign_bytes(b"g" * 32) for item in (vote, *others)]
    signed += [
        vote.sign_bytes(b"h" * 32),
        proposal(1, X).sign_bytes(b"g" * 32),
        proposal(1, X, 0).sign_bytes(b"g" * 32),
    ]
    assert len(set(signed)) == len(signed)


def test_sign_bytes_are_as_written_down() -> None:
    vote = prevotes(1, X, ONE)[0]
    assert vote.sign_bytes(b"g" * 32) == (
        b"\x96" + b"\xc4\x0dlyceum/vote/1" + b"\xc4\x20" + b"g" * 32 + b"\x07\x01\x01" + b"\xc4\x20" + X
    )
    assert proposal(2, X, 1).sign_bytes(b"g" * 32) == (
        b"\x96" + b"\xc4\x11lyceum/proposal/1" + b"\xc4\x20" + b"g" * 32 + b"\x07\x02" + b"\xc4\x20" + X + b"\x01"
    )


# ------------------------------------------------------------------------------------------------ validator sets


def test_root_is_the_hash_of_the_canonical_encoding() -> None:
    validators = ValidatorSet(members=((ONE, 1), (TWO, 300)))
    encoded = (
        b"\x92\xc4\x13lyceum/validators/1\x92"
        + (b"\x92\xc4\x14" + ONE + b"\xc4\x01\x01")
        + (b"\x92\xc4\x14" + TWO + b"\xc4\x02\x01\x2c")
    )
    assert validators.root() == hashlib.sha256(encoded).digest()


@settings(deadline=None, max_examples=60)
@given(sets, sets)
def test_different_sets_have_different_roots(a: ValidatorSet, b: ValidatorSet) -> None:
    assert (a.root() == b.root()) == (a == b)


@pytest.mark.parametrize(
    "members",
    [
        (),
        ((TWO, 1), (ONE, 1)),
        ((ONE, 1), (ONE, 1)),
        ((ONE, 0),),
        ((ONE, -1),),
        ((ONE, POWER_MAX + 1),),
        ((ONE[1:], 1),),
        tuple((Voter(n.to_bytes(20, "big")), 1) for n in range(VALIDATORS_MAX + 1)),
    ],
)
def test_set_that_is_none_is_refused(members: tuple[tuple[Voter, int], ...]) -> None:
    with pytest.raises(InvalidConsensus):
        ValidatorSet(members=members)


@pytest.mark.parametrize(
    ("power", "quorum", "third"),
    [(0, False, False), (3, False, False), (4, False, True), (6, False, True), (7, True, True), (9, True, True)],
)
def test_quorum_is_more_than_two_thirds_and_support_more_than_one(power: int, quorum: bool, third: bool) -> None:
    validators = ValidatorSet(members=((ONE, 4), (TWO, 3), (THREE, 2)))
    assert validators.total == 9
    assert (validators.is_quorum(power), validators.is_one_third(power)) == (quorum, third)
    assert (validators.power(TWO), validators.power(FOUR)) == (3, 0)


@pytest.mark.parametrize(
    "second",
    [
        prevotes(0, X, ONE)[0],
        prevotes(0, Y, TWO)[0],
        prevotes(1, Y, ONE)[0],
        precommits(0, Y, ONE)[0],
    ],
)
def test_evidence_that_proves_nothing_is_refused(second: Vote) -> None:
    with pytest.raises(InvalidConsensus, match="an equivocation is"):
        Equivocation(first=prevotes(0, X, ONE)[0], second=second)
