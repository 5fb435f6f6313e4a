"""Home of the tests of frames in pieces."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.network.frames import PIECE_BYTES_MAX, FrameReader, FrameWriter
from chain.network.messages import InvalidFrame, Kind, frame_bytes_max

KINDS = [int(kind) for kind in Kind]


def frame(kind: int, size: int) -> bytes:
    return bytes([kind]) + random.Random(size).randbytes(size - 1)


frames_of_all_kinds = st.lists(
    st.builds(
        lambda kind, size: frame(kind, min(size, frame_bytes_max(kind))),
        st.sampled_from(KINDS),
        st.one_of(st.integers(1, 40), st.integers(1, 200_000)),
    ),
    max_size=12,
)


def pieces_of(writer: FrameWriter) -> list[bytes]:
    pieces = []
    while piece := writer.next_piece():
        pieces.append(piece)
    return pieces


def by_lane(frames: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    return [f for f in frames if f[0] in range(30, 40)], [f for f in frames if f[0] not in range(30, 40)]


@settings(max_examples=80)
@given(frames=frames_of_all_kinds)
def test_frames_arrive_as_they_were_sent_in_the_order_of_their_lane(frames: list[bytes]) -> None:
    writer, reader = FrameWriter(), FrameReader()
    for item in frames:
        writer.add(item)
    pieces = pieces_of(writer)
    assert all(len(piece) <= PIECE_BYTES_MAX for piece in pieces)
    assert writer.bytes_waiting == 0
    came = [item for piece in pieces for item in reader.feed(piece)]
    assert by_lane(came) == by_lane(frames)


@settings(max_examples=80)
@given(frames=frames_of_all_kinds, seed=st.integers(0, 2**32))
def test_pieces_may_be_cut_anywhere(frames: list[bytes], seed: int) -> None:
    writer, reader, generator = FrameWriter(), FrameReader(), random.Random(seed)
    for item in frames:
        writer.add(item)
    came = []
    for piece in pieces_of(writer):
        lane, rest = piece[:1], piece[1:]
        while rest:
            size = generator.choice((1, 2, 3, 4, 5, 6, generator.randrange(1, 1 << 16)))
            came += reader.feed(lane + rest[:size])
            rest = rest[size:]
    assert by_lane(came) == by_lane(frames)


def test_consensus_does_not_wait_for_the_rest_of_a_long_frame() -> None:
    writer, reader = FrameWriter(), FrameReader()
    long, vote = frame(Kind.BLOCKS, 1_000_000), frame(Kind.VOTES, 100)
    writer.add(long)
    assert reader.feed(writer.next_piece()) == []
    writer.add(vote)
    assert reader.feed(writer.next_piece()) == [vote]
    assert [item for piece in pieces_of(writer) for item in reader.feed(piece)] == [long]


def test_small_frames_that_wait_together_are_one_piece() -> None:
    writer = FrameWriter()
    frames = [frame(Kind.TRANSACTION_HASHES, 36)] * 100
    for item in frames:
        writer.add(item)
    (piece,) = pieces_of(writer)
    assert FrameReader().feed(piece) == frames


def test_no_piece_is_made_of_nothing() -> None:
    assert FrameWriter().next_piece() == b""
    assert FrameReader().feed(b"") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_refused_by_its_length_before_it_comes(kind: int) -> None:
    most = frame_bytes_max(kind)
    start = most.to_bytes(4, "big") + bytes([kind])
    assert FrameReader().feed(b"\0" + start) == []
    with pytest.raises(InvalidFrame):
        FrameReader().feed(b"\0" + (most + 1).to_bytes(4, "big") + bytes([kind]))


@pytest.mark.parametrize("piece", [b"\0\0\0\0\0\x0a", b"\0\0\0\0\1\xff", b"\0\xff\xff\xff\xff\x0a", b"\2", b"\2abc"])
def test_what_no_honest_node_sends_is_refused(piece: bytes) -> None:
    with pytest.raises(InvalidFrame):
        FrameReader().feed(piece)


def test_a_reader_holds_no_more_than_the_frame_under_way() -> None:
    reader = FrameReader()
    most = frame_bytes_max(Kind.BLOCKS)
    reader.feed(b"\1" + most.to_bytes(4, "big") + bytes([Kind.BLOCKS]))
    for _ in range((most - 1) // 1000):
        assert reader.feed(b"\1" + b"x" * 1000) == []
    assert sum(len(lane._held) for lane in reader._lanes) <= most + 4
    (came,) = reader.feed(b"\1" + b"x" * ((most - 1) % 1000))
    assert len(came) == most
    assert sum(len(lane._held) for lane in reader._lanes) == 0
