"""What the Merkle rules promise: roots as the protocol defines them, proofs that show what is there and nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import merkle
from chain.merkle import EMPTY_ROOT, InvalidProof, ItemProof, OtherLeaf, Proof


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def keys_with_prefix(bits: str, count: int) -> list[bytes]:
    """The first flat keys whose tree keys begin with these bits."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        key = b"%d" % number
        if format(int.from_bytes(sha256(key), "big"), "0256b").startswith(bits):
            found.append(key)
        number += 1
    return found


keys = st.integers(0, 40).map(lambda number: b"k%d" % number)
values = st.binary(max_size=80)
states = st.dictionaries(keys, values, max_size=25)


# --------------------------------------------------------------------------------------------------------- the state map


def test_the_root_of_no_state_is_zero() -> None:
    assert merkle.state_root({}) == bytes(32)


def test_the_root_of_one_key_is_its_leaf() -> None:
    assert merkle.state_root({b"a": b"1"}) == sha256(b"\x00" + sha256(b"a") + sha256(b"1"))


def test_two_keys_meet_at_the_first_bit_in_which_they_differ() -> None:
    left, right = keys_with_prefix("0010", 1)[0], keys_with_prefix("0011", 1)[0]
    leaves = [sha256(b"\x00" + sha256(key) + sha256(b"v" + key)) for key in (left, right)]
    at_three = sha256(leaves[0] + leaves[1])
    at_two = sha256(bytes(32) + at_three)  # 001...
    at_one = sha256(at_two + bytes(32))  # 00...
    root = sha256(at_one + bytes(32))  # 0...
    assert merkle.state_root({right: b"v" + right, left: b"v" + left}) == root


@settings(deadline=None, max_examples=60)
@given(state=states, key=keys, value=values)
def test_a_proof_shows_a_keys_value_or_absence_and_nothing_else(
    state: dict[bytes, bytes], key: bytes, value: bytes
) -> None:
    root, proof = merkle.state_root(state), merkle.prove(state, key)
    assert merkle.verify(root, key, state.get(key), proof)
    assert merkle.verify(root, key, value, proof) == (state.get(key) == value)
    assert merkle.verify(root, key, None, proof) == (key not in state)
    assert merkle.decode_proof(merkle.encode_proof(proof)) == proof
    other = dict(state) | {b"another": value}
    assert not merkle.verify(merkle.state_root(other), key, state.get(key), proof)


@settings(deadline=None, max_examples=40)
@given(state=states.filter(bool), data=st.data())
def test_no_changed_proof_and_no_other_keys_proof_shows_absence_of_a_key_that_is_there(
    state: dict[bytes, bytes], data: st.DataObject
) -> None:
    root, key = merkle.state_root(state), data.draw(st.sampled_from(sorted(state)))
    own = merkle.prove(state, key)
    leaves = [OtherLeaf(tree_key=sha256(name), value_hash=sha256(value)) for name, value in state.items()]
    for other in [None, *leaves]:
        for depth in range(len(own.siblings) + 1):
            assert not merkle.verify(root, key, None, Proof(siblings=own.siblings[:depth], other=other))
    for name in state:
        proof = merkle.prove(state, name)
        for other in [None, *leaves]:
            assert not merkle.verify(root, key, None, replace(proof, other=other))


