"""Tests of worker threads' names, and of the profiles by thread that `run --profile` writes."""

from __future__ import annotations

import hashlib
import pstats
import sys
import threading
from pathlib import Path

import pytest

from chain.cli.profiling import Profiles
from chain.threads import workers


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows names of threads in /proc")
def test_threads_bear_the_name_of_their_pool() -> None:
    with workers(1, "a pool with a long name") as pool:
        comm = pool.submit(lambda: Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text()).result()
    assert comm == "a pool with a l\n"


def hash_often() -> None:
    for _ in range(2000):
        hashlib.sha256(b"").digest()


def test_profiles_are_written_for_the_loop_and_for_every_pool(tmp_path: Path) -> None:
    profiles = Profiles()
    profiles.start()
    try:
        sum(number for number in range(10))
        for name in ("first", "second"):
            with workers(2, name) as pool:
                pool.submit(hash_often).result()
    finally:
        profiles.write(tmp_path / "profile")
    assert {path.name for path in tmp_path.iterdir()} == {"profile", "profile.first", "profile.second"}
    for name in ("first", "second"):
        rows = pstats.Stats(str(tmp_path / f"profile.{name}")).stats  # type: ignore[attr-defined]
        (own,) = [row for (_, _, function), row in rows.items() if function == "hash_often"]
        assert own[0] == 1
        assert own[3] > 0
