"""Home of the state tree's numba kernels: placing and removing leaves in flat arrays, and hashing what that touched.

A reference is a uint32: 0 is the empty subtree, with the top bit set it is a leaf's row, otherwise an inner node's row.
Every row is saved once an update, before its first change, so that the update can be taken back by writing the saved rows.
Free rows form lists through their first word.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from chain.sha256_lanes import LANES, begin, compress, compress_padding

LEAF = 1 << 31  # the bit of a reference that says: a leaf
ROW = LEAF - 1  # the bits that say which row

# Columns of an inner row, and of a leaf row.
CHILDREN, INNER_HASH, INNER_COLUMNS = 0, 2, 10
KEY, VALUE_HASH, LEAF_HASH, LEAF_COLUMNS = 0, 8, 16, 24

# Places in `head`. The first five are part of the tree, the last two count the rows saved in this update.
ROOT, INNER_NEXT, INNER_FREE, LEAF_NEXT, LEAF_FREE, LEAVES, INNER_SAVED, LEAF_SAVED = range(8)
HEAD_PLACES = 8

DEPTH_MAX = 256
INNER_ROWS_PER_ITEM_MAX = DEPTH_MAX  # a split makes at most this many inner nodes
INNER_SAVES_PER_ITEM_MAX = 2 * DEPTH_MAX  # those and the path to them


class Tables(NamedTuple):
    """The whole tree, and the rows saved in the update under way. Row 0 of both tables stays unused."""

    inner: NDArray[np.uint32]  # (inner capacity, INNER_COLUMNS): left, right, hash
    leaf: NDArray[np.uint32]  # (leaf capacity, LEAF_COLUMNS): tree key, value hash, leaf hash
    inner_mark: NDArray[np.int64]  # the update that last saved the row
    leaf_mark: NDArray[np.int64]
    head: NDArray[np.int64]
    saved_inner: NDArray[np.uint32]  # rows as they were, in the order of their first change
    saved_inner_row: NDArray[np.int64]
    saved_leaf: NDArray[np.uint32]
    saved_leaf_row: NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def place(tables: Tables, mark: int, first: int, keys: NDArray[np.uint32], values: NDArray[np.uint32]) -> int:
    """Inserts or replaces leaves `first` and on; keys and value hashes are rows of eight words, leaf hashes come later.

    Returns the number done: fewer than there are if a table must grow first.
    """
    for item in range(first, len(keys)):
        if not _has_room(tables):
            return item
        _place_one(tables, mark, keys[item], values[item])
    return len(keys)


@numba.njit(cache=True, nogil=True)
def remove(tables: Tables, mark: int, first: int, keys: NDArray[np.uint32]) -> int:
    """Removes leaves, and every inner node that is left with one leaf below it. Returns as `place` does."""
    path = np.empty(DEPTH_MAX, np.int64)
    for item in range(first, len(keys)):
        if not _has_room(tables):
            return item
        _remove_one(tables, mark, keys[item], path)
    return len(keys)


@numba.njit(cache=True, nogil=True)
def rehash(tables: Tables, mark: int, queue: NDArray[np.int64]) -> int:
    """Hashes every inner node saved since update `mark` that still stands, deepest first. Returns how many.

    A node is saved only together with all nodes above it, so walking down from the root along marked nodes finds them all.
    """
    root = tables.head[ROOT]
    if root == 0 or root & LEAF or tables.inner_mark[root] < mark:
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
                child = np.int64(tables.inner[queue[place], side])
                if child != 0 and not child & LEAF and tables.inner_mark[child] >= mark:
                    queue[end] = child
                    end += 1
        start, stop = stop, end
    level_start[levels] = stop
    _hash_inner_levels(tables, queue, level_start, levels)
    return stop


@numba.njit(cache=True, nogil=True)
def hash_leaves(tables: Tables, rows: NDArray[np.int64]) -> None:
    """leaf hash = SHA-256(0x00 || tree key || value hash): 65 bytes, so all words are shifted by one byte."""
    schedule = np.zeros((64, LANES), np.uint32)
    state = np.zeros((8, LANES), np.uint32)
    work = np.zeros((8, LANES), np.uint32)
    for base in range(0, len(rows), LANES):
        width = min(LANES, len(rows) - base)
        for j in range(width):
            row = tables.leaf[rows[base + j]]
            schedule[0, j] = row[0] >> np.uint32(8)
            for t in range(1, 16):
                schedule[t, j] = (row[t - 1] << np.uint32(24)) | (row[t] >> np.uint32(8))
        begin(state)
        compress(state, work, schedule)
        schedule[:16] = 0
        for j in range(width):
            last = tables.leaf[rows[base + j], LEAF_HASH - 1]
            schedule[0, j] = (last << np.uint32(24)) | np.uint32(0x00800000)
            schedule[15, j] = np.uint32(65 * 8)
        compress(state, work, schedule)
        for j in range(width):
            for t in range(8):
                tables.leaf[rows[base + j], LEAF_HASH + t] = state[t, j]


@numba.njit(cache=True, nogil=True)
def _hash_inner_levels(tables: Tables, queue: NDArray[np.int64], level_start: NDArray[np.int64], levels: int) -> None:
    schedule = np.zeros((64, LANES), np.uint32)
    state = np.zeros((8, LANES), np.uint32)
    work = np.zeros((8, LANES), np.uint32)
    for level in range(levels - 1, -1, -1):
        for base in range(level_start[level], level_start[level + 1], LANES):
            width = min(LANES, level_start[level + 1] - base)
            for j in range(width):
                node = queue[base + j]
                _load_hash(tables, np.int64(tables.inner[node, 0]), schedule, 0, j)
                _load_hash(tables, np.int64(tables.inner[node, 1]), schedule, 8, j)
            begin(state)
            compress(state, work, schedule)
            compress_padding(state, work, schedule)
            for j in range(width):
                for t in range(8):
                    tables.inner[queue[base + j], INNER_HASH + t] = state[t, j]


@numba.njit(cache=True, nogil=True)
def _load_hash(tables: Tables, reference: int, schedule: NDArray[np.uint32], first: int, lane: int) -> None:
    if reference == 0:
        for t in range(8):
            schedule[first + t, lane] = 0
    elif reference & LEAF:
        for t in range(8):
            schedule[first + t, lane] = tables.leaf[reference & ROW, LEAF_HASH + t]
    else:
        for t in range(8):
            schedule[first + t, lane] = tables.inner[reference, INNER_HASH + t]


@numba.njit(cache=True, nogil=True)
def _has_room(tables: Tables) -> bool:
    """Whether one more item fits, however its path runs."""
    head = tables.head
    return (
        head[INNER_NEXT] + INNER_ROWS_PER_ITEM_MAX <= len(tables.inner)
        and head[LEAF_NEXT] < len(tables.leaf)
        and head[INNER_SAVED] + INNER_SAVES_PER_ITEM_MAX <= len(tables.saved_inner)
        and head[LEAF_SAVED] < len(tables.saved_leaf)
    )


@numba.njit(cache=True, nogil=True)
def _place_one(tables: Tables, mark: int, key: NDArray[np.uint32], value: NDArray[np.uint32]) -> None:
    parent, side, depth = np.int64(0), np.int64(0), np.int64(0)
    reference = tables.head[ROOT]
    while reference != 0 and not reference & LEAF:
        _save_inner(tables, mark, reference)
        parent, side = reference, _bit(key, depth)
        reference = np.int64(tables.inner[parent, side])
        depth += 1
    if reference & LEAF and _same_key(tables.leaf[reference & ROW], key):
        row = reference & ROW
        _save_leaf(tables, mark, row)
    else:
        row = _new_leaf(tables, mark)
        if reference == 0:
            _set_child(tables, parent, side, row | LEAF)
        else:
            _split(tables, mark, parent, side, depth, reference, row | LEAF, key)
    for t in range(8):
        tables.leaf[row, KEY + t] = key[t]
        tables.leaf[row, VALUE_HASH + t] = value[t]


@numba.njit(cache=True, nogil=True)
def _split(
    tables: Tables, mark: int, parent: int, side: int, depth: int, old: int, new: int, key: NDArray[np.uint32]
) -> None:
    """Puts a chain of inner nodes where leaf `old` was, down to the first bit in which leaf `new` differs."""
    other = tables.leaf[old & ROW]
    while True:
        node = _new_inner(tables, mark)
        _set_child(tables, parent, side, node)
        parent, side = node, _bit(key, depth)
        if _bit(other, depth) != side:
            tables.inner[node, side] = new
            tables.inner[node, 1 - side] = old
            return
        depth += 1


@numba.njit(cache=True, nogil=True)
def _remove_one(tables: Tables, mark: int, key: NDArray[np.uint32], path: NDArray[np.int64]) -> None:
    depth = 0
    reference = tables.head[ROOT]
    while reference != 0 and not reference & LEAF:
        _save_inner(tables, mark, reference)
        path[depth] = reference
        reference = np.int64(tables.inner[reference, _bit(key, depth)])
        depth += 1
    if reference == 0 or not _same_key(tables.leaf[reference & ROW], key):
        return
    _free_leaf(tables, mark, reference & ROW)
    if depth == 0:
        tables.head[ROOT] = 0
        return
    depth -= 1
    side = _bit(key, depth)
    tables.inner[path[depth], side] = 0
    survivor = np.int64(tables.inner[path[depth], 1 - side])
    if survivor & LEAF:
        _raise_leaf(tables, key, path, depth, survivor)


@numba.njit(cache=True, nogil=True)
def _raise_leaf(tables: Tables, key: NDArray[np.uint32], path: NDArray[np.int64], depth: int, survivor: int) -> None:
    """Moves a leaf that is alone below `path[depth]` up to where it is not, freeing the nodes between."""
    while True:
        _free_inner(tables, path[depth])
        if depth == 0:
            tables.head[ROOT] = survivor
            return
        depth -= 1
        side = _bit(key, depth)
        tables.inner[path[depth], side] = survivor
        if tables.inner[path[depth], 1 - side] != 0:
            return


@numba.njit(cache=True, nogil=True)
def _set_child(tables: Tables, parent: int, side: int, reference: int) -> None:
    if parent == 0:
        tables.head[ROOT] = reference
    else:
        tables.inner[parent, side] = reference


@numba.njit(cache=True, nogil=True)
def _new_inner(tables: Tables, mark: int) -> int:
    head = tables.head
    row = head[INNER_FREE]
    if row:
        head[INNER_FREE] = tables.inner[row, 0]
    else:
        row = head[INNER_NEXT]
        head[INNER_NEXT] += 1
    _save_inner(tables, mark, row)
    tables.inner[row, 0] = 0
    tables.inner[row, 1] = 0
    return row


@numba.njit(cache=True, nogil=True)
def _new_leaf(tables: Tables, mark: int) -> int:
    head = tables.head
    row = head[LEAF_FREE]
    if row:
        head[LEAF_FREE] = tables.leaf[row, 0]
    else:
        row = head[LEAF_NEXT]
        head[LEAF_NEXT] += 1
    head[LEAVES] += 1
    _save_leaf(tables, mark, row)
    return row


@numba.njit(cache=True, nogil=True)
def _free_inner(tables: Tables, row: int) -> None:
    """The row was saved when the path to it was walked."""
    tables.inner[row, 0] = tables.head[INNER_FREE]
    tables.head[INNER_FREE] = row


@numba.njit(cache=True, nogil=True)
def _free_leaf(tables: Tables, mark: int, row: int) -> None:
    _save_leaf(tables, mark, row)
    tables.leaf[row, 0] = tables.head[LEAF_FREE]
    tables.head[LEAF_FREE] = row
    tables.head[LEAVES] -= 1


@numba.njit(cache=True, nogil=True)
def _save_inner(tables: Tables, mark: int, row: int) -> None:
    if tables.inner_mark[row] != mark:
        tables.inner_mark[row] = mark
        place = tables.head[INNER_SAVED]
        tables.saved_inner_row[place] = row
        for column in range(INNER_COLUMNS):
            tables.saved_inner[place, column] = tables.inner[row, column]
        tables.head[INNER_SAVED] = place + 1


@numba.njit(cache=True, nogil=True)
def _save_leaf(tables: Tables, mark: int, row: int) -> None:
    if tables.leaf_mark[row] != mark:
        tables.leaf_mark[row] = mark
        place = tables.head[LEAF_SAVED]
        tables.saved_leaf_row[place] = row
        for column in range(LEAF_COLUMNS):
            tables.saved_leaf[place, column] = tables.leaf[row, column]
        tables.head[LEAF_SAVED] = place + 1


@numba.njit(cache=True, nogil=True)
def _bit(key: NDArray[np.uint32], depth: int) -> int:
    return np.int64((key[depth >> 5] >> np.uint32(31 - (depth & 31))) & np.uint32(1))


@numba.njit(cache=True, nogil=True)
def _same_key(row: NDArray[np.uint32], key: NDArray[np.uint32]) -> bool:
    for t in range(8):  # noqa: SIM110 - numba compiles this loop, not `all` of a generator
        if row[t] != key[t]:
            return False
    return True
