"""A torn tail is cut at any byte, damage is not mistaken for it, and a restart recalls everything that was signed."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import votelog
from consensus.codec import InvalidEncoding
from consensus.events import Memory, Step
from consensus.types import Height, Round, Vote, VoteKind
from consensus.votelog import (
    FRAME_BYTES,
    HEADER_BYTES,
    ClosedRecord,
    InvalidVoteLog,
    KeptRecord,
    ProposalRecord,
    Record,
    Recovered,
    VoteRecord,
    decode_record,
    encode_record,
    ends_in_silence,
    frame,
    header,
    recover,
    scan,
)
from tests.consensus.scene import FOUR, HEIGHT, ONE, THREE, TWO, X, Y, precommits, prevotes, proposal

SALT = bytes(range(16))
RECORDS = [b"first", b"", b"third" * 10]
WHOLE = header(SALT) + b"".join(frame(SALT, record) for record in RECORDS)


# ------------------------------------------------------------------------------------------------------ the file


def test_scan_reads_what_was_framed() -> None:
    assert scan(WHOLE) == votelog.Scan(salt=SALT, records=tuple(RECORDS), length=len(WHOLE))


def test_log_cut_at_any_byte_keeps_every_whole_record() -> None:
    ends = [HEADER_BYTES]
    for record in RECORDS:
        ends.append(ends[-1] + FRAME_BYTES + len(record))
    for length in range(HEADER_BYTES, len(WHOLE) + 1):
        found = scan(WHOLE[:length])
        whole = sum(end <= length for end in ends) - 1
        assert (list(found.records), found.length) == (RECORDS[:whole], ends[whole])


@settings(deadline=None, max_examples=200)
@given(st.integers(0, FRAME_BYTES + 49), st.binary(max_size=80) | st.integers(0, 80).map(bytes))
def test_torn_frame_with_rubbish_behind_it_is_cut(length: int, rubbish: bytes) -> None:
    last = frame(SALT, RECORDS[2])
    whole = WHOLE[: -len(last)]
    torn = last[:length] + rubbish
    if torn == last:
        return
    found = scan(whole + torn)
    assert (list(found.records), found.length) == (RECORDS[:2], len(whole))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_flipped_bit_is_damage_unless_the_last_record_has_it(bit: int) -> None:
    bent = bytearray(WHOLE)
    bent[bit // 8] ^= 1 << bit % 8
    last = len(WHOLE) - len(frame(SALT, RECORDS[2]))
    if bit // 8 >= last:  # it cannot be told from a torn write
        assert scan(bytes(bent)).length == last
    elif HEADER_BYTES > bit // 8 >= len(votelog.HEADER_MAGIC):  # without the salt, no frame can be recognised
        assert scan(bytes(bent)).records == ()
    else:
        with pytest.raises(InvalidVoteLog):
            scan(bytes(bent))


@pytest.mark.parametrize("data", [b"", b"lyceumvl", b"something else that is long enough"])
def test_file_that_is_no_log_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidVoteLog, match="no vote log"):
        scan(data)


def test_frame_planted_in_a_block_is_no_record() -> None:
    planted = frame(b"another salt 16b", b"planted by a sender of transactions")
    torn = frame(SALT, b"a block with " + planted + b" in it")[:-1]
    assert scan(WHOLE + torn).records == tuple(RECORDS)


# --------------------------------------------------------------------------------------------------- the records


SAMPLES: list[Record] = [
    VoteRecord(vote=prevotes(2, None, ONE)[0]),
    ProposalRecord(proposal=proposal(1, X, 0), block=b"block"),
    KeptRecord(proposal=proposal(0, X), polka=tuple(prevotes(0, X, ONE, TWO, THREE)), block=b""),
    ClosedRecord(height=Height(9)),
]


@pytest.mark.parametrize("record", SAMPLES)
def test_record_decodes_to_itself(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x90",
        b"\x92\x05\x01",
        b"\x92\x04\xff",
        b"\x92\x01\x90",
        b"\x93\x02\x90\xc0",
        b"\x92\x04\xc3",  # true for a height
        b"\x92\xc3" + encode_record(SAMPLES[0])[2:],  # true for the kind 1, and 1.0
        b"\x92\xcb\x3f\xf0" + bytes(6) + encode_record(SAMPLES[0])[2:],
    ],
)
def test_other_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        decode_record(data)


# ------------------------------------------------------------------------------------------------------ recovery


def log(*records: Record | Vote) -> tuple[bytes, ...]:
    wrapped = [VoteRecord(vote=given) if isinstance(given, Vote) else given for given in records]
    return tuple(encode_record(record) for record in wrapped)


def own(kind: VoteKind, round_: int, block_id: bytes | None, height: int = HEIGHT) -> Vote:
    many = prevotes if kind == VoteKind.PREVOTE else precommits
    return replace(many(round_, block_id, FOUR)[0], height=Height(height))


PREVOTE_X0, PRECOMMIT_X0 = own(VoteKind.PREVOTE, 0, X), own(VoteKind.PRECOMMIT, 0, X)
KEPT_X0 = KeptRecord(proposal=proposal(0, X), polka=tuple(prevotes(0, X, ONE, TWO, FOUR)), block=b"block x")
KEPT_Y2 = KeptRecord(proposal=proposal(2, Y), polka=tuple(prevotes(2, Y, ONE, TWO, THREE)), block=b"block y")


def test_empty_log_recalls_nothing() -> None:
    assert recover(()) == Recovered()


def test_vote_is_recalled_with_its_round_and_step() -> None:
    found = recover(log(own(VoteKind.PREVOTE, 0, None), own(VoteKind.PRECOMMIT, 0, None), own(VoteKind.PREVOTE, 3, X)))
    assert found.height == HEIGHT
    assert found.memory is not None
    assert (found.memory.round, found.memory.step) == (3, Step.PREVOTE)
    assert [vote.round for vote in found.votes] == [0, 0, 3]
    assert found.memory.locked_id is None


def test_precommit_for_a_block_is_recalled_as_the_lock() -> None:
    records = log(PREVOTE_X0, KEPT_X0, PRECOMMIT_X0, own(VoteKind.PREVOTE, 1, None), own(VoteKind.PRECOMMIT, 1, None))
    found = recover(records)
    assert found.memory == Memory(
        round=Round(1),
        step=Step.PRECOMMIT,
        locked_round=0,
        locked_id=X,
        valid_round=0,
        valid_id=X,
        votes=(*found.votes, *KEPT_X0.polka),
        proposals=(proposal(0, X),),
    )
    assert found.blocks == {X: b"block x"}
    assert found.bytes_used == sum(FRAME_BYTES + len(record) for record in records)


def test_later_polka_is_recalled_as_the_valid_value_beside_the_lock() -> None:
    found = recover(log(PREVOTE_X0, KEPT_X0, PRECOMMIT_X0, own(VoteKind.PREVOTE, 2, None), KEPT_Y2)).memory
    assert found is not None
    assert (found.locked_round, found.locked_id, found.valid_round, found.valid_id) == (0, X, 2, Y)
    assert (found.round, found.step) == (2, Step.PREVOTE)


def test_own_proposal_without_a_vote_is_recalled_in_step_propose() -> None:
    made = ProposalRecord(proposal=proposal(0, X), block=b"block x")
    found = recover(log(made))
    assert found.memory == Memory(round=Round(0), step=Step.PROPOSE, proposals=(proposal(0, X),))
    assert found.proposals == (proposal(0, X),)
    assert found.blocks == {X: b"block x"}


def test_block_is_logged_once_for_proposal_and_polka() -> None:
    made = ProposalRecord(proposal=proposal(0, X), block=b"block x")
    found = recover(log(made, PREVOTE_X0, replace(KEPT_X0, block=b"")))
    assert found.blocks == {X: b"block x"}
    assert found.memory is not None
    assert found.memory.proposals == (proposal(0, X),)


def test_earlier_heights_are_past() -> None:
    found = recover(log(PREVOTE_X0, KEPT_X0, PRECOMMIT_X0, own(VoteKind.PREVOTE, 0, None, HEIGHT + 1)))
    assert (found.height, [vote.height for vote in found.votes]) == (HEIGHT + 1, [HEIGHT + 1])
    assert found.memory is not None
    assert found.memory.locked_id is None


def test_closed_height_is_past_with_its_votes() -> None:
    found = recover(log(PREVOTE_X0, ClosedRecord(height=HEIGHT)))
    assert (found.closed, found.height, found.memory, found.votes) == (HEIGHT, HEIGHT + 1, None, ())


@pytest.mark.parametrize(
    "records",
    [
        log(own(VoteKind.PREVOTE, 0, X), own(VoteKind.PREVOTE, 0, Y)),
        log(
            ProposalRecord(proposal=proposal(0, X), block=b"x"),
            ProposalRecord(proposal=proposal(0, Y), block=b"y"),
        ),
        log(PRECOMMIT_X0),
        log(KEPT_Y2, PRECOMMIT_X0),
        log(replace(KEPT_X0, block=b""), PRECOMMIT_X0),
    ],
    ids=["two votes", "two proposals", "a lock without its polka", "with another polka", "a polka without its block"],
)
def test_contradictory_log_is_refused(records: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidVoteLog):
        recover(records)


def test_silence_ends_with_a_vote_and_a_log_that_was_replaced_is_none() -> None:
    closed, next_closed = ClosedRecord(height=HEIGHT), ClosedRecord(height=Height(HEIGHT + 1))
    assert ends_in_silence(log(next_closed, closed))
    assert ends_in_silence(log(PREVOTE_X0, closed, next_closed))
    assert not ends_in_silence(log(next_closed, closed, own(VoteKind.PREVOTE, 0, None, HEIGHT + 2)))
    assert not ends_in_silence(log(PREVOTE_X0, closed))
    assert not ends_in_silence(log(closed))
    assert not ends_in_silence(())
