"""Home of tests of how the live status looks."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.cli.status_screen import render
from chain.cli.status_view import RoundLine, Snapshot, TaskLine, UpdateLine, current_task
from chain.operations.clock import Clock
from chain.operations.learning_state import Fate, RoundStatus, TaskEntry, TaskStatus
from chain.types import COIN

NAT = 1 << 20
CLOCK = Clock(start=1, cycle=20, reveal=2, open=2, hold=3, rounds=30)


def task_at(height: int) -> TaskLine:
    """The task in the block after `height`."""
    return TaskLine(
        name="digits",
        clock=CLOCK,
        round=CLOCK.cycle_of(height + 1),
        phase=CLOCK.phase_of(height + 1),
        position=CLOCK.position_of(height + 1) if height + 1 >= CLOCK.start else height + 1 - CLOCK.start,
        others=("breast-cancer", "wine"),
    )


def settled(number: int, *, accepted: bool = True) -> RoundLine:
    return RoundLine(
        number=number,
        status=RoundStatus.SETTLED,
        accepted=accepted,
        samples=27,
        loss_before=NAT + number,
        loss_after=NAT // 2,
        correct=20,
        paid=12 * COIN,
    )


def update(miner: str, fate: Fate, reward: int = 0, charge: int = 0) -> UpdateLine:
    return UpdateLine(miner=miner, fate=fate, contribution=NAT // 100, reward=reward, charge=charge, cut=0)


SNAPSHOT = Snapshot(
    chain_id=1280918341,
    is_development=True,
    url="http://127.0.0.1:8545",
    directory="lyceum-data",
    height=251,
    block_interval_ms=1000,
    block_at=100.0,
    finality_ms=12.4,
    transactions=1234,
    transactions_per_second=3.25,
    pool=2,
    backlog=0,
    task=task_at(251),
    rounds=tuple(settled(number) for number in range(12)),
    updates=(
        update("miner-1", Fate.ACCEPTED, reward=3 * COIN, charge=COIN),
        update("miner-2", Fate.NO_GAIN, charge=COIN),
        update("miner-3", Fate.COPY),
    ),
    balances=tuple((name, 1_000 * COIN) for name in ("miner-1", "miner-2", "miner-3", "custodian")),
    warning="",
)


def lines_of(snapshot: Snapshot, width: int = 80, height: int = 24) -> list[str]:
    return [line.plain for line in render(snapshot, 100.5, width, height)]


def test_a_terminal_of_80_by_24_shows_everything() -> None:
    lines = lines_of(SNAPSHOT)
    assert len(lines) <= 24
    assert not [line for line in lines if "…" in line]
    text = "\n".join(lines)
    for wanted in (
        "http://127.0.0.1:8545", "1280918341", "height 251", "0.5 s ago", "12 ms", "1234, 3.2/s", "pool 2", "digits",
        "round 12 of 30", "commit", "11/20 blocks, 9 s left", "then breast-cancer, wine", "custodian 1000.00",
    ):  # fmt: skip
        assert wanted in text
    assert sum("→" in line for line in lines) == 8
    assert "   11    1.0000 →  0.5000     74.1 %     12.00" in text
    earned = [line.split()[3] for line in lines if line.startswith("miner-") and "nat" in line]
    assert earned == ["2.00", "-1.00", "0.00"]
    assert "a copy of an earlier update" in text


@settings(deadline=None, max_examples=100)
@given(
    width=st.integers(1, 250),
    height=st.integers(1, 100),
    at=st.integers(-50, 800),
    rounds=st.integers(0, 32),
    updates=st.integers(0, 32),
    warning=st.sampled_from(["", "w" * 300]),
)
def test_a_terminal_of_any_size_is_never_overrun(
    width: int, height: int, at: int, rounds: int, updates: int, warning: str
) -> None:
    snapshot = dataclasses.replace(
        SNAPSHOT,
        task=task_at(at),
        rounds=SNAPSHOT.rounds[:1] * rounds,
        updates=SNAPSHOT.updates[:1] * (updates if rounds else 0),
        warning=warning,
    )
    lines = render(snapshot, 100.0, width, height)
    assert len(lines) <= height
    assert max(line.cell_len for line in lines) <= max(width, 20)


def test_a_higher_terminal_shows_more_rounds_and_a_low_one_the_newest() -> None:
    assert sum("→" in line for line in lines_of(SNAPSHOT, height=40)) == 12
    low = [line for line in lines_of(SNAPSHOT, height=16) if "→" in line]
    assert [int(line.split()[0]) for line in low] == [8, 9, 10, 11]


def test_a_late_block_a_backlog_and_warnings_catch_the_eye() -> None:
    troubled = dataclasses.replace(SNAPSHOT, backlog=1, warning="miner-1 ended with status 1")
    text = "\n".join(lines_of(troubled))
    assert "evaluating" in text
    assert "warning: miner-1 ended with status 1" in text
    (line,) = [line for line in render(SNAPSHOT, 110.0, 80, 24) if "10.0 s ago" in line.plain]
    assert "red" in {str(span.style) for span in line.spans}


def test_beginning_and_end_of_a_task_are_told() -> None:
    fresh = dataclasses.replace(SNAPSHOT, task=task_at(-10), rounds=(), updates=(), finality_ms=None)
    assert "begins in 10 blocks" in "\n".join(lines_of(fresh))
    assert "no round has been settled yet" in "\n".join(lines_of(fresh))
    assert "all its rounds have been played" in "\n".join(lines_of(dataclasses.replace(SNAPSHOT, task=task_at(700))))
    assert "no task is being taught" in "\n".join(lines_of(dataclasses.replace(SNAPSHOT, task=None)))


def test_the_task_that_is_shown_is_the_active_one_that_began_last() -> None:
    def entry(start: int, status: TaskStatus) -> TaskEntry:
        return TaskEntry(task=bytes([start]) * 32, status=status, clock=dataclasses.replace(CLOCK, start=start))

    first, second, third = (entry(start, TaskStatus.ACTIVE) for start in (1, 50, 90))
    assert current_task((first, second, third), 49) is first
    assert current_task((first, second, third), 50) is second
    assert current_task((entry(1, TaskStatus.OVER), second, third), 10) is second
    over = tuple(entry(start, TaskStatus.OVER) for start in (1, 50))
    assert current_task(over, 99) is over[1]
    assert current_task((), 99) is None
