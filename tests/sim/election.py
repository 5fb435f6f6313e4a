"""Home of who votes next, worked out a second time from what state says of every account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain.genesis import Genesis
from chain.operations.learning_store import read_holders, read_validator

if TYPE_CHECKING:
    from tests.sim.observer import Observer

Members = tuple[tuple[bytes, int], ...]


def genesis_set(genesis: Genesis) -> Members:
    unit = genesis.parameters.bond_per_power
    powers = ((each.address, min(each.power, each.bond // unit)) for each in genesis.validators)
    return tuple(sorted((address, power) for address, power in powers if power))


def next_set(observer: Observer) -> Members:
    """The set of the height after the observer's: a new one after an epoch's last block, if it is not empty."""
    parameters, height = observer.genesis.parameters, observer.height
    before = observer.sets[height]
    if (height + 1) % parameters.epoch_blocks:
        return before
    store = observer.chain.store
    found = []
    for address in read_holders(store):
        held = read_validator(store, address)
        power = min(held.earned + held.bootstrap, held.bond // parameters.bond_per_power)
        if held.registered and power:
            found.append((-power, address, held.vote_address))
    chosen = sorted(found)[: parameters.validators_max]
    return tuple(sorted((vote_address, -power) for power, _, vote_address in chosen)) or before
