"""Home of the simulator's command line: `python -m tests.sim --seeds N`."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from tests.sim import history, planted, runner
from tests.sim.runner import Found, Result


def main(arguments: list[str] | None = None) -> int:
    """Run seeds, or search for planted faults; the exit status is 1 where a history fails or a fault is not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many histories (200)")
    parser.add_argument("--from", type=int, default=0, metavar="SEED", dest="first", help="the first seed (0)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="replay a single seed, with its traceback")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append results here, and go on where it ends")
    parser.add_argument(
        "--plant",
        metavar="NAME",
        help="plant a fault, to see it found; 'all' searches for each. One of: " + "; ".join(planted.FAULTS),
    )
    given = parser.parse_args(arguments)
    if given.plant == "all":
        return _find_all(given.jobs)
    if given.plant is not None and given.plant not in planted.FAULTS:
        parser.error(f"there is no fault {given.plant!r} to be planted; see --help")
    if given.seed is not None:
        return _replay(given.seed, given.plant)
    if given.plant:
        return 1 - _tell_found(runner.find(given.plant, first=given.first, seeds_max=given.seeds))
    return _run(range(given.first, given.first + given.seeds), given.jobs, given.out)


def _replay(seed: int, plant: str | None) -> int:
    """One history, with the traceback of what fails."""
    if plant:
        with planted.planted(plant):
            print(history.run(seed))
    else:
        print(history.run(seed))
    return 0


def _run(seeds: range, jobs: int, out: Path | None) -> int:
    results: list[Result] = []
    if out is not None:
        results = runner.run_to_file(seeds, jobs, out)
    else:
        for result in runner.run_seeds(seeds, jobs):
            results.append(result)
            if result.failure:
                break
    failed = [result for result in results if result.failure]
    for result in failed:
        print(f"seed {result.seed} failed: {result.failure}")
        print(f"replay it: python -m tests.sim --seed {result.seed}")
    print(table(results))
    return 1 if failed else 0


def table(results: list[Result]) -> str:
    """A summary in one line."""
    good = [result.numbers for result in results if not result.failure]

    def total(name: str) -> int:
        return sum(numbers[name] for numbers in good)

    cpu_s = sum(result.cpu_s for result in results) / max(len(results), 1)
    violations = len(results) - len(good)
    return (
        f"{len(results)} histories with {violations or 'no'} violation{'s' * (violations != 1)},"
        f" {cpu_s:.3f} s of CPU each: {total('decided')} heights decided, {total('settled')} rounds settled,"
        f" {total('sets')} validator sets, {total('slashed')} validators slashed, {total('crashes')} crashes,"
        f" {total('events')} events, {total('checks')} checks of messages,"
        f" up to round {max((numbers['rounds_max'] for numbers in good), default=0)},"
        f" {total('time_ms') // 60_000} simulated minutes"
    )


def _find_all(jobs: int) -> int:
    found = []
    for each in runner.find_all(list(planted.FAULTS), jobs):
        found.append(each)
        _tell_found(each)
    needed = [each.seeds for each in found if each.seeds]
    print(f"{len(needed)} of {len(found)} planted faults found, median {statistics.median(needed or [0]):.0f} seeds")
    return 0 if len(needed) == len(found) else 1


def _tell_found(found: Found) -> bool:
    if not found.seeds:
        print(f"{found.plant}: not found, {found.cpu_s:.0f} s", flush=True)
        return False
    seeds = f"{found.seeds} seed{'s' * (found.seeds != 1)}"
    replay = f'python -m tests.sim --seed {found.seed} --plant "{found.plant}"'
    print(f"{found.plant}: found after {seeds}, {replay}: {found.failure}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
