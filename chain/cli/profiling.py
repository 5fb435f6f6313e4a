"""Home of `run --profile`: every thread's processor time by function, written when the node has ended."""

from __future__ import annotations

import cProfile
import pstats
import threading
import time
from pathlib import Path

LOOP = "loop"


class Profiles:
    """One profile for each thread; those of a pool's threads are added up under the pool's name."""

    def __init__(self) -> None:
        self._profiles: list[tuple[str, cProfile.Profile]] = []

    def start(self) -> None:
        """Profile the calling thread, the event loop's, and every thread that starts from now on."""
        threading.setprofile(self._first_call)
        self._enable(LOOP)

    def _first_call(self, *_: object) -> None:
        """What a new thread calls first; from then on its profile has this function's place."""
        self._enable(threading.current_thread().name.rpartition("_")[0] or "other")

    def _enable(self, name: str) -> None:
        profile = cProfile.Profile(time.thread_time_ns, 1e-9)  # what the thread takes of the processor, not its waits
        self._profiles.append((name, profile))
        profile.enable()

    def write(self, path: Path) -> None:
        """The event loop's to `path`, the others' beside it, each with its name as a suffix."""
        threading.setprofile(None)  # type: ignore[arg-type]
        by_name: dict[str, list[cProfile.Profile]] = {}
        for name, profile in self._profiles:
            profile.create_stats()
            if profile.stats:  # type: ignore[attr-defined]
                by_name.setdefault(name, []).append(profile)
        for name, profiles in by_name.items():
            pstats.Stats(*profiles).dump_stats(path if name == LOOP else path.with_name(f"{path.name}.{name}"))
