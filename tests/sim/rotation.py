"""Home of whose turn it is to propose, worked out a second time: plainly, and by nothing of consensus."""

from __future__ import annotations

from collections.abc import Mapping

Members = tuple[tuple[bytes, int], ...]


def proposer(sets: Mapping[int, Members], height: int, round_: int, epoch_blocks: int) -> bytes:
    """Everybody gains its power, the highest proposes and pays the total; anew with each epoch and set of height 1."""
    first = max(1, height - height % epoch_blocks)
    credit: dict[bytes, int] = dict.fromkeys((voter for voter, _ in sets[first]), 0)
    chosen = b""
    for turn in [*range(first, height + 1), *([height] * round_)]:
        members = sets[turn]
        for voter, power in members:
            credit[voter] += power
        chosen = min((voter for voter, _ in members), key=lambda voter: (-credit[voter], voter))
        credit[chosen] -= sum(power for _, power in members)
    return chosen
