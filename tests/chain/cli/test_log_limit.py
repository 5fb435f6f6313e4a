"""A stranger makes a node log a bounded number of lines, and what is left out is told."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from chain.cli.log_limit import LineLimit


class Lines:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.out = io.StringIO()
        self.handler = logging.StreamHandler(self.out)
        self.handler.addFilter(LineLimit("tested.network", burst=3, per_second=0.5, clock_s=lambda: self.now_s))

    def take(self) -> list[str]:
        text = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return text.splitlines()


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines()
    root = logging.getLogger("tested")
    root.addHandler(made.handler)
    root.setLevel(logging.INFO)
    yield made
    root.removeHandler(made.handler)


def test_lines_beyond_the_burst_are_left_out_and_counted(lines: Lines) -> None:
    log = logging.getLogger("tested.network")
    for number in range(10):
        log.info("no handshake with %s: %d", "host", number)
    assert lines.take() == [f"no handshake with host: {number}" for number in range(3)]
    lines.now_s = 2.0
    log.info("no handshake with %s", "host")
    log.info("no handshake with %s", "host")
    assert lines.take() == ["no handshake with host (7 lines before this one are left out)"]
    lines.now_s = 1_000.0
    for _ in range(10):
        log.info("quiet for long")
    assert len(lines.take()) == 3


def test_warnings_and_other_loggers_always_pass(lines: Lines) -> None:
    for _ in range(10):
        logging.getLogger("tested.network").warning("a full disk")
        logging.getLogger("tested.node").info("block")
    assert len(lines.take()) == 20
