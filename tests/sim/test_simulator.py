"""Histories of four validators under faults hold what must hold; and the checkers see what is planted."""

import pytest

from tests.sim import history, planted
from tests.sim.__main__ import main

SEEDS = 200
SEEDS_TO_FIND = 80


def test_histories_hold_agreement_log_and_progress() -> None:
    summaries = []
    for seed in range(SEEDS):
        try:
            summaries.append(history.run(seed))
        except Exception as error:
            raise AssertionError(f"replay it: python -m tests.sim --seed {seed}") from error
    # The histories are worth something only if things happen in them.
    assert sum(summary.decided for summary in summaries) > 5 * SEEDS
    assert sum(summary.crashes for summary in summaries) > 5 * SEEDS
    assert max(summary.rounds_max for summary in summaries) >= 3


@pytest.mark.parametrize("seed", [3, 8, 13])
def test_a_seed_replays_to_the_same_history(seed: int) -> None:
    assert history.run(seed) == history.run(seed)


@pytest.mark.parametrize("name", planted.FAULTS)
def test_checkers_see_a_planted_fault(name: str) -> None:
    with planted.planted(name):
        assert any(_fails(seed) for seed in range(SEEDS_TO_FIND)), f"nothing saw that {name}"


def test_command_prints_how_to_replay_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "5", "--plant", "a vote is sent before it is synced"]) == 1
    assert 'python -m tests.sim --seed 0 --plant "a vote is sent before it is synced"' in capsys.readouterr().out
    assert main(["--seeds", "3"]) == 0
    assert capsys.readouterr().out.startswith("3 histories without a violation")


@pytest.mark.soak
def test_many_histories_hold() -> None:
    assert main(["--first", "1000000", "--seeds", "20000"]) == 0


def _fails(seed: int) -> bool:
    try:
        history.run(seed)
    except Exception:
        return True
    return False
