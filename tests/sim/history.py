"""Home of running one seed."""

from __future__ import annotations

from tests.sim import plan as plans
from tests.sim.clients import Client, Custodian, Miner, Payer
from tests.sim.liar import Liar
from tests.sim.node import Node
from tests.sim.world import Summary, World

MINERS = (1, 2, plans.NEWCOMER)
"""The accounts that teach: of two validators, and the newcomer's. A liar's teaches too where it withholds blobs."""


def run(seed: int) -> Summary:
    """The history of a seed; raises Violation, or whatever broke."""
    world = World(seed)
    plan = world.plan
    for index in range(plan.nodes):
        world.peers.append(Liar(world, index) if index in plan.liars else Node(world, index))
    world.clients = _clients(world)
    return world.run()


def _clients(world: World) -> list[Client]:
    count = world.plan.nodes
    miners = [Miner(world, plans.node_key(index), min(index, count - 1)) for index in MINERS]
    if "withheld blobs" in world.plan.traits:
        miners.insert(0, Miner(world, plans.node_key(0), 0, withholds=True))
    custodians = [Custodian(world, plans.custodian_key(number), 2 + number) for number in range(plans.CUSTODIANS)]
    return [*miners, *custodians, Payer(world, plans.node_key(plans.PAYER), count - 1)]