@settings(deadline=None, max_examples=40)
@given(state=states, key=keys, place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_spoils_an_encoded_proof(state: dict[bytes, bytes], key: bytes, place: int, bit: int) -> None:
    root = merkle.state_root(state)
    encoded = bytearray(merkle.encode_proof(merkle.prove(state, key)))
    encoded[place % len(encoded)] ^= 1 << bit
    try:
        proof = merkle.decode_proof(bytes(encoded))
    except InvalidProof:
        return
    assert not merkle.verify(root, key, state.get(key), proof)


def test_a_proof_deeper_than_a_tree_is_refused() -> None:
    deep = Proof(siblings=(bytes(32),) * 257)
    assert not merkle.verify(EMPTY_ROOT, b"k", None, deep)
    with pytest.raises(InvalidProof):
        merkle.decode_proof(merkle.encode_proof(deep))


def test_the_largest_proof_there_is_fits_the_bound() -> None:
    deep = Proof(siblings=(bytes(32),) * 256, other=OtherLeaf(tree_key=bytes(32), value_hash=bytes(32)))
    assert merkle.decode_proof(merkle.encode_proof(deep)) == deep


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x90",
        b"\x92\x90",  # cut short
        b"\x92\x90\xc0\x00",  # something after it
        b"\xdc\x00\x02\x90\xc0",  # a longer encoding of the same array
        b"\x92\x91\xc4\x1f" + bytes(31) + b"\xc0",  # a sibling of 31 bytes
        b"\x92\x91\xd9\x20" + bytes(32) + b"\xc0",  # a sibling that is text
        b"\x92\x90\x91\xc4\x20" + bytes(32),  # half a leaf
        b"\x92\xc0\xc0",
        b"\x92\x90\x00",
        bytes(100_000),
    ],
)
def test_bytes_that_encode_no_proof_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidProof):
        merkle.decode_proof(data)
    with pytest.raises(InvalidProof):
        merkle.decode_item_proof(data)


# ----------------------------------------------------------------------------------------------------------------- lists

lists = st.lists(st.binary(max_size=40), max_size=40)


def test_the_root_of_a_list_is_as_defined() -> None:
    a, b, c = (sha256(b"\x00" + item) for item in (b"a", b"b", b"c"))
    top = sha256(b"\x01" + sha256(b"\x01" + a + b) + c)
    assert merkle.list_root([b"a", b"b", b"c"]) == sha256(b"\x02" + (3).to_bytes(8, "big") + top)
    assert merkle.list_root([b"a"]) == sha256(b"\x02" + (1).to_bytes(8, "big") + a)
    assert merkle.list_root([]) == sha256(b"\x02" + bytes(8) + bytes(32))


@settings(deadline=None, max_examples=60)
@given(first=lists, second=lists)
def test_different_lists_have_different_roots(first: list[bytes], second: list[bytes]) -> None:
    assert (merkle.list_root(first) == merkle.list_root(second)) == (first == second)
    assert merkle.list_root([*first, b"x"]) != merkle.list_root(first)
    if len(set(first)) > 1:
        assert merkle.list_root(sorted(first)) != merkle.list_root(sorted(first, reverse=True))


@settings(deadline=None, max_examples=60)
@given(items=lists.filter(bool), data=st.data())
def test_an_items_proof_shows_that_item_at_that_place_only(items: list[bytes], data: st.DataObject) -> None:
    root, index = merkle.list_root(items), data.draw(st.integers(0, len(items) - 1))
    proof = merkle.prove_item(items, index)
    assert merkle.decode_item_proof(merkle.encode_item_proof(proof)) == proof
    for item in items:
        assert merkle.verify_item(root, item, proof) == (item == items[index])
    for place in range(len(items)):
        same = (merkle.prove_item(items, place).siblings, items[place]) == (proof.siblings, items[index])
        assert merkle.verify_item(root, items[index], replace(proof, index=place)) == same
    for changed in (
        replace(proof, count=len(items) + 1),
        replace(proof, index=len(items)),
        replace(proof, siblings=(*proof.siblings, bytes(32))),
        replace(proof, siblings=proof.siblings[1:]) if proof.siblings else replace(proof, count=0),
    ):
        assert not merkle.verify_item(root, items[index], changed)


def test_an_inner_node_of_a_list_does_not_pass_for_an_item() -> None:
    items = [b"a", b"b", b"c", b"d"]
    left = b"".join(sha256(b"\x00" + item) for item in items[:2])
    right = sha256(b"\x01" + b"".join(sha256(b"\x00" + item) for item in items[2:]))
    assert not merkle.verify_item(merkle.list_root(items), left, ItemProof(index=0, count=2, siblings=(right,)))
