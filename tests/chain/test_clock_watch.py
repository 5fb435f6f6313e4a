"""Tests of the clock's watch: who is wrong hears of it once a minute, who is right never."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.clock_watch import BLOCKS, ClockWatch
from chain.executor import Chain, Prepared
from chain.node import Committed
from chain.storage.store import Store
from tests.chain.ledger_world import PROPOSER, network

GENESIS = network()
TIME_MS = 1_000_000


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    with Store.open(tmp_path / "chain", create=True, genesis=GENESIS.hash) as store:
        return Chain(store, GENESIS).build([], time_ms=TIME_MS, proposer=PROPOSER, last_commit=b"")


def _warnings(
    prepared: Prepared,
    caplog: pytest.LogCaptureFixture,
    clocks_ms: list[int],
    *,
    live: bool = True,
    finality_ms: int = 0,
) -> list[str]:
    """What is said of blocks of TIME_MS that are committed a second apart, when our clock shows these."""
    seconds = iter(range(len(clocks_ms)))
    clocks = iter(clocks_ms)
    watch = ClockWatch(lambda: next(clocks), lambda: float(next(seconds)))
    for _ in clocks_ms:
        watch.committed(Committed(prepared=prepared, finality_ms=float(finality_ms), live=live))
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(("off", "said"), [(7000, "7 s ahead of"), (-6000, "6 s behind")])
def test_a_clock_that_differs_is_told_of_once_a_minute(
    prepared: Prepared, caplog: pytest.LogCaptureFixture, off: int, said: str
) -> None:
    found = _warnings(prepared, caplog, [prepared.block.header.time_ms + off] * (BLOCKS + 61))
    assert len(found) == 2
    assert said in found[0]


def test_slow_blocks_fetched_blocks_and_a_proposer_with_a_wrong_clock_are_no_reason(
    prepared: Prepared, caplog: pytest.LogCaptureFixture
) -> None:
    own = prepared.block.header.time_ms
    assert not _warnings(prepared, caplog, [own + 4900] * 20)
    assert not _warnings(prepared, caplog, [own + 30_000] * 20, finality_ms=30_000)
    assert not _warnings(prepared, caplog, [own + 10**6] * 20, live=False)
    assert not _warnings(prepared, caplog, [own, own, own + 10**5, own] * 20)
