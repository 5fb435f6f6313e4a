"""Home of a node that evaluates slowly, for tests: `python -m tests.system.slow_node run ...` is `chain run`, but for that."""

from __future__ import annotations

import sys
import time
from typing import Any

from chain import evaluations
from chain.cli.main import main
from learning.settlement import settle

TIMES_SLOWER = 20
LEAST_SECONDS = 0.1  # what a round is taken to need on a fast node, as rounds of tests are small


def settle_slowly(*arguments: Any, **options: Any) -> Any:
    """What `settle` gives, after TIMES_SLOWER times what it took."""
    started = time.monotonic()
    record = settle(*arguments, **options)
    needed = max(LEAST_SECONDS, time.monotonic() - started)
    print(f"a round is judged in {TIMES_SLOWER * needed:.1f} s", flush=True)
    time.sleep((TIMES_SLOWER - 1) * needed)
    return record


if __name__ == "__main__":
    evaluations.settle = settle_slowly  # type: ignore[attr-defined]
    sys.exit(main())
