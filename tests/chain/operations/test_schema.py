"""Encodings of state values: one value has one, and nothing else is read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.codec import InvalidEncoding, pack
from chain.operations import learning_layouts
from chain.operations.learning_layouts import ROUND, TASK, TASK_ENTRY
from chain.operations.learning_state import Head, Round, TaskState
from chain.operations.schema import AMOUNT, HASH, MAYBE_HASH, SIGNED, UINT, Layout, array, blob, pair

SAMPLE = TaskState(
    heads=(Head(root=b"h" * 32, round=0),), radius=5, radius_floor=1, evaluation_fee=2**100, custodians=(b"c" * 20,)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    count: int
    change: int
    amount: int
    root: bytes
    maybe: bytes
    note: bytes
    pairs: tuple[tuple[int, bytes], ...]


TOY = Layout(
    Toy,
    count=UINT, change=SIGNED, amount=AMOUNT, root=HASH, maybe=MAYBE_HASH, note=blob(5), pairs=array(pair(UINT, HASH), 2),
)  # fmt: skip
ROOTS = st.binary(min_size=32, max_size=32)


@given(
    toy=st.builds(
        Toy,
        count=st.integers(0, 2**64 - 1),
        change=st.integers(-(2**63), 2**63 - 1),
        amount=st.integers(0, 2**256 - 1),
        root=ROOTS,
        maybe=st.just(b"") | ROOTS,
        note=st.binary(max_size=5),
        pairs=st.lists(st.tuples(st.integers(0, 9), ROOTS), max_size=2).map(tuple),
    )
)
@settings(deadline=None, max_examples=100)
def test_a_value_reads_as_what_was_written(toy: Toy):
    encoded = TOY.encode(toy)
    assert TOY.decode(encoded) == toy
    assert TOY.encode(TOY.decode(encoded)) == encoded


GOOD: list[Any] = [1, -1, b"\1", b"r" * 32, b"", b"note", ((1, b"x" * 32),)]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, -1), (0, True), (0, b"\1"), (0, 1.0), (0, None),
        (1, 2**63), (1, False),
        (2, 1), (2, b"\0"), (2, b"\1" * 33),
        (3, b"r" * 31), (3, "r" * 32),
        (4, b"r"), (4, 0),
        (5, b"longer"), (5, "note"),
        (6, ((1, b"x" * 32),) * 3), (6, ((1,),)), (6, ((1, b"x" * 32, 1),)), (6, 5), (6, ((b"", b"x" * 32),)),
    ],
)  # fmt: skip
def test_fields_of_other_kinds_or_out_of_bounds_are_refused(place: int, value: Any):
    assert TOY.decode(pack(tuple(GOOD))) == Toy(
        **dict(zip((f.name for f in fields(Toy)), [1, -1, 1, *GOOD[3:]], strict=True))
    )
    items = list(GOOD)
    items[place] = value
    with pytest.raises(InvalidEncoding):
        TOY.decode(pack(tuple(items)))


@pytest.mark.parametrize("data", [b"", pack(5), pack(()), pack(tuple(GOOD[:-1])), pack((*GOOD, 1))])
def test_other_shapes_are_refused(data: bytes):
    with pytest.raises(InvalidEncoding):
        TOY.decode(data)


def test_an_integer_that_is_longer_than_it_must_be_is_refused():
    encoded = TASK.encode(SAMPLE)
    place = encoded.index(b"h" * 32) + 32
    assert encoded[place] == 0
    with pytest.raises(InvalidEncoding, match="not the canonical encoding"):
        TASK.decode(encoded[:place] + b"\xcc\0" + encoded[place + 1 :])


def test_a_status_that_does_not_exist_is_refused():
    values = list(pack_of(Round()))
    values[0] = 99
    with pytest.raises(InvalidEncoding, match="status has no value 99"):
        ROUND.decode(pack(tuple(values)))


def pack_of(round_: Round) -> tuple[Any, ...]:
    return tuple(ROUND.kind.write(round_))


def test_every_layout_names_the_fields_of_its_dataclass_in_order():
    layouts = [value for value in vars(learning_layouts).values() if isinstance(value, Layout)]
    assert len(layouts) == 17
    assert TASK.decode(TASK.encode(SAMPLE)) == SAMPLE
    with pytest.raises(InvalidEncoding):
        TASK_ENTRY.decode(TASK.encode(SAMPLE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    notes: tuple[bytes, ...]


def test_a_value_of_a_single_field_reads_as_what_was_written():
    layout = Layout(Single, notes=array(blob(5), 3))
    for notes in ((), (b"one",), (b"one", b"two")):
        assert layout.decode(layout.encode(Single(notes=notes))) == Single(notes=notes)
