"""Home of `run --sync snap`: an empty data directory takes a recent state from peers before its node starts."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time

from chain.network.identity import load_node_key
from chain.network.network import Network
from chain.network.settings import NetworkSettings
from chain.node_directory import Directory
from chain.sync.snapshot_sync import SnapshotSync, Trust

log = logging.getLogger("lyceum.snapshots")

LOG_SECONDS = 3.0
HEIGHT_DIGITS_MAX = 18


def trusted_block(text: str) -> Trust:
    """`HEIGHT:HASH`, for an argument parser."""
    height, _, hash_ = text.partition(":")
    try:
        parsed = bytes.fromhex(hash_.removeprefix("0x"))
    except ValueError:
        parsed = b""
    if not (height.isascii() and height.isdigit() and len(height) <= HEIGHT_DIGITS_MAX) or len(parsed) != 32:
        raise argparse.ArgumentTypeError(f"{text!r} must be HEIGHT:HASH, a block's number and its 32-byte hash")
    return int(height), parsed


def take_snapshot(directory: Directory, settings: NetworkSettings, trust: Trust | None, *, live: bool) -> None:
    """Fill the directory's ledger, if it is empty, with a state that peers give and two thirds of power have signed.

    Leaves it empty where no peer has one: the node fetches every block then. Raises SnapshotRefused, StorageFailed.
    """
    if directory.store.tip() not in (None, 0):
        log.info("the data directory has blocks already: they are continued, no snapshot is taken")
        return
    import uvloop

    uvloop.run(_take(directory, settings, trust, live=live))


async def _take(directory: Directory, settings: NetworkSettings, trust: Trust | None, *, live: bool) -> None:
    network = Network(settings, load_node_key(directory.path), directory.genesis.hash, directory.path)
    await network.start()
    running = asyncio.create_task(network.run())
    try:
        with _Shown(live=live) as shown:
            sync = SnapshotSync(
                network.peers,
                directory.store,
                directory.genesis,
                trust=trust,
                now_ms=lambda: time.time_ns() // 1_000_000,
                told=shown.tell,
            )
            height = await sync.run()
        if height is not None:
            log.info("the state of height %d is here, proved; the blocks since are fetched now", height)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await network.close()


class _Shown:
    """Progress for a person: a bar on a terminal, else a line each few seconds."""

    def __init__(self, *, live: bool) -> None:
        self._last = 0.0
        self._bar = None
        if live:
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

            self._bar = Progress(TextColumn("state of height {task.description}"), BarColumn(), DownloadColumn())
            self._task = self._bar.add_task("?", total=1.0)

    def __enter__(self) -> _Shown:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def tell(self, height: int, part: float, data: int) -> None:
        """See snapshot_sync.Told."""
        if self._bar:
            self._bar.update(self._task, description=str(height), completed=data, total=max(1, data / max(part, 1e-9)))
        elif time.monotonic() - self._last >= LOG_SECONDS:
            self._last = time.monotonic()
            log.info("state of height %d: %.0f %%, %.1f MB", height, 100 * part, data / 1e6)
