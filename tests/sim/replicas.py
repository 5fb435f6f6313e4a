"""Home of making the real replica for a simulated node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chain.crypto import keccak256
from chain.replication.replica import Replica, ReplicaSettings
from consensus.rules import State
from consensus.timeouts import PaceSettings
from consensus.votelog import Recovered
from tests.sim import plan as plans
from tests.sim.transactions import recovered, signature_of

if TYPE_CHECKING:
    from tests.sim.node import Node

PACE = PaceSettings(allowance_ms=100, propose_ms_max=3_000, votes_ms_max=1_500, first_ms=200)


def make_replica(node: Node, log: Recovered, *, remembers: bool) -> Replica:
    """One node's consensus, on the world's clock."""
    world = node.world
    return Replica(
        me=node.voter,
        genesis=world.genesis.hash,
        sign=lambda message: signature_of(plans.vote_key(node.index), message),
        log=log,
        remembers=remembers,
        recover=recover,
        pool_get=node.ledger.pool.get,
        clock_ms=lambda: world.now_ms,
        time_ms=node.clock_ms,
        settings=ReplicaSettings(
            block_interval_ms=world.genesis.parameters.block_interval_ms,
            log_bytes_max=world.plan.log_bytes_max,
            pace=PACE,
        ),
    )


def recover(signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
    return [recovered(keccak256(message), signature) for message, signature in signed]


def state_of(replica: Replica) -> State | None:
    """What its consensus knows of the height that it works on."""
    return replica._deliberation.state
