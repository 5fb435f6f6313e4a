"""Home of ethers in tests: its package is installed once for each lock file, its scripts run by node."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "system" / "ethers"
INSTALL_SECONDS_MAX = 120


class NotInstalled(Exception):
    """Ethers can't be had here; the message says why."""


@lru_cache
def installed() -> Path:
    """A folder with ethers and the scripts in it. Raises NotInstalled."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalled("node and npm are not installed")
    name = "ethers-" + hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lyceum" / name
    if not (folder / "complete").exists():
        _install(folder)
    for script in PACKAGE.glob("*.mjs"):
        shutil.copy(script, folder / script.name)
    return folder


def _install(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(PACKAGE / file, folder / file)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"npm ci did not end within {INSTALL_SECONDS_MAX} s") from error
    if done.returncode:
        raise NotInstalled(f"npm ci failed: {done.stderr.strip()[-300:]}")
    (folder / "complete").touch()
