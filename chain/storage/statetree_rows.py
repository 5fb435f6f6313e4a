"""Home of the state tree's flat arrays: what a row holds, and how rows are saved, taken and given back.

A reference is a uint32: 0 is the empty subtree, with the top bit set it is a leaf's row, otherwise an inner node's row.
Every row is saved once an update, before its first change, so that writing the saved rows takes the update back. Free
rows form lists through their first word.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

LEAF = 1 << 31  # the bit of a reference that says: a leaf
ROW = LEAF - 1  # the bits that say which row

# Columns of an inner row, and of a leaf row.
CHILDREN, INNER_HASH, INNER_COLUMNS = 0, 2, 10
KEY, VALUE_HASH, LEAF_HASH, LEAF_COLUMNS = 0, 8, 16, 24

# Places in `head`. The first five are part of the tree, the last two count the rows saved in this update.
ROOT, INNER_NEXT, INNER_FREE, LEAF_NEXT, LEAF_FREE, LEAVES, INNER_SAVED, LEAF_SAVED = range(8)
HEAD_PLACES = 8


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
def new_inner(tables: Tables, mark: int) -> int:
    head = tables.head
    row: int = head[INNER_FREE]
    if row:
        head[INNER_FREE] = tables.inner[row, 0]
    else:
        row = head[INNER_NEXT]
        head[INNER_NEXT] += 1
    save_inner(tables, mark, row)
    tables.inner[row, 0] = 0
    tables.inner[row, 1] = 0
    return row


@numba.njit(cache=True, nogil=True)
def new_leaf(tables: Tables, mark: int) -> int:
    head = tables.head
    row: int = head[LEAF_FREE]
    if row:
        head[LEAF_FREE] = tables.leaf[row, 0]
    else:
        row = head[LEAF_NEXT]
        head[LEAF_NEXT] += 1
    head[LEAVES] += 1
    save_leaf(tables, mark, row)
    return row


@numba.njit(cache=True, nogil=True)
def free_inner(tables: Tables, row: int) -> None:
    """The row was saved when the path to it was walked."""
    tables.inner[row, 0] = tables.head[INNER_FREE]
    tables.head[INNER_FREE] = row


@numba.njit(cache=True, nogil=True)
def free_leaf(tables: Tables, mark: int, row: int) -> None:
    save_leaf(tables, mark, row)
    tables.leaf[row, 0] = tables.head[LEAF_FREE]
    tables.head[LEAF_FREE] = row
    tables.head[LEAVES] -= 1


@numba.njit(cache=True, nogil=True)
def save_inner(tables: Tables, mark: int, row: int) -> None:
    if tables.inner_mark[row] != mark:
        tables.inner_mark[row] = mark
        place = tables.head[INNER_SAVED]
        tables.saved_inner_row[place] = row
        for column in range(INNER_COLUMNS):
            tables.saved_inner[place, column] = tables.inner[row, column]
        tables.head[INNER_SAVED] = place + 1


@numba.njit(cache=True, nogil=True)
def save_leaf(tables: Tables, mark: int, row: int) -> None:
    if tables.leaf_mark[row] != mark:
        tables.leaf_mark[row] = mark
        place = tables.head[LEAF_SAVED]
        tables.saved_leaf_row[place] = row
        for column in range(LEAF_COLUMNS):
            tables.saved_leaf[place, column] = tables.leaf[row, column]
        tables.head[LEAF_SAVED] = place + 1
