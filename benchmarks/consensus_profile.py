"""Home of where the nodes' processor time goes: profiles of all threads of all nodes, by module and by function.

A profiled call looks costlier than it is, so read shares, not times.
"""

from __future__ import annotations

import pstats
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Function: TypeAlias = "tuple[str, int, str]"  # file, line, name
ROOT = Path(__file__).parents[1]
LOOP = "event loop"
SHARE_MIN = 0.005  # threads below it are left out
BUILT_IN = "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadProfile:
    """One thread's time in all nodes: its share of all threads', and shares of it by module and by function."""

    thread: str
    share: float
    modules: tuple[tuple[str, float], ...]
    functions: tuple[tuple[str, int, float], ...]  # function, calls, share


def summarise(paths: Sequence[Path], lines: int) -> list[ThreadProfile]:
    """The threads by descending share; `paths` are what nodes were given as `run --profile`."""
    by_thread: dict[str, list[str]] = {}
    for path in paths:
        for found in sorted(path.parent.glob(path.name + "*")):
            by_thread.setdefault(found.name.removeprefix(path.name).lstrip(".") or LOOP, []).append(str(found))
    spent = {thread: _stats(names) for thread, names in by_thread.items()}
    total = sum(sum(row[2] for row in stats.values()) for stats in spent.values())
    profiles = [
        _summary(thread, stats, total, lines)
        for thread, stats in spent.items()
        if sum(row[2] for row in stats.values()) >= SHARE_MIN * total
    ]
    return sorted(profiles, key=lambda profile: -profile.share)


def _stats(names: Sequence[str]) -> Mapping[Function, Any]:
    stats: Mapping[Function, Any] = pstats.Stats(*names).stats  # type: ignore[attr-defined]
    return stats


def _summary(thread: str, stats: Mapping[Function, Any], total: float, lines: int) -> ThreadProfile:
    own = sum(row[2] for row in stats.values())
    modules: dict[str, float] = {}
    for function, seconds in _by_caller(stats):
        modules[_module(function)] = modules.get(_module(function), 0.0) + seconds
    functions = sorted(stats.items(), key=lambda item: -item[1][2])[:lines]
    return ThreadProfile(
        thread=thread,
        share=own / total,
        modules=tuple((name, spent / own) for name, spent in sorted(modules.items(), key=lambda m: -m[1])[:lines]),
        functions=tuple((_name(function), row[1], row[2] / own) for function, row in functions),
    )


def _by_caller(stats: Mapping[Function, Any]) -> Iterable[tuple[Function, float]]:
    """Each function's own time; that of built-in functions goes to those who call them."""
    for function, (_, _, seconds, _, callers) in stats.items():
        if function[0] == BUILT_IN and callers:
            yield from ((caller, row[2]) for caller, row in callers.items())
        else:
            yield function, seconds


def _module(function: Function) -> str:
    file = function[0]
    if file == BUILT_IN:
        return "(interpreter)"
    path = Path(file)
    if path.is_relative_to(ROOT) and ".venv" not in path.parts:
        return str(path.relative_to(ROOT))
    parts = path.parts
    return parts[parts.index("site-packages") + 1] if "site-packages" in parts else f"python/{path.name}"


def _name(function: Function) -> str:
    file, line, name = function
    return name if file == BUILT_IN else f"{'/'.join(Path(file).parts[-2:])}:{line} {name}"


def text(profiles: Sequence[ThreadProfile]) -> str:
    """Markdown: each thread's modules and functions, from one per cent of its time on."""
    lines = []
    for profile in profiles:
        lines += [f"\n### {profile.thread}: {100 * profile.share:.0f} % of the nodes' processor time\n"]
        lines += ["| share | module |", "|---|---|"]
        lines += [f"| {100 * share:.1f} % | {name} |" for name, share in profile.modules if share >= 0.01]
        lines += ["\n| share | calls | function itself |", "|---|---|---|"]
        lines += [
            f"| {100 * share:.1f} % | {calls} | `{name}` |" for name, calls, share in profile.functions if share >= 0.01
        ]
    return "\n".join(lines)
