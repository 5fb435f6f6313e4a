"""Home of the test that ethers, which knows nothing of Lyceum, works as it is."""

from __future__ import annotations

import subprocess
import threading

import pytest

from tests.rpc.ethers import NotInstalled, installed
from tests.rpc.live import KEYS, LiveChain

STORY_SECONDS_MAX = 60
BLOCK_SECONDS = 0.1


def test_ethers_sends_reads_follows_and_understands_errors(live: LiveChain) -> None:
    try:
        folder = installed()
    except NotInstalled as reason:
        pytest.skip(str(reason))
    stop = threading.Event()

    def make_blocks() -> None:
        while not stop.wait(BLOCK_SECONDS):
            live.block()

    maker = threading.Thread(target=make_blocks)
    maker.start()
    try:
        command = ["node", "story.mjs", live.url, live.websocket_url, "0x" + KEYS[0].hex()]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=STORY_SECONDS_MAX
        )
    finally:
        stop.set()
        maker.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": done\n") == 6
