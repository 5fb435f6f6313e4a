"""Home of system call traces: what a running process writes, syncs and sends, in the order in which it happened."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TRACED = "write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync,sync_file_range,openat,rename,renameat,renameat2"
_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_FILE = re.compile(r"\d+<(?P<path>[^>]*)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_RESULT = re.compile(r"= (-?\d+)(?:<[^>]*>)?(?: \w+ \(.*\))?$")


@dataclass
class Call:
    """One system call. `started` and `ended` are places in the order of all that was traced."""

    thread: int
    name: str
    path: str  # of the file that it is about; "socket:[...]" and the like for others
    data: bytes  # what it writes or sends
    started: int
    ended: int = -1
    result: int = -1


@contextmanager
def traced(process: int, output: Path) -> Iterator[None]:
    """Trace all threads of a process for the time of the block."""
    line = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={TRACED}", "-o", output, "-p", process]
    tracer = subprocess.Popen([str(word) for word in line], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        assert "attached" in first, first
        time.sleep(0.5)  # until it has every thread
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=30)


def read_trace(output: Path) -> list[Call]:
    """The calls of a trace, in the order in which they started; those that had not ended at its end are left out."""
    calls: list[Call] = []
    open_calls: dict[int, Call] = {}
    for place, line in enumerate(output.read_text().splitlines()):
        resumed, begun = _RESUMED.match(line), _CALL.match(line)
        if resumed:
            call = open_calls.pop(int(resumed["thread"]), None)
            if call is not None:
                _end(call, resumed["rest"], place)
        elif begun:
            call = _begin(begun, place)
            calls.append(call)
            if begun["rest"].endswith("<unfinished ...>"):
                open_calls[call.thread] = call
            else:
                _end(call, begun["rest"], place)
    return [call for call in calls if call.ended >= 0]


def _begin(match: re.Match[str], place: int) -> Call:
    file = _FILE.match(match["rest"])
    data = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(match["rest"]))
    path = _unescaped(file["path"]) if file else ""
    return Call(thread=int(match["thread"]), name=match["name"], path=path, data=data, started=place)


def _unescaped(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode() if text.startswith("\\x") else text


def _end(call: Call, rest: str, place: int) -> None:
    result = _RESULT.search(rest)
    if result:
        call.ended, call.result = place, int(result[1])
