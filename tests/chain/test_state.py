"""Tests of the working state: reads see writes, children are merged or forgotten, and changes are what differs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chain.state import KIND_ACCOUNT, KIND_GLOBAL, WorkingState, encode_account

A, B = b"a" * 20, b"b" * 20
KEY, OTHER = KIND_GLOBAL + b"one", KIND_GLOBAL + b"two"


class Plain(dict[bytes, bytes]):
    """A dictionary as a view."""


VIEW = Plain({KIND_ACCOUNT + A: encode_account(1, 100), KEY: b"old"})


def test_changes_are_sorted_and_only_what_differs() -> None:
    state = WorkingState(VIEW)
    state.put(OTHER, b"new")
    state.put(KEY, b"old")
    state.account(B).balance = 5
    state.account(A).nonce += 1
    state.account(A).nonce -= 1
    state.account(b"c" * 20)
    changes = state.changes()
    assert changes == {KIND_ACCOUNT + B: encode_account(0, 5), OTHER: b"new"}
    assert list(changes) == sorted(changes)


def test_what_becomes_empty_is_gone() -> None:
    state = WorkingState(Plain({KIND_ACCOUNT + A: encode_account(0, 100), KEY: b"old"}))
    state.account(A).balance = 0
    state.put(KEY, None)
    state.put(OTHER, None)
    assert state.changes() == {KIND_ACCOUNT + A: None, KEY: None}
    assert state.get(KEY) is None
    assert state.get(KIND_ACCOUNT + A) is None


def test_spent_account_with_a_nonce_stays() -> None:
    state = WorkingState(VIEW)
    state.account(A).balance = 0
    assert state.changes() == {KIND_ACCOUNT + A: encode_account(1, 0)}


def test_child_sees_the_writes_before_it_and_writes_nothing_until_merged() -> None:
    state = WorkingState(VIEW)
    state.account(A).balance -= 40
    state.put(KEY, b"newer")
    child = state.child()
    assert (child.account(A).nonce, child.account(A).balance, child.get(KEY)) == (1, 60, b"newer")
    child.account(A).balance -= 60
    child.account(B).balance += 60
    child.put(KEY, None)
    assert (state.account(A).balance, state.account(B).balance, state.get(KEY)) == (60, 0, b"newer")
    state.merge(child)
    assert state.changes() == {
        KIND_ACCOUNT + A: encode_account(1, 0),
        KIND_ACCOUNT + B: encode_account(0, 60),
        KEY: None,
    }


def test_nonce_alone_is_a_change() -> None:
    state = WorkingState(VIEW)
    state.account(A).nonce += 1
    child = state.child()
    child.account(A).nonce += 1
    state.merge(child)
    assert state.changes() == {KIND_ACCOUNT + A: encode_account(3, 100)}


def test_child_that_undoes_a_change_leaves_none() -> None:
    state = WorkingState(VIEW)
    state.account(A).balance -= 40
    child = state.child()
    child.account(A).balance += 40
    state.merge(child)
    assert state.changes() == {}


steps = st.lists(
    st.tuples(
        st.sampled_from([A, B]), st.integers(0, 3), st.sampled_from([KEY, OTHER]), st.sampled_from([None, b"", b"x"])
    ),
    max_size=8,
)


@given(steps, steps, st.booleans())
def test_changes_lead_from_the_view_to_what_is_read(first: object, second: object, merged: bool) -> None:
    state = WorkingState(VIEW)
    write(state, first)
    child = state.child()
    write(child, second)
    if merged:
        state.merge(child)
    after = Plain(VIEW)
    for key, value in state.changes().items():
        assert after.get(key) != value
        if value is None:
            del after[key]
        else:
            after[key] = value
    for key in (KIND_ACCOUNT + A, KIND_ACCOUNT + B, KEY, OTHER):
        assert state.get(key) == after.get(key)


def write(state: WorkingState, given_steps: object) -> None:
    assert isinstance(given_steps, list)
    for address, balance, key, value in given_steps:
        state.account(address).balance = balance
        state.account(address).nonce = 0 if balance == 0 else 1
        state.put(key, value)
