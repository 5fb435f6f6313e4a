"""Home of tables that commands print: drawn by rich on a terminal, aligned text for everything else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

NUMBERS = "+-.,0123456789 %"  # what cells of numbers are made of


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows of cells under their headers; columns of numbers are aligned to the right."""
    right = [all(set(row[i]) <= set(NUMBERS) for row in rows) for i in range(len(headers))]
    if sys.stdout.isatty():
        _print_drawn(headers, rows, right, title)
        return
    if title:
        print(title)
    print("\n".join(aligned([headers, *rows], right)))


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Lines whose columns are two spaces apart."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(right))]
    lines = []
    for row in rows:
        columns = zip(row, widths, right, strict=True)
        cells = [cell.rjust(width) if numbers else cell.ljust(width) for cell, width, numbers in columns]
        lines.append("  ".join(cells).rstrip())
    return lines


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one a line."""
    print("\n".join(aligned(fields, [False, False])))


def _print_drawn(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for header, numbers in zip(headers, right, strict=True):
        table.add_column(header, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = max(40, shutil.get_terminal_size().columns)
    Console(width=width, markup=False, highlight=False).print(table)


def short(hexadecimal: str, digits: int = 8) -> str:
    """The first digits of a long hexadecimal string, as people compare them."""
    return hexadecimal if len(hexadecimal) <= digits + 3 else f"{hexadecimal[: digits + 2]}…"
