"""The state tree in flat arrays is held equal to the plain reference, through every update, undo, redo and proof."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from chain import merkle
from chain.storage import statetree
from chain.storage.sha256_lanes import LANES, begin, compress, compress_padding
from chain.storage.statetree import StateTree

State = dict[bytes, bytes]
Changes = dict[bytes, bytes | None]

keys = st.integers(0, 60).map(lambda number: b"k%d" % number)
changes = st.dictionaries(keys, st.none() | st.binary(max_size=70), max_size=40)


def applied(state: State, changed: Changes) -> State:
    """The state after a change."""
    merged = state | {key: value for key, value in changed.items() if value is not None}
    return {key: value for key, value in merged.items() if changed.get(key, b"") is not None}


def assert_same(tree: StateTree, state: State) -> None:
    assert (tree.root, len(tree)) == (merkle.state_root(state), len(state))


def contents(tree: StateTree) -> tuple[bytes, ...]:
    """Every byte that the tree's rows in use hold, and its free lists."""
    tables = tree._tables
    head = tables.head[: statetree.rows.LEAVES + 1]
    inner, leaf = int(head[statetree.rows.INNER_NEXT]), int(head[statetree.rows.LEAF_NEXT])
    return tables.inner[:inner].tobytes(), tables.leaf[:leaf].tobytes(), head.tobytes()


@settings(deadline=None, max_examples=60)
@given(batches=st.lists(changes, max_size=12))
def test_every_update_gives_the_reference_root(batches: list[Changes]) -> None:
    tree, state = StateTree(), State()
    assert_same(tree, state)
    for changed in batches:
        state = applied(state, changed)
        assert tree.update(changed) == merkle.state_root(state)
        assert_same(tree, state)


@settings(deadline=None, max_examples=40)
@given(batches=st.lists(changes, max_size=8))
def test_a_tree_depends_on_its_content_and_not_on_its_past(batches: list[Changes]) -> None:
    tree, state = StateTree(), State()
    for changed in batches:
        tree.update(changed.items())
        state = applied(state, changed)
    built = StateTree(sorted(state.items()))
    assert (built.root, len(built), built.undoable) == (tree.root, len(tree), 0)
    assert all(built.prove(key) == tree.prove(key) for key in [*state, b"none"])


steps = st.lists(
    st.tuples(st.sampled_from(["update", "update", "preview", "commit", "undo", "redo"]), changes), max_size=25
)


@settings(deadline=None, max_examples=80)
@given(steps=steps, history=st.integers(1, 6), key=keys)
def test_undo_redo_and_preview_restore_exactly_and_proofs_hold_at_every_recent_state(
    steps: list[tuple[str, Changes]], history: int, key: bytes
) -> None:
    tree = StateTree(history=history)
    past: list[tuple[State, tuple[bytes, ...]]] = [(State(), contents(tree))]
    undone: list[tuple[statetree.Undone, tuple[State, tuple[bytes, ...]]]] = []
    for step, changed in steps:
        note(f"{step} {changed}")
        state = past[-1][0]
        if step == "update":
            tree.update(changed)
            past.append((applied(state, changed), contents(tree)))
            undone = []
        elif step in ("preview", "commit"):
            before = contents(tree)
            root, update = tree.preview(changed)
            assert root == update.root == merkle.state_root(applied(state, changed))
            assert contents(tree) == before
            if step == "commit":
                assert tree.redo(update) == root
                past.append((applied(state, changed), contents(tree)))
                undone = []
        elif step == "undo" and tree.undoable:
            undone.append((tree.undo(), past.pop()))
        elif step == "redo" and undone:
            update, was = undone.pop()
            assert tree.redo(update) == merkle.state_root(was[0])
            past.append(was)
        assert_same(tree, past[-1][0])
        assert contents(tree) == past[-1][1]
        for back in range(tree.undoable + 1):
            then = past[-1 - back][0]
            assert tree.prove(key, back) == merkle.prove(then, key)
            assert merkle.verify(merkle.state_root(then), key, then.get(key), tree.prove(key, back))


def test_at_least_the_history_asked_for_can_be_undone_after_any_number_of_previews() -> None:
    tree = StateTree(history=3)
    roots = [tree.root] + [tree.update({b"%d" % number: b""}) for number in range(10)]
    for _ in range(5):
        tree.preview({b"x": b""})
    assert tree.undoable >= 3
    for number in range(3):
        tree.undo()
        assert tree.root == roots[-2 - number]


