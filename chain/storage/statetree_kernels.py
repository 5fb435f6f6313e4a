"""Home of the state tree's numba kernels: placing and removing leaves, and hashing what that touched.

numba counts references atomically for every array handed to a function, which costs more than a step down the tree.
So what runs for every node of a path takes arrays, not `Tables`, and calls nothing; what runs seldom is plain.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from chain.storage.sha256_lanes import LANES, begin, compress, compress_padding
from chain.storage.statetree_rows import (
    INNER_COLUMNS,
    INNER_HASH,
    INNER_NEXT,
    INNER_SAVED,
    KEY,
    LEAF,
    LEAF_COLUMNS,
    LEAF_HASH,
    LEAF_NEXT,
    LEAF_SAVED,
    ROOT,
    ROW,
    VALUE_HASH,
    Tables,
    free_inner,
    free_leaf,
    new_inner,
    new_leaf,
)

DEPTH_MAX = 256
INNER_ROWS_PER_ITEM_MAX = DEPTH_MAX  # a split makes at most this many inner nodes
INNER_SAVES_PER_ITEM_MAX = 2 * DEPTH_MAX  # those and the path to them


@numba.njit(cache=True, nogil=True)
def place(tables: Tables, mark: int, first: int, keys: NDArray[np.uint32], values: NDArray[np.uint32]) -> int:
    """Inserts or replaces leaves `first` and on; keys and value hashes are rows of eight words, leaf hashes come later.

    Returns the number done: fewer than there are if a table must grow first.
    """
    inner, leaf, inner_mark, leaf_mark, head, saved_inner, saved_inner_row, saved_leaf, saved_leaf_row = tables
    path = np.empty(DEPTH_MAX + 1, np.int64)
    for item in range(first, len(keys)):
        if not _has_room(head, len(inner), len(leaf), len(saved_inner), len(saved_leaf)):
            return item
        depth = _descend(inner, inner_mark, head, saved_inner, saved_inner_row, mark, keys, item, path)
        row = path[depth] & ROW
        if path[depth] & LEAF and _same_key(leaf, row, keys, item):
            if leaf_mark[row] != mark:
                leaf_mark[row] = mark
                count = head[LEAF_SAVED]
                saved_leaf_row[count] = row
                for column in range(LEAF_COLUMNS):
                    saved_leaf[count, column] = leaf[row, column]
                head[LEAF_SAVED] = count + 1
            for t in range(8):
                leaf[row, VALUE_HASH + t] = values[item, t]
        else:
            _insert(tables, mark, keys[item], values[item], path, depth)
    return len(keys)


@numba.njit(cache=True, nogil=True)
def remove(tables: Tables, mark: int, first: int, keys: NDArray[np.uint32]) -> int:
    """Removes leaves, and every inner node that is left with one leaf below it. Returns as `place` does."""
    inner, leaf, inner_mark, _, head, saved_inner, saved_inner_row, saved_leaf, _ = tables
    path = np.empty(DEPTH_MAX + 1, np.int64)
    for item in range(first, len(keys)):
        if not _has_room(head, len(inner), len(leaf), len(saved_inner), len(saved_leaf)):
            return item
        depth = _descend(inner, inner_mark, head, saved_inner, saved_inner_row, mark, keys, item, path)
        if path[depth] & LEAF and _same_key(leaf, path[depth] & ROW, keys, item):
            free_leaf(tables, mark, path[depth] & ROW)
            _detach(tables, keys[item], path, depth)
    return len(keys)


@numba.njit(cache=True, nogil=True)
def rehash(tables: Tables, mark: int, queue: NDArray[np.int64]) -> int:
    """Hashes every inner node saved since update `mark` that still stands, deepest first. Returns how many.

    A node is saved with all nodes above it, so going down from the root along marked nodes finds them all.
    """
    inner, inner_mark = tables.inner, tables.inner_mark
    root = tables.head[ROOT]
    if root == 0 or root & LEAF or inner_mark[root] < mark:
        return 0
    level_start = np.empty(DEPTH_MAX + 2, np.int64)
    queue[0] = root
    levels, start, stop = 0, 0, 1
    while start < stop:
        level_start[levels] = start
        levels += 1
        end = stop
        for place in range(start, stop):
            for side in range(2):
                child = np.int64(inner[queue[place], side])
                if child != 0 and not child & LEAF and inner_mark[child] >= mark:
                    queue[end] = child
                    end += 1
        start, stop = stop, end
    for level in range(levels - 1, -1, -1):
        end = level_start[level + 1] if level + 1 < levels else stop
        _hash_inner(inner, tables.leaf, queue[level_start[level] : end])
    return stop


@numba.njit(cache=True, nogil=True)
def _hash_inner(inner: NDArray[np.uint32], leaf: NDArray[np.uint32], rows: NDArray[np.int64]) -> None:
    """inner hash = SHA-256(left || right), of rows whose children are hashed."""
    schedule = np.zeros((64, LANES), np.uint32)
    state = np.zeros((8, LANES), np.uint32)
    work = np.zeros((8, LANES), np.uint32)
    for base in range(0, len(rows), LANES):
        width = min(LANES, len(rows) - base)
        for j in range(width):
            for side in range(2):
                child = np.int64(inner[rows[base + j], side])
                for t in range(8):
                    if child == 0:
                        schedule[8 * side + t, j] = 0
                    elif child & LEAF:
                        schedule[8 * side + t, j] = leaf[child & ROW, LEAF_HASH + t]
                    else:
                        schedule[8 * side + t, j] = inner[child, INNER_HASH + t]
        begin(state)
        compress(state, work, schedule)
        compress_padding(state, work)
        for j in range(width):
            for t in range(8):
                inner[rows[base + j], INNER_HASH + t] = state[t, j]


@numba.njit(cache=True, nogil=True)
def hash_leaves(leaf: NDArray[np.uint32], rows: NDArray[np.int64]) -> None:
    """leaf hash = SHA-256(0x00 || tree key || value hash): 65 bytes, so all words are shifted by one byte."""
    schedule = np.zeros((64, LANES), np.uint32)
    state = np.zeros((8, LANES), np.uint32)
    work = np.zeros((8, LANES), np.uint32)
    for base in range(0, len(rows), LANES):
        width = min(LANES, len(rows) - base)
        for j in range(width):
            row = rows[base + j]
            schedule[0, j] = leaf[row, 0] >> np.uint32(8)
            for t in range(1, 16):
                schedule[t, j] = (leaf[row, t - 1] << np.uint32(24)) | (leaf[row, t] >> np.uint32(8))
        begin(state)
        compress(state, work, schedule)
        schedule[:16] = 0
        for j in range(width):
            last = leaf[rows[base + j], LEAF_HASH - 1]
            schedule[0, j] = (last << np.uint32(24)) | np.uint32(0x00800000)
            schedule[15, j] = np.uint32(65 * 8)
        compress(state, work, schedule)
        for j in range(width):
            for t in range(8):
                leaf[rows[base + j], LEAF_HASH + t] = state[t, j]


@numba.njit(cache=True, nogil=True)
def _has_room(head: NDArray[np.int64], inner: int, leaf: int, saved_inner: int, saved_leaf: int) -> bool:
    """Whether tables of these many rows hold one more item, however its path runs."""
    inner_fits = head[INNER_NEXT] + INNER_ROWS_PER_ITEM_MAX <= inner and head[LEAF_NEXT] < leaf
    saved_fit = head[INNER_SAVED] + INNER_SAVES_PER_ITEM_MAX <= saved_inner and head[LEAF_SAVED] < saved_leaf
    return bool(inner_fits and saved_fit)


@numba.njit(cache=True, nogil=True)
def _descend(
    inner: NDArray[np.uint32],
    inner_mark: NDArray[np.int64],
    head: NDArray[np.int64],
    saved_inner: NDArray[np.uint32],
    saved_inner_row: NDArray[np.int64],
    mark: int,
    keys: NDArray[np.uint32],
    item: int,
    path: NDArray[np.int64],
) -> int:
    """Saves the inner nodes on the way to key `item` and writes them to `path`; returns how many there are.

    After them `path` has the reference that the way ends at: a leaf, this key's or another's, or an empty subtree.
    """
    depth = np.int64(0)
    reference = head[ROOT]
    while reference != 0 and not reference & LEAF:
        if inner_mark[reference] != mark:
            inner_mark[reference] = mark
            count = head[INNER_SAVED]
            saved_inner_row[count] = reference
            for column in range(INNER_COLUMNS):
                saved_inner[count, column] = inner[reference, column]
            head[INNER_SAVED] = count + 1
        path[depth] = reference
        side = np.int64((keys[item, depth >> 5] >> np.uint32(31 - (depth & 31))) & np.uint32(1))
        reference = np.int64(inner[reference, side])
        depth += 1
    path[depth] = reference
    return int(depth)


@numba.njit(cache=True, nogil=True)
def _same_key(leaf: NDArray[np.uint32], row: int, keys: NDArray[np.uint32], item: int) -> bool:
    for t in range(8):  # noqa: SIM110 - numba compiles this loop, not `all` of a generator
        if leaf[row, t] != keys[item, t]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _insert(
    tables: Tables,
    mark: int,
    key: NDArray[np.uint32],
    value: NDArray[np.uint32],
    path: NDArray[np.int64],
    depth: int,
) -> None:
    """A new leaf at the end of a path: in an empty place, or beside the leaf there under as many nodes as it takes."""
    row = new_leaf(tables, mark)
    for t in range(8):
        tables.leaf[row, KEY + t] = key[t]
        tables.leaf[row, VALUE_HASH + t] = value[t]
    old = path[depth]
    if old == 0:
        _set_child(tables, path, key, depth, row | LEAF)
        return
    while True:
        node = new_inner(tables, mark)
        _set_child(tables, path, key, depth, node)
        path[depth] = node
        side = _bit(key, depth)
        if _bit(tables.leaf[old & ROW], depth) != side:
            tables.inner[node, side] = row | LEAF
            tables.inner[node, 1 - side] = old
            return
        depth += 1


@numba.njit(cache=True, nogil=True)
def _detach(tables: Tables, key: NDArray[np.uint32], path: NDArray[np.int64], depth: int) -> None:
    """Takes the leaf at the end of a path off; one left alone rises to where it is not, freeing the nodes between."""
    _set_child(tables, path, key, depth, 0)
    while depth > 0:
        node = path[depth - 1]
        left, right = np.int64(tables.inner[node, 0]), np.int64(tables.inner[node, 1])
        if (left and right) or not (left | right) & LEAF:
            return
        free_inner(tables, node)
        depth -= 1
        _set_child(tables, path, key, depth, left | right)


@numba.njit(cache=True, nogil=True)
def _set_child(tables: Tables, path: NDArray[np.int64], key: NDArray[np.uint32], depth: int, reference: int) -> None:
    """Hangs `reference` where the path of `key` has its node at `depth`."""
    if depth == 0:
        tables.head[ROOT] = reference
    else:
        tables.inner[path[depth - 1], _bit(key, depth - 1)] = reference


@numba.njit(cache=True, nogil=True)
def _bit(key: NDArray[np.uint32], depth: int) -> int:
    return int((key[depth >> 5] >> np.uint32(31 - (depth & 31))) & np.uint32(1))
