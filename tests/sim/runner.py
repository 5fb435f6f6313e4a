"""Home of running many seeds: in several processes, with results appended to a file from which a later run goes on."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.sim import history, planted

SEEDS_PER_PLANT_MAX = 5_000
FAILURE_CHARACTERS_MAX = 100  # of a planted fault's: the replay tells the rest
_CHUNK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one seed came to: a summary's numbers, or what failed."""

    seed: int
    cpu_s: float
    failure: str = ""
    numbers: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How a planted fault was found: after so many seeds, or not at all (0)."""

    plant: str
    seeds: int
    seed: int  # that fails
    failure: str
    cpu_s: float


def run_seed(seed: int) -> Result:
    """One history. Anything that breaks is a find."""
    began = time.process_time()
    try:
        summary = history.run(seed)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        return Result(seed=seed, cpu_s=time.process_time() - began, failure=failure[:2000], numbers={})
    numbers = {name: number for name, number in asdict(summary).items() if name != "seed"}
    return Result(seed=seed, cpu_s=time.process_time() - began, numbers=numbers)


def run_seeds(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """Results as they come, in any order where there are several jobs."""
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=_CHUNK)


def run_to_file(seeds: range, jobs: int, path: Path) -> list[Result]:
    """Run the seeds that the file does not have yet, appending each result; all results of the range."""
    known = {result.seed: result for result in read_results(path) if result.seed in seeds}
    with path.open("a") as file:
        for result in run_seeds([seed for seed in seeds if seed not in known], jobs):
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()
            known[result.seed] = result
    return [known[seed] for seed in seeds]


def read_results(path: Path) -> list[Result]:
    """The results in a file; a last line that was cut off is none."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]))
        lines.pop()
    return [Result(**json.loads(line)) for line in lines]


def find(plant: str, *, first: int = 0, seeds_max: int = SEEDS_PER_PLANT_MAX) -> Found:
    """Search seeds until one fails with a fault planted."""
    began = time.process_time()
    with planted.planted(plant):
        for count in range(1, seeds_max + 1):
            result = run_seed(first + count - 1)
            if result.failure:
                cpu_s = time.process_time() - began
                return Found(
                    plant=plant,
                    seeds=count,
                    seed=result.seed,
                    failure=result.failure[:FAILURE_CHARACTERS_MAX],
                    cpu_s=cpu_s,
                )
    return Found(plant=plant, seeds=0, seed=-1, failure="", cpu_s=time.process_time() - began)


def find_all(plants: list[str], jobs: int) -> Iterator[Found]:
    """Search for every planted fault, each in one process."""
    if jobs == 1:
        yield from map(find, plants)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(find, plants)
