"""Home of the live status: a terminal is shown what its node does, a few times a second, beside the node's own work."""

from __future__ import annotations

import asyncio
import time

from rich.console import Console, Group
from rich.live import Live

from chain.cli.status_screen import render
from chain.cli.status_view import Snapshot, Watcher
from chain.full_node import FullNode

FRAME_SECONDS = 0.4


async def show_status(node: FullNode) -> None:
    """Show the status until cancelled, on a screen of its own; the terminal is as it was when this ends."""
    watcher, console = Watcher(node), Console()
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    live.start()
    try:
        while True:
            # A terminal may be slow, or stopped by Ctrl-S: it must never hold up the node's loop.
            await asyncio.to_thread(_draw, live, watcher.snapshot())
            await asyncio.sleep(FRAME_SECONDS)
    finally:
        watcher.close()
        live.stop()
        console.print(
            f"Stopping at height {node.chain.tip.height}; the next start goes on from there.", highlight=False
        )


def _draw(live: Live, snapshot: Snapshot) -> None:
    width, height = live.console.size
    live.update(Group(*render(snapshot, time.monotonic(), width, height)), refresh=True)
