"""Home of small disks in tests, which can be filled."""

from __future__ import annotations

import contextlib
from pathlib import Path

FREE_BYTES = 64 << 10  # what is left on a full disk: room for some blocks, and then no more


def fill(disk: Path) -> Path:
    """Fill a disk but for FREE_BYTES; the file that does it."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - FREE_BYTES)
    return ballast
