"""RLP: canonical encodings decode, nothing else does, and both as the `rlp` library has it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import rlp as library
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import rlp
from tests.chain.vectors import external, kept

BYTES = st.one_of(
    st.binary(max_size=3),
    st.integers(50, 60).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    st.sampled_from([b"x" * 255, b"y" * 256, b"\0" * 300]),
)
ITEMS = st.recursive(BYTES, lambda inner: st.lists(inner, max_size=6), max_leaves=30)


def plain(item: Any) -> Any:
    return list(map(plain, item)) if isinstance(item, (list, tuple)) else bytes(item)


def value_of(described: Any) -> Any:
    """A vector's value: "#12" and 12 are integers, text stands for its bytes."""
    if isinstance(described, list):
        return [value_of(item) for item in described]
    if isinstance(described, str) and not described.startswith("#"):
        return described.encode()
    number = int(described[1:]) if isinstance(described, str) else described
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def check(name: str, vector: dict[str, Any]) -> None:
    encoded = bytes.fromhex(vector["out"].removeprefix("0x"))
    if vector["in"] == "INVALID":
        with pytest.raises(rlp.InvalidRlp):
            rlp.decode(encoded)
    elif vector["in"] == "VALID":
        assert rlp.encode(rlp.decode(encoded)) == encoded, name
    else:
        assert rlp.decode(encoded) == value_of(vector["in"]), name
        assert rlp.encode(value_of(vector["in"])) == encoded, name


def test_kept_vectors_of_ethereum_hold() -> None:
    vectors = kept("ethereum-tests/rlp.json")
    assert len(vectors) == 55
    for name, vector in vectors.items():
        check(name, vector)


def test_external_vectors_of_ethereum_hold() -> None:
    for path, vectors in external("ethereum-tests/RLPTests/**/*.json"):
        for name, vector in vectors.items():
            check(f"{path} {name}", vector)


def test_external_vectors_of_a_wallet_hold() -> None:
    def unhex(value: Any) -> Any:
        return [unhex(item) for item in value] if isinstance(value, list) else bytes.fromhex(value[2:])

    for _, vectors in external("ethers/rlp.json.gz"):
        for vector in vectors:
            assert rlp.encode(unhex(vector["decoded"])) == unhex(vector["encoded"]), vector["name"]
            assert rlp.decode(unhex(vector["encoded"])) == unhex(vector["decoded"]), vector["name"]


@given(item=ITEMS)
@settings(deadline=None, max_examples=200)
def test_encoding_is_the_librarys_and_decodes_to_the_same(item: Any) -> None:
    encoded = rlp.encode(item)
    assert encoded == library.encode(item)
    assert rlp.decode(encoded) == item
    assert rlp.decode(b"\x02" + encoded, 1) == item


@given(item=ITEMS, data=st.data())
@settings(deadline=None, max_examples=400)
def test_damaged_encodings_are_refused_exactly_where_the_library_refuses(item: Any, data: Any) -> None:
    damaged = bytearray(rlp.encode(item))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        choice = data.draw(st.integers(0, 3))
        if choice == 0:
            damaged[at] = data.draw(st.integers(0, 255))
        elif choice == 1:
            damaged.insert(at, data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0x81, 0xB8, 0xC0, 0xC1, 0xF8, 0xFF])))
        elif choice == 2 and len(damaged) > 1:
            del damaged[at]
        else:
            del damaged[at + 1 :]
    agree(bytes(damaged))


@given(encoded=st.binary(max_size=12))
@settings(deadline=None, max_examples=400)
def test_random_bytes_are_refused_exactly_where_the_library_refuses(encoded: bytes) -> None:
    agree(encoded)


def agree(encoded: bytes) -> None:
    try:
        expected = plain(library.decode(encoded, strict=True))
    except library.exceptions.RLPException:
        with pytest.raises(rlp.InvalidRlp):
            rlp.decode(encoded)
    else:
        assert rlp.decode(encoded) == expected
        assert rlp.encode(rlp.decode(encoded)) == encoded


def test_every_encoding_of_up_to_two_bytes_agrees_with_the_library() -> None:
    for first in range(256):
        agree(bytes((first,)))
        for second in range(0, 256, 3):
            agree(bytes((first, second)))


def test_nesting_is_bounded() -> None:
    def nested(depth: int) -> bytes:
        item: Any = []
        for _ in range(depth - 1):
            item = [item]
        return rlp.encode(item)

    assert rlp.decode(nested(rlp.DEPTH_MAX)) is not None
    with pytest.raises(rlp.InvalidRlp, match="nested too deep"):
        rlp.decode(nested(rlp.DEPTH_MAX + 1))


def test_a_claimed_length_costs_nothing() -> None:
    started = time.process_time()
    for size in range(1, 9):
        for offset in (0xB7, 0xF7):
            with pytest.raises(rlp.InvalidRlp):
                rlp.decode(bytes((offset + size,)) + b"\xff" * size + b"\0" * 10)
    assert time.process_time() - started < 0.5


@given(value=st.integers(0, 2**256 - 1))
@settings(deadline=None, max_examples=100)
def test_integers_are_minimal_big_endian(value: int) -> None:
    encoded = rlp.encode_integer(value)
    assert encoded == library.encode(value)
    item = rlp.decode(encoded)
    assert rlp.decode_integer(item, 32, "value") == value
    with pytest.raises(rlp.InvalidRlp, match="value has leading zeros"):
        rlp.decode_integer(b"\0" + bytes(item), 40, "value")


def test_integers_are_bounded() -> None:
    with pytest.raises(rlp.InvalidRlp, match="nonce has 9 bytes, at most 8 are allowed"):
        rlp.decode_integer(b"\x01" * 9, 8, "nonce")
    with pytest.raises(rlp.InvalidRlp, match="nonce must be an integer, not a list"):
        rlp.decode_integer([], 8, "nonce")
