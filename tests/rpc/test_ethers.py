"""Home of the test that ethers, which knows nothing of Lyceum, works as it is."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.rpc.live import KEYS, LiveChain

PACKAGE = Path(__file__).parent.parent / "system" / "ethers"
INSTALL_SECONDS_MAX = 120
STORY_SECONDS_MAX = 60
BLOCK_SECONDS = 0.1


def installed() -> Path:
    """A folder with ethers in it, made once for each lock file; skips where that can't be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    name = "ethers-" + hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lyceum" / name
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(PACKAGE / file, folder / file)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS_MAX
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm ci did not end within {INSTALL_SECONDS_MAX} s")
        if done.returncode:
            pytest.skip(f"npm ci failed: {done.stderr.strip()[-300:]}")
        (folder / "complete").touch()
    shutil.copy(PACKAGE / "story.mjs", folder / "story.mjs")
    return folder


def test_ethers_sends_reads_follows_and_understands_errors(live: LiveChain) -> None:
    folder = installed()
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
