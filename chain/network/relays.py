"""Home of the rule to which peers a node passes on what it has from another one: gossip reaches all at small cost.

With everyone told by everyone, each word would come to a node as often as it has peers. A few suffice if enough of them
are honest: those that this node has called come first, as an attacker chooses whom it calls, and not by whom it is
called. Eight of those, of which a third may be faulty, leave five that pass it on in turn: such gossip misses one node
in 150 (e ** -5), which then hears of it by the next exchange of what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

RELAYS_MAX: Final = 12
CALLED_MAX: Final = 8  # of these at most are peers that this node has called

_T = TypeVar("_T")


def relays(called: Sequence[_T], others: Sequence[_T], turn: int) -> list[_T]:
    """At most RELAYS_MAX of peers that lack something, each in its turn as `turn` counts up."""
    first = _in_turn(called, turn, CALLED_MAX)
    return [*first, *_in_turn(others, turn, RELAYS_MAX - len(first))]


def _in_turn(peers: Sequence[_T], turn: int, count: int) -> list[_T]:
    if len(peers) <= count:
        return list(peers)
    start = turn * count % len(peers)
    return [*peers[start:], *peers[:start]][:count]
