"""Home of a node that minds nothing its key has said: `python -m tests.system.reckless_node run ...`, for tests."""

from __future__ import annotations

import sys

from chain.cli.main import main
from chain.replication.abstention import Abstention
from consensus.driver import Driver

if __name__ == "__main__":
    Abstention.forgot = lambda self: None  # type: ignore[method-assign]
    Driver.forgets = lambda self, commit: False  # type: ignore[method-assign]
    Driver.has_said = lambda self, vote: True  # type: ignore[method-assign]
    sys.exit(main())
