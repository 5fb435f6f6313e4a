"""Home of what a call of the learning contract is given, what it answers, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass

from chain.abi import revert_data
from chain.errors import InvalidInput
from chain.parameters import Parameters
from chain.types import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Where a call stands. `height` is that of the block that executes it; `value` has already been moved to the
    contract's balance."""

    chain_id: int
    height: int
    sender: bytes
    value: int
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """What a successful call returns (ABI-encoded) and logs."""

    output: bytes = b""
    logs: tuple[Log, ...] = ()


class Revert(InvalidInput):
    """A call that fails: nothing of it stays, its value goes back, and its gas is paid."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def data(self) -> bytes:
        """The reason as Ethereum's tools read it: ABI-encoded `Error(string)`."""
        return revert_data(self.reason)


def require(condition: bool, reason: str) -> None:
    """Revert with `reason` unless the condition holds."""
    if not condition:
        raise Revert(reason)
