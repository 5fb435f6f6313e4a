"""Home of the commands that run a network's members: for people to read in README.txt, and for `devnet` to start."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from chain.cli.network_folder import DATA_NAME, JOURNAL_NAME, SECRETS_NAME, TRAINING_NAME, Member, Place

RPC_PORT = 8545
P2P_PORT = 30333
LOOPBACK = "127.0.0.1"
PEERS_NAMED_MAX = 8  # of a node's command; it learns of the others from these


def node_command(
    root: str,
    place: int,
    validators: Sequence[Member],
    places: Sequence[Place],
    *,
    rpc_port: int,
    p2p_host: str,
    private: bool = False,
) -> list[str]:
    """Arguments of `python -m chain` for the node of `validators[place]`; `root` is the network's folder."""
    member, folder = validators[place], f"{root}/{validators[place].folder}"
    words = ["run", "--genesis", f"{root}/genesis.json", "--validator", f"{folder}/{member.key_file}"]
    words += ["--data-dir", f"{folder}/{DATA_NAME}", "--rpc-port", str(rpc_port)]
    words += ["--p2p-host", p2p_host, "--p2p-port", str(places[place].port)]
    count = len(validators)
    others = [(place + step) % count for step in range(1, count)]
    for other in others[:PEERS_NAMED_MAX]:
        words += ["--peer", f"{node_name(validators[other].node_id)}@{places[other]}"]
    for other in others if private else ():
        words += ["--allow-peer", node_name(validators[other].node_id)]
    return words


def custodian_command(root: str, member: Member, rpc: str) -> list[str]:
    folder = f"{root}/{member.folder}"
    words = ["custody", "--secrets", f"{folder}/{SECRETS_NAME}", "--key", f"{folder}/{member.key_file}"]
    return words + _rpc(rpc)


def miner_command(root: str, member: Member, miners: int, sources: Mapping[str, str], rpc: str) -> list[str]:
    """Each of several miners of built-in sets and files takes its share of the data, of which all are different."""
    folder, words = f"{root}/{member.folder}", ["mine"]
    share = f"#{member.number}/{miners}" if miners > 1 else ""
    for task, spec in sources.items():
        kind, mark, name = spec.partition(":")
        data = f"{kind}:{root}/{TRAINING_NAME}/{name}" if mark else spec
        words += ["--task", task, "--data", data + share]
    words += ["--key", f"{folder}/{member.key_file}", "--dir", f"{folder}/{JOURNAL_NAME}"]
    return words + _rpc(rpc)


def _rpc(url: str) -> list[str]:
    """Clients call the node at the usual address unless told otherwise."""
    return [] if url == f"http://{LOOPBACK}:{RPC_PORT}" else ["--rpc", url]


def node_name(node_id: bytes) -> str:
    """A node's id as options and logs have it."""
    return "0x" + node_id.hex()


def shell_line(words: Sequence[str], password: str = "") -> str:
    """A command as a person copies it into a shell; `$NETWORK` stays what the shell makes of it."""
    return "python -m chain " + " ".join(_quoted(word) for word in words) + password


def _quoted(word: str) -> str:
    return f'"{word}"' if "$NETWORK" in word else shlex.quote(word)
