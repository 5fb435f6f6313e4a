"""Home of what benchmarks need of processes: free ports, CPU time by thread, the machine, a clean stop."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from random import SystemRandom

PR_SET_PDEATHSIG = 1
PORTS = 10_000, 32_000


def free_port() -> int:
    """A port that nothing listens on, out of the range that the system takes clients' ports from."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", SystemRandom().randrange(*PORTS)))
            return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads (Linux)."""
    return _ticks(Path(f"/proc/{pid}/stat")) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_by_thread(pid: int) -> dict[str, float]:
    """The same of each thread that lives, by name; threads of one name are added up."""
    found: dict[str, float] = {}
    for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
        name = "event loop" if task.name == str(pid) else (task / "comm").read_text().strip()
        found[name] = found.get(name, 0.0) + _ticks(task / "stat") / os.sysconf("SC_CLK_TCK")
    return found


def _ticks(stat: Path) -> int:
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def machine() -> dict[str, str | int]:
    """What figures were measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def stop(process: subprocess.Popen[bytes], seconds: float = 20) -> int:
    """Ask a process to end as Ctrl-C does, and kill it if it does not; returns its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def machine_cpu_seconds() -> float:
    """What all processes have taken of the machine so far, and what was taken from it by its host."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def end_with_parent() -> None:
    """For `preexec_fn`: the system kills this process when the one that started it ends, however it does (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it and live."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def tree_cpu_seconds(pid: int) -> float:
    """User and system time so far of a process and its children, those that have ended and been waited for too."""
    total = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")


def tree_memory_peak_bytes(pid: int) -> int:
    """The sum of the most memory that a process and its children have had resident, each at its own time."""
    total = 0
    for each in tree(pid):
        try:
            lines = Path(f"/proc/{each}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return total
