"""Home of where vectors of other projects are found: a small part here, all of them under LYCEUM_VECTORS."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

KEPT = Path(__file__).parent.parent / "vectors"


def read(path: Path) -> Any:
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def kept(path: str) -> Any:
    """The JSON of one file of tests/vectors."""
    return read(KEPT / path)


def external(pattern: str) -> list[tuple[str, Any]]:
    """(path, JSON) of the files that match under LYCEUM_VECTORS; skips the test where that is not set."""
    folder = os.environ.get("LYCEUM_VECTORS")
    if not folder:
        pytest.skip("LYCEUM_VECTORS does not name a folder with all the vectors")
    paths = sorted(Path(folder).glob(pattern))
    assert paths, f"no {pattern} under {folder}"
    return [(str(path.relative_to(folder)), read(path)) for path in paths]
