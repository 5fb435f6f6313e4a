"""Home of the state at one height, for readers beside the chain: RPC and evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from chain.errors import InvalidInput
from chain.storage.store import HistoryPruned, Store


class StateNotKept(InvalidInput):
    """The state of this height is not kept any more (or not yet there)."""


@dataclass(frozen=True, slots=True)
class StateAt:
    """The state after one height's block, whatever is committed meanwhile. Raises StateNotKept where it is gone."""

    store: Store
    height: int

    def get(self, key: bytes) -> bytes | None:
        try:
            return self.store.value_at(key, self.height)
        except HistoryPruned as error:
            raise StateNotKept(str(error)) from error
