"""Home of tests that one history gives the same roots however it is computed: threads, backends, instruction sets."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from chain.cli.main import main
from tests.system.learned import LONG_SETTLEMENTS, LearnedChains
from tests.system.processes import run_command

pytestmark = pytest.mark.system

BACKENDS = ("kernel", "float64", "reference")
# Without AVX-512, and without AVX2 too. The first use of each takes long, as every kernel is compiled anew.
PROCESSORS = ("haswell", pytest.param("nehalem", marks=pytest.mark.soak))


@cache
def replayed_by_a_process(directory: Path, processor: str = "") -> dict[str, Any]:
    """What `verify` finds, in a process that compiles for the machine's own processor or for another."""
    # The name alone would leave the machine's own features switched on.
    chosen = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""} if processor else {}
    found = run_command("verify", "--data-dir", directory, "--json", environment=chosen, timeout=180)
    assert found.status == 0, found.errors
    return dict(json.loads(found.output))


@pytest.mark.parametrize(("backend", "threads"), list(product(BACKENDS, (1, 2))))
def test_every_backend_and_number_of_threads_gives_the_same_roots(
    learned_chains: LearnedChains, capsys: pytest.CaptureFixture[str], backend: str, threads: int
) -> None:
    """Every settlement is judged anew with it, so each record and head of the history must come out the same."""
    capsys.readouterr()
    chosen = ["--evaluation", backend, "--threads", str(threads)]
    assert main(["verify", "--data-dir", str(learned_chains.long), "--json", *chosen]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settlements"] >= LONG_SETTLEMENTS
    assert found == replayed_by_a_process(learned_chains.long)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_instruction_sets_give_the_same_roots(learned_chains: LearnedChains, processor: str) -> None:
    assert replayed_by_a_process(learned_chains.long, processor) == replayed_by_a_process(learned_chains.long)
