"""Home of the authenticated state in memory: one tree in flat arrays, updated by batches, with undo, redo and proofs.

The rules are those of `chain/merkle.py`, which the tests hold this equal to. About 0.2 kB of memory an account.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from chain.merkle import EMPTY_ROOT, OtherLeaf, Proof, tree_key
from chain.storage import statetree_kernels as kernels
from chain.storage import statetree_rows as rows
from chain.storage.statetree_rows import HEAD_PLACES, INNER_SAVED, LEAF, LEAF_SAVED, LEAVES, ROOT, ROW, Tables

Changes = Mapping[bytes, bytes | None] | Iterable[tuple[bytes, bytes | None]]

_Word = TypeVar("_Word", np.uint32, np.int64)

HISTORY_DEFAULT = 32
_BUILD_BATCH = 1 << 15
_ROWS_AT_FIRST = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Journal:
    """Rows that turn the tree of one state into that of another, `here`, when they are written over it."""

    inner_row: NDArray[np.int64]
    inner: NDArray[np.uint32]
    leaf_row: NDArray[np.int64]
    leaf: NDArray[np.uint32]
    head: NDArray[np.int64]
    here: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """An update that was taken back; `StateTree.redo` puts it again on the very state that it was taken from."""

    root: bytes  # after the update
    onto: int
    journal: _Journal


class StateTree:
    """The authenticated map `flat key -> value`; it keeps hashes of the values, not the values.

    Not for several threads at once. `history` is how many of the newest updates can be undone and proved before.
    """

    def __init__(self, items: Iterable[tuple[bytes, bytes]] = (), *, history: int = HISTORY_DEFAULT) -> None:
        assert history >= 1, "the newest update must be undoable"
        self._tables = _empty_tables()
        self._journals: deque[_Journal] = deque(maxlen=history + 1)  # one more, so that a preview loses none
        self._mark = 0  # counts updates, undone ones too
        self._state = 0  # names the present content of all rows: the mark of the update that made it
        self._build(items)

    @property
    def root(self) -> bytes:
        return self._hash_of(int(self._tables.head[ROOT]), 0)

    def __len__(self) -> int:
        """How many keys have a value."""
        return int(self._tables.head[LEAVES])

    @property
    def undoable(self) -> int:
        """How many updates can be undone, and how far back proofs reach."""
        return len(self._journals)

    def update(self, changes: Changes) -> bytes:
        """Sets every key to its value, or deletes it (None); returns the new root. May be empty."""
        self._start()
        self._apply(changes)
        self._hash_inner(self._mark)
        tables, head = self._tables, self._tables.head
        inner, leaf = int(head[INNER_SAVED]), int(head[LEAF_SAVED])
        journal = _Journal(
            inner_row=tables.saved_inner_row[:inner].copy(),
            inner=tables.saved_inner[:inner].copy(),
            leaf_row=tables.saved_leaf_row[:leaf].copy(),
            leaf=tables.saved_leaf[:leaf].copy(),
            head=self._head_before,
            here=self._state,
        )
        self._journals.append(journal)
        self._state = self._mark
        return self.root

    def undo(self) -> Undone:
        """Takes back the newest update: root, shape and rows are exactly as before it."""
        assert self._journals, "no update is left to undo: raise `history`"
        root = self.root
        redo = self._exchange(self._journals.pop())
        return Undone(root=root, onto=self._state, journal=redo)

    def redo(self, undone: Undone) -> bytes:
        """Puts an undone update back, without hashing; returns the root. Only on the state it was undone to."""
        assert undone.onto == self._state, "the tree has moved on since this update was undone"
        self._journals.append(self._exchange(undone.journal))
        return undone.root

    def preview(self, changes: Changes) -> tuple[bytes, Undone]:
        """The root that `update(changes)` would give, and what `redo` takes to make it so; the tree stays as it is.

        The oldest journal is given up if all `history` of them are held.
        """
        root = self.update(changes)
        return root, self.undo()

    def forget(self) -> None:
        """Let no update made so far be undone: the state becomes the first one."""
        self._journals.clear()

    def subtree_root(self, prefix: bytes, bits: int) -> bytes:
        """The hash of the subtree under the first `bits` of `prefix`, in a tree whose every key begins with them."""
        reference = int(self._tables.head[ROOT])
        for depth in range(bits):
            if not reference or reference & LEAF:
                break
            side = prefix[depth >> 3] >> (7 - (depth & 7)) & 1
            row = self._inner_row(reference, 0)
            assert not row[1 - side], "a key begins otherwise"
            reference = int(row[side])
        return self._hash_of(reference, 0)

    def prove(self, key: bytes, back: int = 0) -> Proof:
        """Proof of `key`'s value or absence under the root as of `back` updates ago (at most `undoable`)."""
        assert 0 <= back <= self.undoable, f"proofs reach {self.undoable} updates back, not {back}"
        wanted = tree_key(key)
        words = _words([wanted])[0]
        reference = self._root_reference(back)
        siblings: list[bytes] = []
        while reference and not reference & LEAF:
            depth = len(siblings)
            side = int(words[depth >> 5]) >> (31 - (depth & 31)) & 1
            row = self._inner_row(reference, back)
            siblings.append(self._hash_of(int(row[1 - side]), back))
            reference = int(row[side])
        other = None
        if reference:
            leaf = self._leaf_row(reference & ROW, back)
            found = _bytes(leaf[rows.KEY : rows.VALUE_HASH])
            if found != wanted:
                value_hash = _bytes(leaf[rows.VALUE_HASH : rows.LEAF_HASH])
                other = OtherLeaf(tree_key=found, value_hash=value_hash)
        return Proof(siblings=tuple(siblings), other=other)

    # ------------------------------------------------------------------------------------------------- changing

    def _build(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """All leaves in batches first, inner nodes once at the end."""
        rest = iter(items)
        while batch := list(itertools.islice(rest, _BUILD_BATCH)):
            self._start()
            self._apply(batch)
        self._hash_inner(1)
        self._state = self._mark

    def _start(self) -> None:
        head = self._tables.head
        head[INNER_SAVED] = head[LEAF_SAVED] = 0
        self._head_before = head.copy()
        self._mark += 1

    def _apply(self, changes: Changes) -> None:
        wanted = changes if isinstance(changes, Mapping) else dict(changes)
        kept = [(key, value) for key, value in wanted.items() if value is not None]
        gone = [key for key, value in wanted.items() if value is None]
        if kept:
            keys, values = _hashes([key for key, _ in kept]), _hashes([value for _, value in kept])
            self._run(len(kept), lambda first: kernels.place(self._tables, self._mark, first, keys, values))
        if gone:
            keys = _hashes(gone)
            self._run(len(gone), lambda first: kernels.remove(self._tables, self._mark, first, keys))
        saved = int(self._tables.head[LEAF_SAVED])
        kernels.hash_leaves(self._tables.leaf, self._tables.saved_leaf_row[:saved])

    def _run(self, count: int, kernel: Callable[[int], int]) -> None:
        """Lets a kernel work through `count` items, growing the tables whenever it stops for want of room."""
        done = kernel(0)
        while done < count:
            self._tables = _grown(self._tables)
            done = kernel(done)

    def _hash_inner(self, since: int) -> None:
        head = self._tables.head
        queue = np.empty(int(head[rows.INNER_NEXT]), np.int64)
        kernels.rehash(self._tables, since, queue)

    def _exchange(self, journal: _Journal) -> _Journal:
        """Writes a journal's rows over the tree's, and returns the journal that leads back."""
        tables = self._tables
        back = _Journal(
            inner_row=journal.inner_row,
            inner=tables.inner[journal.inner_row],
            leaf_row=journal.leaf_row,
            leaf=tables.leaf[journal.leaf_row],
            head=tables.head.copy(),
            here=self._state,
        )
        tables.inner[journal.inner_row] = journal.inner
        tables.leaf[journal.leaf_row] = journal.leaf
        tables.head[:] = journal.head
        self._state = journal.here
        return back

    # -------------------------------------------------------------------------------------------------- reading

    def _root_reference(self, back: int) -> int:
        return int((self._journals[-back].head if back else self._tables.head)[ROOT])

    def _inner_row(self, row: int, back: int) -> NDArray[np.uint32]:
        """An inner row as of `back` updates ago: as the first journal since then saved it, or as it is."""
        for journal in itertools.islice(self._journals, len(self._journals) - back, None):
            if len(found := np.flatnonzero(journal.inner_row == row)):
                return np.asarray(journal.inner[found[0]])
        return np.asarray(self._tables.inner[row])

    def _leaf_row(self, row: int, back: int) -> NDArray[np.uint32]:
        for journal in itertools.islice(self._journals, len(self._journals) - back, None):
            if len(found := np.flatnonzero(journal.leaf_row == row)):
                return np.asarray(journal.leaf[found[0]])
        return np.asarray(self._tables.leaf[row])

    def _hash_of(self, reference: int, back: int) -> bytes:
        if not reference:
            return EMPTY_ROOT
        if reference & LEAF:
            return _bytes(self._leaf_row(reference & ROW, back)[rows.LEAF_HASH :])
        return _bytes(self._inner_row(reference, back)[rows.INNER_HASH :])


def warm() -> None:
    """Compiles every kernel, or loads it from numba's cache: seconds the first time on a machine, then far less."""
    tree = StateTree([(bytes([number]), b"") for number in range(4)])
    tree.update({b"\x00": None, b"\x05": b""})


def _empty_tables() -> Tables:
    head = np.zeros(HEAD_PLACES, np.int64)
    head[rows.INNER_NEXT] = head[rows.LEAF_NEXT] = 1
    return Tables(
        inner=np.zeros((_ROWS_AT_FIRST, rows.INNER_COLUMNS), np.uint32),
        leaf=np.zeros((_ROWS_AT_FIRST, rows.LEAF_COLUMNS), np.uint32),
        inner_mark=np.zeros(_ROWS_AT_FIRST, np.int64),
        leaf_mark=np.zeros(_ROWS_AT_FIRST, np.int64),
        head=head,
        saved_inner=np.zeros((_ROWS_AT_FIRST, rows.INNER_COLUMNS), np.uint32),
        saved_inner_row=np.zeros(_ROWS_AT_FIRST, np.int64),
        saved_leaf=np.zeros((_ROWS_AT_FIRST, rows.LEAF_COLUMNS), np.uint32),
        saved_leaf_row=np.zeros(_ROWS_AT_FIRST, np.int64),
    )


def _grown(tables: Tables) -> Tables:
    """Tables in which another item fits: those that are short are doubled."""
    head = tables.head
    inner, leaf, saved_inner, saved_leaf = (
        head[rows.INNER_NEXT] + kernels.INNER_ROWS_PER_ITEM_MAX > len(tables.inner),
        head[rows.LEAF_NEXT] >= len(tables.leaf),
        head[INNER_SAVED] + kernels.INNER_SAVES_PER_ITEM_MAX > len(tables.saved_inner),
        head[LEAF_SAVED] >= len(tables.saved_leaf),
    )
    assert max(len(tables.inner), len(tables.leaf)) < ROW, "the tree is full"
    return Tables(
        inner=_doubled(tables.inner, inner),
        leaf=_doubled(tables.leaf, leaf),
        inner_mark=_doubled(tables.inner_mark, inner),
        leaf_mark=_doubled(tables.leaf_mark, leaf),
        head=head,
        saved_inner=_doubled(tables.saved_inner, saved_inner),
        saved_inner_row=_doubled(tables.saved_inner_row, saved_inner),
        saved_leaf=_doubled(tables.saved_leaf, saved_leaf),
        saved_leaf_row=_doubled(tables.saved_leaf_row, saved_leaf),
    )


def _doubled(array: NDArray[_Word], wanted: bool) -> NDArray[_Word]:
    if not wanted:
        return array
    grown = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _hashes(items: Sequence[bytes]) -> NDArray[np.uint32]:
    """SHA-256 of each item as rows of eight words."""
    return _words([hashlib.sha256(item).digest() for item in items])


def _words(hashes: Sequence[bytes]) -> NDArray[np.uint32]:
    return np.frombuffer(b"".join(hashes), ">u4").astype(np.uint32).reshape(-1, 8)


def _bytes(words: NDArray[np.uint32]) -> bytes:
    return words.astype(">u4").tobytes()
