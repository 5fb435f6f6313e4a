"""Histories of validators, miners and custodians under faults hold what must hold; the checkers see what is planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sim import history, planted, runner
from tests.sim.__main__ import main

SEEDS = 150
SEEDS_TO_FIND = 60
SOUGHT_LONGER = {
    "a key without its log does not abstain",
    "a key without its log abstains too shortly",
    "a round is left without a precommit",
    "the lock is forgotten on restart",
    "there is no lock",
    "the own clock turns down a block proposed again",
    "catching up takes a commit of too little power",
    "a compact proposal is completed without its root",
}
"""Faults that take tens or hundreds of seeds; `python -m tests.sim --plant all` looks for them."""


def test_histories_hold_agreement_money_logs_learning_and_progress() -> None:
    summaries = []
    for seed in range(SEEDS):
        try:
            summaries.append(history.run(seed))
        except Exception as error:
            raise AssertionError(f"replay it: python -m tests.sim --seed {seed}") from error
    # The histories are worth something only if things happen in them.
    assert sum(summary.decided for summary in summaries) > 5 * SEEDS
    assert sum(summary.settled for summary in summaries) > SEEDS // 3
    assert sum(summary.crashes for summary in summaries) > 5 * SEEDS
    assert sum(summary.sets for summary in summaries) > 1.5 * SEEDS
    assert sum(summary.slashed for summary in summaries) >= 5
    assert max(summary.rounds_max for summary in summaries) >= 3


@pytest.mark.parametrize("seed", [3, 8, 13])
def test_a_seed_replays_to_the_same_history(seed: int) -> None:
    assert history.run(seed) == history.run(seed)


@pytest.mark.parametrize("name", [name for name in planted.FAULTS if name not in SOUGHT_LONGER])
def test_checkers_see_a_planted_fault(name: str) -> None:
    assert runner.find(name, seeds_max=SEEDS_TO_FIND).seeds, f"nothing saw that {name}"


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(SOUGHT_LONGER))
def test_checkers_see_a_rare_planted_fault(name: str) -> None:
    assert runner.find(name).seeds, f"nothing saw that {name}"


def test_command_prints_how_to_replay_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a vote is sent before it is synced"
    assert main(["--seeds", "5", "--plant", name]) == 0
    assert capsys.readouterr().out.startswith(
        f'{name}: found after 1 seed, python -m tests.sim --seed 0 --plant "{name}"'
    )
    with pytest.raises(AssertionError, match="before it was synced"):
        main(["--seed", "0", "--plant", name])


def test_a_long_run_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.jsonl"
    assert main(["--seeds", "2", "--out", str(out)]) == 0
    known = out.read_text()
    out.write_text(known + '{"seed": 2, "cp')  # the process ended here
    assert main(["--seeds", "3", "--out", str(out)]) == 0
    assert out.read_text().startswith(known)
    assert [json.loads(line)["seed"] for line in out.read_text().splitlines()] == [0, 1, 2]
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 histories with no violations")


@pytest.mark.soak
def test_many_histories_hold() -> None:
    assert main(["--from", "1000000", "--seeds", "20000"]) == 0
