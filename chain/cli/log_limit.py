"""Home of the bound on lines that strangers can make a node log: whoever fails to connect all day fills no disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

LINES_BURST: Final = 200
LINES_PER_SECOND: Final = 1.0


class LineLimit(logging.Filter):
    """Lets a logger's lines up to INFO through at a bounded rate; the next one that passes says how many did not.

    Warnings and worse always pass: what raises those has bounds of its own.
    """

    def __init__(
        self,
        name: str,
        *,
        burst: int = LINES_BURST,
        per_second: float = LINES_PER_SECOND,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._limited = name
        self._burst, self._per_second, self._clock_s = burst, per_second, clock_s
        self._left, self._then_s = float(burst), clock_s()
        self._dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != self._limited or record.levelno > logging.INFO:
            return True
        now_s = self._clock_s()
        self._left = min(self._burst, self._left + (now_s - self._then_s) * self._per_second)
        self._then_s = now_s
        if self._left < 1:
            self._dropped += 1
            return False
        self._left -= 1
        if self._dropped:
            record.msg = f"{record.getMessage()} ({self._dropped} lines before this one are left out)"
            record.args = ()
            self._dropped = 0
        return True
