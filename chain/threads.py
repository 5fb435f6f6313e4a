"""Home of worker threads: pools whose threads bear their name in the operating system too, as `top -H` shows it."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME_BYTES_MAX = 15  # of Linux; the rest of a longer name is cut off


def workers(count: int, name: str) -> ThreadPoolExecutor:
    """A pool of at most `count` threads, made when they are needed."""
    return ThreadPoolExecutor(count, name, initializer=_tell_name, initargs=(name,))


def _tell_name(name: str) -> None:
    with contextlib.suppress(OSError):  # only Linux has this file
        comm = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
        comm.write_bytes(name.encode()[:NAME_BYTES_MAX])
