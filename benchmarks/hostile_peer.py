"""Home of a hostile peer's process: one act against some nodes until SIGTERM, then a line of JSON of what it did.

python -m benchmarks.hostile_peer ACT GENESIS_HASH PORT [PORT ...]
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from typing import Any

import uvloop

from benchmarks.hostile_acts import ACTS
from benchmarks.hostile_victim import Victim


async def attack(name: str, genesis: bytes, ports: list[int]) -> dict[str, int]:
    """What was done, over all nodes, by the time that this process was told to end."""
    _, act = ACTS[name]
    victims = [Victim(port=port, genesis=genesis) for port in ports]
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    told = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, told.set_result, None)
    acting = asyncio.gather(*(act(victim) for victim in victims))
    await asyncio.wait((told, acting), return_when=asyncio.FIRST_COMPLETED)
    if acting.done():
        await acting
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)
    total: Counter[str] = Counter()
    for victim in victims:
        total += victim.done
    return dict(total)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Connections that nodes reset are what an attacker has to expect."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(attack(sys.argv[1], bytes.fromhex(sys.argv[2]), list(map(int, sys.argv[3:]))))))
