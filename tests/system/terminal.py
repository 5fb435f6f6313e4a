"""Home of a terminal in tests: a process that runs in one, what it has drawn, and keys that are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.system.processes import ROOT, STOP_SECONDS, clean_environment, command


class Terminal:
    """One end of a pseudo-terminal; the process has the other one as its controlling terminal."""

    def __init__(self, arguments: tuple[object, ...], size: tuple[int, int], changes: Mapping[str, str] | None) -> None:
        self._end, self.other_end = pty.openpty()
        self.resize(*size)
        self.settings: list[Any] = termios.tcgetattr(self.other_end)
        self.output = ""
        self.process = subprocess.Popen(
            command(*arguments),
            stdin=self.other_end,
            stdout=self.other_end,
            stderr=self.other_end,
            cwd=ROOT,
            env=clean_environment({"TERM": "xterm-256color", **(changes or {})}),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.other_end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def read(self, seconds: float) -> None:
        """Take in what is drawn within so many seconds, or at once if there is something."""
        if select.select([self._end], [], [], seconds)[0]:
            self.output += os.read(self._end, 65536).decode(errors="replace")

    def wait_for(self, text: str, seconds: float = 60.0, since: int = 0) -> None:
        """Wait until a text has been drawn after `since` characters of output."""
        deadline = time.monotonic() + seconds
        while text not in self.output[since:]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.output[-3000:]!r}"
            self.read(0.1)

    def wait(self) -> int:
        """Wait for the end of the process, taking in what it still draws; the exit status."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on: {self.output[-3000:]!r}"
            self.read(0.1)
        self.read(0.1)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._end)
        os.close(self.other_end)


@contextmanager
def terminal(
    *arguments: object, size: tuple[int, int] = (80, 24), environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """`python -m chain ARGUMENTS` in a terminal of (columns, rows)."""
    opened = Terminal(arguments, size, environment)
    try:
        yield opened
    finally:
        opened.close()
