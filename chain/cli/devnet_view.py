"""Home of what `devnet` shows of its network: every process in a line of a table, read from the nodes' RPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from chain.cli.amounts import in_coins
from chain.cli.devnet_processes import Child
from chain.cli.tables import aligned
from chain.roles.client import NodeClient, NodeError, NodeUnreachable

POLL_SECONDS = 1.0
ANSWER_SECONDS = 3.0
NODE_HEADERS = ("node", "RPC and explorer", "height", "peers", "round", "loss", "state")
CLIENT_HEADERS = ("client", "coins", "state", "says")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """What a node tells of itself; where it does not answer, only its state."""

    name: str
    url: str
    state: str
    height: int | None = None
    peers: int = 0
    task: str = ""
    round: int = 0
    rounds: int = 0
    loss_nats: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLine:
    """A custodian or miner."""

    name: str
    state: str
    balance: int | None  # 10^-18 coin
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """All of it at one moment."""

    nodes: tuple[NodeLine, ...]
    clients: tuple[ClientLine, ...]


class Poller:
    """Asks all nodes at once, none longer than ANSWER_SECONDS."""

    def __init__(self, children: Sequence[Child], addresses: Mapping[str, bytes]) -> None:
        self._nodes = [child for child in children if child.is_node]
        self._clients = [child for child in children if not child.is_node]
        self._addresses = addresses  # of clients, by name

    async def read(self) -> Network:
        lines = await asyncio.gather(*(self._node(child) for child in self._nodes))
        answering = [line.url for line in lines if line.height is not None]
        balances = await self._balances(answering[0]) if answering else {}
        return Network(
            nodes=tuple(lines),
            clients=tuple(
                ClientLine(
                    name=child.name, state=child.state, balance=balances.get(child.name), says=child.last_words()
                )
                for child in self._clients
            ),
        )

    async def _node(self, child: Child) -> NodeLine:
        found = await _ask(child.url, [("learn_status",), ("net_peerCount",), ("learn_tasks",)])
        if found is None:
            state = "does not answer" if child.state == "running" else child.state
            return NodeLine(name=child.name, url=child.url, state=state)
        child.reached, child.state = True, "running"
        status, peers, tasks = found
        task = task_now(tasks)
        last = task["last"] if task else {}
        return NodeLine(
            name=child.name,
            url=child.url,
            state="syncing" if status["syncing"] else "running",
            height=int(status["height"], 16),
            peers=int(peers, 16),
            task=task["name"] if task else "",
            round=task["round"] if task else 0,
            rounds=task["clock"]["rounds"] if task else 0,
            loss_nats=last.get("lossAfterNats") if last.get("height") else None,
        )

    async def _balances(self, url: str) -> dict[str, int]:
        calls = [("eth_getBalance", "0x" + self._addresses[child.name].hex(), "latest") for child in self._clients]
        found = await _ask(url, calls)
        return {child.name: int(amount, 16) for child, amount in zip(self._clients, found or (), strict=False)}


async def _ask(url: str, calls: Sequence[tuple[str, ...]]) -> list[Any] | None:
    """The answers, or None where there are not all."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS), NodeClient(url) as client:
            return [await client.call(*call) for call in calls]
    except (NodeError, NodeUnreachable, TimeoutError):
        return None


def task_now(tasks: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The task that is being taught, else the one that comes first or was last."""
    playing = [task for task in tasks if task["phase"] not in ("pending", "over")]
    coming = [task for task in tasks if task["phase"] == "pending"]
    return next(iter([*playing, *coming, *reversed(tasks)]), None)


# ------------------------------------------------------------------------------------------------------------- looks


def render(network: Network, folder: str, width: int, height: int) -> list[Text]:
    """At most `height` lines of at most `width` cells."""
    lines = [Text(f"A network in {folder}", "bold"), Text()]
    lines += _table(NODE_HEADERS, [_node_cells(line) for line in network.nodes], "lrrrrrl")
    lines.append(Text())
    lines += _table(CLIENT_HEADERS, [_client_cells(line) for line in network.clients], "lrll")
    lines += [Text(), Text(f"Ctrl-C stops it, the next start goes on; logs are in {folder}/logs", "dim")]
    if len(lines) > height:
        lines = [line for line in lines if line.plain]
    for line in lines:
        line.truncate(max(width, 1), overflow="ellipsis")
    return lines[: max(height, 1)]


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> list[Text]:
    if not rows:
        return []
    head, *body = aligned([headers, *rows], [side == "r" for side in alignment])
    return [Text(head, "dim"), *(Text(line) for line in body)]


def _node_cells(line: NodeLine) -> tuple[str, ...]:
    if line.height is None:
        return line.name, line.url, "-", "-", "-", "-", line.state
    return (
        line.name,
        line.url,
        str(line.height),
        str(line.peers),
        f"{line.task} {min(line.round, line.rounds)} of {line.rounds}" if line.task else "-",
        "-" if line.loss_nats is None else f"{line.loss_nats:.4f}",
        line.state,
    )


def _client_cells(line: ClientLine) -> tuple[str, ...]:
    return line.name, "-" if line.balance is None else in_coins(line.balance, 2), line.state, line.says


def summary(network: Network) -> str:
    """The network in one line, for a log."""
    heights = " ".join("-" if line.height is None else str(line.height) for line in network.nodes)
    peers = " ".join(str(line.peers) for line in network.nodes)
    best = max(network.nodes, key=lambda line: -1 if line.height is None else line.height)
    learned = "" if best.loss_nats is None else f", loss {best.loss_nats:.4f}"
    task = f", {best.task} round {min(best.round, best.rounds)} of {best.rounds}{learned}" if best.task else ""
    return f"heights {heights}, peers {peers}{task}"
