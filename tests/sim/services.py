"""Home of what a simulated node does beside consensus: the pool's gossip, pulling blobs, judging, its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain.network.messages import Transactions
from tests.sim.messages import GiveBlobs, SimMessage, WantBlobs
from tests.sim.validator import Duties

if TYPE_CHECKING:
    from tests.sim.node import Node

TRANSACTIONS_AGAIN_MAX = 8
CALM_EVALUATION_MS_MAX = 30
ASKED_AT_ONCE = 2


class Services:
    """Belongs to one node; what it knows is lost with the node's life, except for the disk."""

    def __init__(self, node: Node, duties: Duties) -> None:
        self.duties = duties
        self._node, self._world = node, node.world
        self._judging = False

    def started(self) -> None:
        """The node has come up."""
        self._judging = False
        self.judge_next()

    # ---------------------------------------------------------------------------------------------- transactions

    def act(self) -> None:
        """Let everybody who follows this node's tip speak before the next block."""
        ledger = self._node.ledger
        raws = self.duties.act(ledger)
        for client in self._world.clients:
            if client.serves(self._node.index):
                raws += client.act(ledger)
        if raws:
            entered = ledger.submit(raws)
            self._node.tell_all(Transactions(id=0, raws=tuple(entered)))

    def tick(self) -> None:
        """Each second: tell some peer of what waits, and ask for blobs again."""
        waiting = [each.raw for each in self._node.ledger.candidates()[:TRANSACTIONS_AGAIN_MAX]]
        peers = self._node.linked()
        if waiting and peers:
            self._node.tell(self._world.rng.choice(peers), Transactions(id=0, raws=tuple(waiting)))
        self.pull_blobs()
        self.judge_next()

    # ----------------------------------------------------------------------------------------------------- blobs

    def pull_blobs(self) -> None:
        """Ask some peers for blobs that are named and not held."""
        wanted = self._node.ledger.wanted_blobs()
        peers = self._node.linked()
        for peer in self._world.rng.sample(peers, min(ASKED_AT_ONCE, len(peers))) if wanted else ():
            self._node.tell(peer, WantBlobs(roots=tuple(wanted)))

    def receive(self, sender: int, message: SimMessage) -> bool:
        """Take a message that is not for the replica; False for one that is."""
        ledger = self._node.ledger
        match message:
            case Transactions():
                ledger.submit(message.raws)
            case WantBlobs():
                held = [(root, ledger.blobs.held[root]) for root in message.roots if root in ledger.blobs.held]
                given = tuple(each for each in held if not self._world.chance(self._world.plan.blob_loss))
                if given:
                    self._node.tell(sender, GiveBlobs(blobs=given))
            case GiveBlobs():
                taken = [ledger.blobs.take(root, data) for root, data in message.blobs]
                if any(taken):
                    self.act()
                    self.judge_next()
            case _:
                return False
        return True

    # --------------------------------------------------------------------------------------------------- judging

    def judge_next(self) -> None:
        """Start judging a round that is due, if none is being judged."""
        if self._judging or self._node.ledger.due() is None:
            return
        self._judging = True
        world = self._world
        most = CALM_EVALUATION_MS_MAX if world.quiet else world.plan.evaluation_ms_max
        self._node.later(world.rng.randint(1, most), self._judge)

    def _judge(self) -> None:
        self._judging = False
        due = self._node.ledger.due()
        if due is None:
            return
        record = self._node.ledger.judge(*due)
        if record is None:
            self.pull_blobs()
            return
        self._node.judged(due[0], record)
        self.act()
        self.judge_next()
