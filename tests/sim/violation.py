"""Home of what a checker raises."""

from __future__ import annotations


class Violation(AssertionError):
    """A history in which something that must hold does not."""


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)
