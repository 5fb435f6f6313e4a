"""A record has one encoding; anything else is refused."""

from __future__ import annotations

import dataclasses

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.record import (
    CUSTODIANS_MAX,
    RECORD_BYTES_MAX,
    UPDATES_MAX,
    CustodianFate,
    CustodianOutcome,
    InvalidRecord,
    Record,
    UpdateFate,
    UpdateOutcome,
)

hashes = st.binary(min_size=32, max_size=32)
amounts = st.integers(0, 2**256 - 1) | st.integers(0, 300)
counts = st.integers(0, 2**64 - 1) | st.integers(0, 300)
signed = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)
u32s = st.integers(0, 2**32 - 1) | st.integers(0, 300)

updates = st.builds(
    UpdateOutcome,
    id=hashes,
    fate=st.sampled_from(UpdateFate),
    contribution=signed,
    reward=amounts,
    charge=amounts,
    cut=amounts,
    streak=u32s,
)
custodians = st.builds(
    CustodianOutcome,
    custodian=st.binary(min_size=20, max_size=20),
    fate=st.sampled_from(CustodianFate),
    reward=amounts,
)
records = st.builds(
    lambda flags, **fields: Record(void=flags == 1, accepted=flags == 2, **fields),
    flags=st.integers(0, 2),
    task=hashes,
    round=u32s,
    parent=hashes,
    head=hashes,
    samples=u32s,
    loss_before=counts,
    loss_momentum=counts,
    loss_after=counts,
    correct_before=counts,
    correct_after=counts,
    momentum=st.integers(0, 6),
    value=signed,
    radius=counts,
    updates=st.lists(updates, max_size=4).map(tuple),
    custodians=st.lists(custodians, max_size=3, unique_by=lambda line: line.custodian).map(
        lambda lines: tuple(sorted(lines, key=lambda line: line.custodian))
    ),
)


@settings(deadline=None, max_examples=150)
@given(record=records)
def test_a_record_survives_its_encoding(record):
    assert Record.decode(record.encode()) == record


@settings(deadline=None, max_examples=400)
@given(record=records, data=st.data())
def test_a_changed_encoding_is_refused_or_is_another_record(record, data):
    encoded = bytearray(record.encode())
    for place in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=2)):
        encoded[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded))) if data.draw(st.booleans()) else len(encoded)
    changed = bytes(encoded[:cut])
    try:
        decoded = Record.decode(changed)
    except InvalidRecord:
        return
    assert decoded.encode() == changed
    assert (decoded == record) == (changed == record.encode())


def sample(updates: int = 1, custodians: int = 1) -> Record:
    return Record(
        task=bytes(range(32)),
        round=7,
        parent=bytes([1]) * 32,
        head=bytes([2]) * 32,
        void=False,
        accepted=True,
        samples=96,
        loss_before=2_000_000,
        loss_momentum=1_999_999,
        loss_after=1_900_000,
        correct_before=40,
        correct_after=44,
        momentum=2,
        value=-5,
        radius=2**40,
        updates=tuple(
            UpdateOutcome(
                id=i.to_bytes(32, "big"),
                fate=UpdateFate.ACCEPTED,
                contribution=-(2**40),
                reward=2**256 - 1,
                charge=2**256 - 1,
                cut=2**256 - 1,
                streak=2**32 - 1,
            )
            for i in range(updates)
        ),
        custodians=tuple(
            CustodianOutcome(custodian=i.to_bytes(20, "big"), fate=CustodianFate.USED, reward=2**256 - 1)
            for i in range(custodians)
        ),
    )


def test_the_largest_record_fits_its_bound():
    record = sample(UPDATES_MAX, CUSTODIANS_MAX)
    assert len(record.encode()) <= RECORD_BYTES_MAX
    assert Record.decode(record.encode()) == record


@pytest.mark.parametrize("record", [sample(UPDATES_MAX + 1, 0), sample(0, CUSTODIANS_MAX + 1)])
def test_more_lines_than_a_round_can_have_are_refused(record):
    with pytest.raises(InvalidRecord):
        Record.decode(record.encode())


def test_a_longer_record_is_refused_unread():
    with pytest.raises(InvalidRecord, match="bytes are more than"):
        Record.decode(bytes(RECORD_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 0),
        (0, 2),
        (1, bytes(31)),
        (2, 2**32),
        (2, -1),
        (2, b"\x07"),
        (5, 3),
        (6, True),
        (7, -1),
        (12, 13),
        (13, 1.0),
        (14, None),
        (15, 1),
        (15, [[]]),
        (16, "abc"),
    ],
)
def test_every_field_is_checked(place, value):
    fields = msgpack.unpackb(sample().encode())
    fields[place] = value
    with pytest.raises(InvalidRecord):
        Record.decode(msgpack.packb(fields))


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        (15, 0, bytes(33)),
        (15, 1, 0),
        (15, 1, 7),
        (15, 2, b""),
        (15, 3, b"\x00"),
        (15, 3, b"\x00\x01"),
        (15, 4, bytes([1]) * 33),
        (15, 5, 0),
        (15, 6, 2**32),
        (16, 0, bytes(21)),
        (16, 1, 4),
        (16, 2, -1),
    ],
)
def test_every_field_of_a_line_is_checked(line, place, value):
    fields = msgpack.unpackb(sample().encode())
    fields[line][0][place] = value
    with pytest.raises(InvalidRecord):
        Record.decode(msgpack.packb(fields))


def test_missing_and_additional_fields_are_refused():
    fields = msgpack.unpackb(sample().encode())
    for changed in (fields[:-1], [*fields, 0], fields[15], []):
        with pytest.raises(InvalidRecord):
            Record.decode(msgpack.packb(changed))


def test_custodians_stand_in_ascending_order_and_once():
    record = sample(0, 3)
    for lines in (record.custodians[::-1], record.custodians[:1] * 2):
        with pytest.raises(InvalidRecord, match="custodian"):
            Record.decode(dataclasses.replace(record, custodians=lines).encode())
