"""Home of who is connected to whom in a simulated network."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Who is connected to whom: each node's peers, ascending."""

    name: str
    peers: tuple[tuple[int, ...], ...]


def mesh(nodes: int) -> Topology:
    """Everyone with everyone."""
    every = range(nodes)
    return Topology(name="full mesh", peers=tuple(tuple(j for j in every if j != i) for i in every))


def gossip(nodes: int, degree: int, seed: int) -> Topology:
    """A ring, so that all are connected, and chance links until everyone has at least `degree` peers."""
    chance = random.Random(seed)
    links: list[set[int]] = [set() for _ in range(nodes)]
    order = chance.sample(range(nodes), nodes)
    for place, node in enumerate(order):
        _link(links, node, order[place - 1])
    for node in range(nodes):
        while len(links[node]) < min(degree, nodes - 1):
            strangers = [other for other in range(nodes) if other != node and other not in links[node]]
            fewest = min(len(links[other]) for other in strangers)
            _link(links, node, chance.choice([other for other in strangers if len(links[other]) == fewest]))
    return Topology(name=f"gossip, {degree} peers", peers=tuple(tuple(sorted(each)) for each in links))


def _link(links: list[set[int]], one: int, other: int) -> None:
    if one != other:
        links[one].add(other)
        links[other].add(one)
