"""Home of the README.txt in a new network's folder: what is secret, who gets what, and the commands to start it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.cli.network_commands import (
    LOOPBACK,
    P2P_PORT,
    RPC_PORT,
    custodian_command,
    miner_command,
    node_command,
    node_name,
    shell_line,
)
from chain.cli.network_folder import TRAINING_NAME, Folder, Place
from chain.crypto import checksum_address

ROOT = "$NETWORK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Where a network's validators are: with no places given, all on one machine."""

    given: tuple[Place, ...]
    validators: int
    private: bool

    @property
    def places(self) -> tuple[Place, ...]:
        return self.given or tuple(Place(host=LOOPBACK, port=P2P_PORT + i) for i in range(self.validators))

    def rpc_ports(self) -> list[int]:
        """Each validator's RPC port: the usual one, and the next ones for further nodes on the same machine."""
        seen: Counter[str] = Counter()
        ports = []
        for place in self.places:
            ports.append(RPC_PORT + seen[place.host])
            seen[place.host] += 1
        return ports


def describe(out: Path, chain_id: int, folder: Folder, hosts: Hosts, locked: bool) -> str:
    """The text of README.txt."""
    password = " --password-file FILE" if locked else ""
    lines = [
        *_what_lies_where(chain_id, folder),
        *_who_is_who(folder, hosts),
        *_warnings(folder),
        "",
        *(_across_machines(folder, hosts, password) if hosts.given else [_assignment(out), ""]),
        *(() if hosts.given else _nodes(folder, hosts, password)),
        *_clients(folder, hosts, password),
        "",
    ]
    return "\n".join(lines)


def _what_lies_where(chain_id: int, folder: Folder) -> list[str]:
    return [
        f"A Lyceum network: chain id {chain_id}, tasks: {', '.join(folder.sources)}.",
        "",
        "  genesis.json     what the network starts from; every node needs it",
        "  genesis-blobs/   the sealed held-out shards; public, for the first nodes (later ones get them from peers)",
        f"  {TRAINING_NAME + '/':<17}what files leave for training; for those who shall mine on it",
        "  */               one folder for each of those who take part; SECRET, for them alone",
        "",
    ]


def _who_is_who(folder: Folder, hosts: Hosts) -> list[str]:
    lines = [f"  {member.role} {member.number}: {checksum_address(member.address)}" for member in folder.members]
    lines.append("")
    for member, place in zip(folder.validators, hosts.places, strict=True):
        lines.append(f"  node of validator {member.number}: {node_name(member.node_id)}@{place}")
    return lines


def _warnings(folder: Folder) -> list[str]:
    from learning.datasets import BUILT_IN

    lines = ["", "Keep the custodians' secrets: a custodian that can't open its shards loses its bond."]
    lines.append("A validator's key votes in one place only: two nodes with one key lose its bond.")
    if any(name in BUILT_IN for name in folder.sources):
        lines.append("Built-in sets are public, held-out samples too: among strangers, teach on data of your own.")
    return lines


def _assignment(out: Path) -> str:
    return f"NETWORK={shlex.quote(str(out.absolute()))}"


# ------------------------------------------------------------------------------------------------------------- nodes


def _nodes(folder: Folder, hosts: Hosts, password: str) -> list[str]:
    """All nodes on one machine."""
    return ["# Nodes. More than two thirds of the validators make blocks.", *_node_lines(folder, hosts, password), ""]


def _node_lines(folder: Folder, hosts: Hosts, password: str) -> list[str]:
    commands = [
        node_command(
            ROOT,
            place,
            folder.validators,
            hosts.places,
            rpc_port=rpc_port,
            p2p_host=_any_address(hosts.places[place]) if hosts.given else LOOPBACK,
            private=hosts.private,
        )
        for place, rpc_port in enumerate(hosts.rpc_ports())
    ]
    return [shell_line(words, password) for words in commands]


def _any_address(place: Place) -> str:
    """What a node binds to so that it is reached at its place, whatever address of its machine that is."""
    return "::" if ":" in place.host else "0.0.0.0"


def _across_machines(folder: Folder, hosts: Hosts, password: str) -> list[str]:
    lines = [
        "Give every validator genesis.json, genesis-blobs/ and its own folder, by a way that nobody else can read,",
        "then delete that folder here. Its port must be open to the other nodes. On each machine, NETWORK is where",
        "these files are:",
        "",
        "NETWORK=.",
        "",
        "# Nodes. More than two thirds of the validators make blocks.",
    ]
    for member, place, line in zip(folder.validators, hosts.places, _node_lines(folder, hosts, password), strict=True):
        lines += [f"# validator {member.number}, on the machine that others reach at {place}:", line]
    return [*lines, ""]


# ----------------------------------------------------------------------------------------------------------- clients


def _clients(folder: Folder, hosts: Hosts, password: str) -> list[str]:
    """Commands of custodians and miners, spread over the nodes of one machine; elsewhere, each beside a node."""
    note = " Each runs beside a node, or with --rpc URL of one." if hosts.given else ""
    urls = [f"http://{LOOPBACK}:{port}" for port in hosts.rpc_ports()] if not hosts.given else []
    custodians = [custodian_command(ROOT, each, _url(urls, each.number)) for each in folder.custodians]
    miners = [
        miner_command(ROOT, each, len(folder.miners), folder.sources, _url(urls, each.number)) for each in folder.miners
    ]
    return [
        f"# Custodians: each opens one shard a round.{note}",
        *_lines(custodians, password),
        "",
        f"# Miners.{note}",
        *_lines(miners, password),
    ]


def _lines(commands: Sequence[Sequence[str]], password: str) -> list[str]:
    return [shell_line(words, password) for words in commands]


def _url(urls: Sequence[str], number: int) -> str:
    return urls[(number - 1) % len(urls)] if urls else f"http://{LOOPBACK}:{RPC_PORT}"
