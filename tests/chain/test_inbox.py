"""What waits for a replica is bounded in bytes for peers, and the node's own inputs are never dropped."""

from chain.inbox import BYTES_MAX, Inbox
from chain.network.messages import Votes, WholeProposal
from chain.replication.events import Received, Tick


def large() -> Received:
    return Received(peer=b"p" * 20, message=WholeProposal(proposal=b"", block=bytes(1 << 20)))


def test_peers_messages_are_dropped_beyond_so_many_bytes_and_own_inputs_are_not() -> None:
    inbox = Inbox()
    taken = sum(inbox.offer(large()) for _ in range(100))
    assert taken == (BYTES_MAX >> 20) - 1
    inbox.put(Tick())
    assert len(inbox) == taken + 1
    assert inbox.take(1000)[-1] == Tick()
    assert inbox.offer(large())


def test_many_small_parts_count_too() -> None:
    inbox = Inbox()
    votes = Received(peer=b"p" * 20, message=Votes(votes=(b"",) * 200_000))
    assert [inbox.offer(votes) for _ in range(6)] == [True] * 5 + [False]
