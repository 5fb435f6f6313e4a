"""Tests of a state in chunks: the chunks of any state prove it whole, and none with anything changed is believed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import merkle
from chain.codec import InvalidEncoding, pack
from chain.crypto import sha256
from chain.sync import snapshot
from chain.sync.snapshot import (
    BITS_MAX,
    Chunk,
    InvalidChunk,
    Place,
    decode_items,
    divide,
    encode_items,
    key_start,
    leaf_bytes,
    siblings_of,
    subtree_hash,
    verify_chunk,
)


def chunks_of(state: Mapping[bytes, bytes]) -> list[Chunk]:
    """The whole state, in memory."""
    leaves = sorted(state.items(), key=lambda item: merkle.tree_key(item[0]))
    places = divide(
        np.array([key_start(key) for key, _ in leaves], np.uint64),
        np.array([leaf_bytes(key, value) for key, value in leaves], np.int64),
    )
    items = [
        tuple((key, value) for key, value in leaves if place.start <= key_start(key) < place.end) for place in places
    ]
    hashes = [subtree_hash(place, own) for place, own in zip(places, items, strict=True)]
    beside = siblings_of(places, hashes)
    return [
        Chunk(place=place, items=own, siblings=hashes_)
        for place, own, hashes_ in zip(places, items, beside, strict=True)
    ]


STATE = {b"a%d" % number: sha256(b"%d" % number) * (1 + number % 3) for number in range(300)}
ROOT = merkle.state_root(STATE)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK_BYTES", 1000)


def test_chunks_cover_the_tree_without_overlap() -> None:
    chunks = chunks_of(STATE)
    assert len(chunks) > 20
    assert chunks[0].place.start == 0
    assert chunks[-1].place.end == 1 << BITS_MAX
    assert all(one.place.end == two.place.start for one, two in itertools.pairwise(chunks))
    assert dict(item for chunk in chunks for item in chunk.items) == STATE
    for chunk in chunks:
        assert len(chunk.items) < 2 or sum(leaf_bytes(*item) for item in chunk.items) <= 1000
        verify_chunk(ROOT, chunk)


@settings(deadline=None, max_examples=60)
@given(state=st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=200), max_size=60))
def test_every_chunk_of_any_state_is_proved(state: dict[bytes, bytes]) -> None:
    root = merkle.state_root(state)
    for chunk in chunks_of(state):
        verify_chunk(root, chunk)
        assert decode_items(encode_items(chunk.items)) == chunk.items


def test_an_empty_state_and_one_of_one_leaf_are_one_chunk() -> None:
    for state in ({}, {b"k": b"v" * 5000}):
        (chunk,) = chunks_of(state)
        assert chunk.siblings == ()
        verify_chunk(merkle.state_root(state), chunk)


def test_a_large_value_stands_alone() -> None:
    state = STATE | {b"large": b"v" * 5000}
    chunks = chunks_of(state)
    (own,) = [chunk for chunk in chunks if (b"large", state[b"large"]) in chunk.items]
    assert len(own.items) == 1
    verify_chunk(merkle.state_root(state), own)


def forged(chunk: Chunk) -> list[Chunk]:
    """The chunk with each of its parts changed."""
    key, value = chunk.items[0]
    rest = chunk.items[1:]
    flipped = bytes([value[0] ^ 1]) + value[1:]
    changed = [
        replace(chunk, items=rest),
        replace(chunk, items=chunk.items[:-1]),
        replace(chunk, items=()),
        replace(chunk, items=((key, flipped), *rest)),
        replace(chunk, items=((key, value + b"\0"), *rest)),
        replace(chunk, items=((key + b"\0", value), *rest)),
        replace(chunk, items=(*chunk.items, (b"more", b""))),
        replace(chunk, items=chunk.items[::-1]),
        replace(chunk, items=((key, value), *chunk.items)),
        replace(chunk, siblings=chunk.siblings[1:]),
        replace(chunk, siblings=(*chunk.siblings, bytes(32))),
        replace(chunk, place=replace(chunk.place, bits=chunk.place.bits + 1), siblings=(*chunk.siblings, bytes(32))),
        replace(chunk, place=replace(chunk.place, bits=chunk.place.bits - 1), siblings=chunk.siblings[:-1]),
        replace(chunk, place=replace(chunk.place, start=chunk.place.start ^ (1 << (BITS_MAX - 1)))),
        replace(chunk, place=replace(chunk.place, start=chunk.place.start + 1)),
        replace(chunk, place=Place(start=chunk.place.start, bits=BITS_MAX + 1)),
        replace(chunk, place=Place(start=1 << BITS_MAX, bits=chunk.place.bits)),
        replace(chunk, place=Place(start=-1, bits=chunk.place.bits)),
    ]
    for number, beside in enumerate(chunk.siblings):
        other = bytes([beside[0] ^ 1]) + beside[1:]
        changed.append(replace(chunk, siblings=(*chunk.siblings[:number], other, *chunk.siblings[number + 1 :])))
    return changed


def test_a_chunk_with_anything_changed_is_refused() -> None:
    for chunk in chunks_of(STATE)[::5]:
        if len(chunk.items) < 2:
            continue
        for wrong in forged(chunk):
            with pytest.raises(InvalidChunk):
                verify_chunk(ROOT, wrong)


def test_leaves_of_an_inner_node_do_not_pass_for_a_leaf() -> None:
    """A node above the chunks does not pass for a chunk without leaves, nor an empty chunk for one that has some."""
    chunk = chunks_of(STATE)[0]
    for bits in range(chunk.place.bits + 1):
        empty = Chunk(place=Place(start=0, bits=bits), items=(), siblings=chunk.siblings[:bits])
        with pytest.raises(InvalidChunk):
            verify_chunk(ROOT, empty)


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=200))
def test_decoding_any_bytes_raises_nothing_else(data: bytes) -> None:
    try:
        items = decode_items(data)
    except InvalidEncoding:
        return
    assert encode_items(items) == data


@pytest.mark.parametrize(
    "value", [[[b"", b"v"]], [[b"k" * 65, b"v"]], [[b"k", 1]], [[b"k"]], [1], 1, [[b"k", b"v", b"w"]], [["k", b"v"]]]
)
def test_what_is_no_list_of_leaves_is_refused(value: object) -> None:
    with pytest.raises(InvalidEncoding):
        decode_items(pack(value))
