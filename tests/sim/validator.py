"""Home of what a simulated validator's account sends: its duties toward the contract, its registration, evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain.abi import encode_call
from chain.duties import due, evidence_due, is_over
from chain.operations.learning_store import read_validator
from consensus.types import Equivocation
from tests.sim import task
from tests.sim.clients import Client, Wish
from tests.sim.ledger import Ledger
from tests.sim.plan import node_key, voter

if TYPE_CHECKING:
    from tests.sim.world import World

LEAVES_AT = 6
"""The height from which a leaver wants its bond back."""


class Duties(Client):
    """Acts for one node's account through that node alone."""

    def __init__(self, world: World, index: int) -> None:
        super().__init__(world, node_key(index), index)
        self.index = index
        self.evidence: list[Equivocation] = []

    def serves(self, index: int) -> bool:
        return index == self.index

    def wishes(self, ledger: Ledger, height: int) -> list[Wish]:
        duties = due(ledger.store, height, self.address, blob_size=ledger.blobs.size_of_content, records=ledger.records)
        return [
            *(Wish(name=duty.name, calldata=duty.calldata) for duty in duties),
            *self._membership(ledger, height),
            *self._accusations(ledger, height),
        ]

    def _membership(self, ledger: Ledger, height: int) -> list[Wish]:
        """Register whoever has power and is not registered, and let leave who wants to."""
        held = read_validator(ledger.store, self.address)
        if self.index == self._world.plan.leaver and height >= LEAVES_AT:
            return [Wish(name=("unbond", 0), calldata=encode_call("unbond"))] if held.registered else []
        if held.registered or held.barred or not held.power:
            return []
        bond = 0 if held.bond else task.BOND
        calldata = encode_call("registerValidator", voter(self.index))
        return [Wish(name=("register", height // 4), calldata=calldata, value=bond)]

    def _accusations(self, ledger: Ledger, height: int) -> list[Wish]:
        """Evidence against whoever is not punished yet, when it is this validator's turn."""
        parameters = ledger.chain.parameters
        self.evidence = [each for each in self.evidence if not is_over(ledger.store, height, each, parameters)]
        duties = (evidence_due(ledger.store, height, self.address, each) for each in self.evidence)
        return [Wish(name=duty.name, calldata=duty.calldata) for duty in duties if duty is not None]
