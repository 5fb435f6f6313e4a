"""Home of the simulator's command line: `python -m tests.sim --seeds N`."""

import argparse
import sys
import time
import traceback

from tests.sim import history, planted
from tests.sim.world import Summary


def main(arguments: list[str] | None = None) -> int:
    """Run seeds until one fails; the exit status is 1 then, and a line says how to see it again."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many histories (200)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed (0)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="replay a single seed, with its traceback")
    parser.add_argument("--plant", choices=sorted(planted.FAULTS), help="plant a fault, to see it found")
    given = parser.parse_args(arguments)
    if given.plant:
        with planted.planted(given.plant):
            return _run(given)
    return _run(given)


def _run(given: argparse.Namespace) -> int:
    seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.seeds)
    began = time.process_time()
    summaries: list[Summary] = []
    for seed in seeds:
        try:
            summaries.append(history.run(seed))
        except Exception as error:  # anything that breaks is a find
            if given.seed is not None:
                traceback.print_exc()
            plant = f' --plant "{given.plant}"' if given.plant else ""
            print(f"seed {seed} failed: {type(error).__name__}: {error}")
            print(f"replay it: python -m tests.sim --seed {seed}{plant}")
            return 1
    print(_table(summaries, time.process_time() - began))
    return 0


def _table(summaries: list[Summary], cpu_s: float) -> str:
    return (
        f"{len(summaries)} histories without a violation, {cpu_s / max(len(summaries), 1):.3f} s of CPU each:"
        f" {sum(s.decided for s in summaries)} heights decided, {sum(s.crashes for s in summaries)} crashes,"
        f" {sum(s.events for s in summaries)} events, {sum(s.checks for s in summaries)} messages checked,"
        f" up to round {max((s.rounds_max for s in summaries), default=0)},"
        f" {sum(s.time_ms for s in summaries) // 60_000} simulated minutes"
    )


if __name__ == "__main__":
    sys.exit(main())
