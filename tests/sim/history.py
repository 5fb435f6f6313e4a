"""Home of running one seed."""

from tests.sim import plan
from tests.sim.liar import Liar
from tests.sim.node import Node
from tests.sim.world import Summary, World


def run(seed: int) -> Summary:
    """The history of a seed; raises checkers.Violation, or whatever broke."""
    world = World(seed)
    for index in range(plan.NODES):
        lies = world.plan.liar and index == 0
        world.peers.append(Liar(world, index) if lies else Node(world, index))
    honest = [peer.index for peer in world.peers if isinstance(peer, Node)]
    return world.run(honest)