def test_an_update_undone_elsewhere_is_not_redone_here() -> None:
    tree = StateTree()
    _, stale = tree.preview({b"a": b"1"})
    tree.update({b"b": b"2"})
    with pytest.raises(AssertionError, match="moved on"):
        tree.redo(stale)


def test_two_proposals_on_one_state_can_both_be_tried_and_either_be_committed() -> None:
    for chosen in (0, 1):
        tree = StateTree([(b"%d" % number, b"") for number in range(500)])
        proposals: list[Changes] = [
            {b"%d" % n: (None if n % 2 else b"x") for n in range(300)},
            {b"n%d" % n: b"y" for n in range(900)},
        ]
        previews = [tree.preview(proposal) for proposal in proposals]
        root = tree.redo(previews[chosen][1])
        state = applied({b"%d" % number: b"" for number in range(500)}, proposals[chosen])
        assert root == previews[chosen][0] == merkle.state_root(state)
        assert tree.update({b"more": b"z"}) == merkle.state_root(state | {b"more": b"z"})


def test_tables_grow_and_rows_are_used_again() -> None:
    tree, state = StateTree(), State()
    sizes = []
    for cycle in range(6):
        fresh: Changes = {b"%d %d" % (cycle, number): b"v" for number in range(4000)}
        gone: Changes = dict.fromkeys(state)
        tree.update(fresh | gone)
        state = applied(state, fresh | gone)
        sizes.append(sum(table.nbytes for table in tree._tables))
        assert len(tree) == 4000
    assert_same(tree, state)
    assert sizes[-1] == sizes[2]
    tree.update(dict.fromkeys(state))
    assert_same(tree, {})
    assert tree._tables.head[statetree.rows.ROOT] == 0


def test_keys_that_share_many_bits_split_and_collapse() -> None:
    """Tree keys are hashes, so long common prefixes are searched for: the deepest pair of 20,000 keys."""
    hashed = sorted((hashlib.sha256(b"%d" % number).digest(), b"%d" % number) for number in range(20_000))
    _, near, far = max(
        (256 - (int.from_bytes(low[0], "big") ^ int.from_bytes(high[0], "big")).bit_length(), low[1], high[1])
        for low, high in itertools.pairwise(hashed)
    )
    tree = StateTree([(near, b"1")])
    assert tree.update({far: b"2"}) == merkle.state_root({near: b"1", far: b"2"})
    assert len(tree.prove(near).siblings) > 20
    assert tree.prove(far) == merkle.prove({near: b"1", far: b"2"}, far)
    assert tree.update({near: None}) == merkle.state_root({far: b"2"})
    assert tree.prove(near).other is not None


def test_a_build_in_many_batches_gives_the_reference_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statetree, "_BUILD_BATCH", 100)
    state = {b"%d" % number: b"%d" % (number * number) for number in range(3000)}
    tree = StateTree(state.items())
    assert_same(tree, state)
    assert tree.update({b"1": None, b"x": b"y"}) == merkle.state_root(applied(state, {b"1": None, b"x": b"y"}))


def test_lanes_hash_as_hashlib_does() -> None:
    """One 64-byte message a lane: a block and the padding block, and the same block padded by hand."""
    messages = [os.urandom(64) for _ in range(LANES)]
    words = np.zeros((64, LANES), np.uint32)
    state, work = np.zeros((8, LANES), np.uint32), np.zeros((8, LANES), np.uint32)
    blocks = np.array([np.frombuffer(message, ">u4") for message in messages], np.uint32).T
    want = [hashlib.sha256(message).digest() for message in messages]
    for known_padding in (True, False):
        words[:16] = blocks
        begin(state)
        compress(state, work, words)
        if known_padding:
            compress_padding(state, work)
        else:
            words[:16] = 0
            words[0], words[15] = 0x80000000, 512
            compress(state, work, words)
        assert [state[:, lane].astype(">u4").tobytes() for lane in range(LANES)] == want


@pytest.mark.parametrize("processor", ["haswell", "x86-64"])
def test_roots_do_not_depend_on_the_processors_vector_instructions(tmp_path: Path, processor: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("names processors of another kind than this one")
    script = (
        "from chain.storage.statetree import StateTree\n"
        "tree = StateTree((b'%d' % n, b'v%d' % n) for n in range(1000))\n"
        "print(tree.update({b'%d' % n: None for n in range(0, 1000, 3)}).hex())"
    )
    environment = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    state = {b"%d" % n: b"v%d" % n for n in range(1000) if n % 3}
    assert done.stdout.strip() == merkle.state_root(state).hex()
