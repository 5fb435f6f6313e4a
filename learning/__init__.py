"""The shared model: exact arithmetic, updates, sealing and settlement. Knows tensors and bytes, never a chain.

For notebooks: `from learning import evaluate, pull`. They, and torch with them, are loaded when they are asked for.
"""

from typing import Any

__all__ = ["evaluate", "pull"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from learning import client

    return getattr(client, name)
