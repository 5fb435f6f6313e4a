"""Home of `devnet`: a network of several validators, custodians and miners on this machine, a process each."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chain.cli.init import VALIDATORS_MAX, add_members, check_members, fill_in, plan_of
from chain.cli.main import UsageError
from chain.cli.network_commands import LOOPBACK, RPC_PORT, custodian_command, miner_command, node_command
from chain.cli.network_folder import CUSTODIAN, MINER, VALIDATOR, Folder, Member, Place, make_aside, write_folder
from chain.cli.options import set_up_logging
from chain.errors import LyceumError

if TYPE_CHECKING:
    from chain.cli.devnet_processes import Child
    from chain.cli.devnet_view import Network, Poller

log = logging.getLogger("lyceum.devnet")

DATA_DIR = Path("lyceum-devnet")
SETTINGS_NAME = "devnet.json"
LOGS_NAME = "logs"
P2P_ABOVE_RPC = VALIDATORS_MAX  # so far above its RPC port is a node's port for other nodes
SUMMARY_SECONDS = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data-dir", type=Path, default=DATA_DIR, metavar="DIR", help=f"where all of it is ({DATA_DIR})")
    add_members(parser, validators=4, miners=4)
    add("--base-port", type=int, metavar="PORT",
        help=f"RPC of the first node; further nodes take the next ones, and those {P2P_ABOVE_RPC} above for each "
        f"other ({RPC_PORT})")  # fmt: skip
    add("--evaluation-threads", type=int, default=1, metavar="N", help="threads of an evaluation, of each node (1)")
    add("--quiet", action="store_true", help="log lines instead of the live table")


def run(arguments: argparse.Namespace) -> int:
    directory: Path = arguments.data_dir.absolute()
    live = sys.stdout.isatty() and not arguments.quiet and os.environ.get("TERM", "dumb") != "dumb"
    if not 1 <= arguments.evaluation_threads <= 64:
        raise UsageError(f"--evaluation-threads {arguments.evaluation_threads} must be from 1 to 64")
    if (directory / SETTINGS_NAME).exists():
        _refuse_changes(directory, arguments)
    else:
        _make(directory, arguments)
    folder, base_port = _read(directory)
    base_port = _checked_port(arguments.base_port or base_port, len(folder.validators))
    (directory / LOGS_NAME).mkdir(exist_ok=True)
    set_up_logging(path=directory / LOGS_NAME / "devnet.log" if live else None)
    children = children_of(directory, folder, base_port, ["--evaluation-threads", str(arguments.evaluation_threads)])
    asyncio.run(_live(directory, folder, children, live=live))
    return 0


# ----------------------------------------------------------------------------------------------------------- on disk


def _make(directory: Path, arguments: argparse.Namespace) -> None:
    """Write a new network: the development chain's id, and its ten funded accounts for the user."""
    from chain.development import DEVELOPMENT_ACCOUNTS, DEVELOPMENT_BALANCE, development_names
    from chain.genesis import DEVELOPMENT_CHAIN_ID

    fill_in(arguments)
    arguments.task = arguments.task or development_names(None)
    check_members(arguments)
    base_port = _checked_port(arguments.base_port or RPC_PORT, arguments.validators)
    funds = [(account, DEVELOPMENT_BALANCE) for account in DEVELOPMENT_ACCOUNTS]
    plan = plan_of(arguments, chain_id=DEVELOPMENT_CHAIN_ID, funds=funds, password=None)

    def write(making: Path) -> None:
        folder = write_folder(making, plan)
        settings = {
            "base_port": base_port,
            "sources": dict(folder.sources),
            "members": [_member_json(member) for member in folder.members],
        }
        (making / SETTINGS_NAME).write_text(json.dumps(settings, indent=1) + "\n")

    print(f"making a network in {directory} ...", flush=True)
    make_aside(directory, write)


def _member_json(member: Member) -> dict[str, Any]:
    return dataclasses.asdict(member) | {"address": member.address.hex(), "node_id": member.node_id.hex()}


def _read(directory: Path) -> tuple[Folder, int]:
    """The network of a folder and its first port. Raises LyceumError."""
    path = directory / SETTINGS_NAME
    try:
        settings = json.loads(path.read_bytes())
        members = [
            Member(**item | {"address": bytes.fromhex(item["address"]), "node_id": bytes.fromhex(item["node_id"])})
            for item in settings["members"]
        ]
        sources, base_port = dict(settings["sources"]), int(settings["base_port"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LyceumError(f"{path} is damaged ({error}): restore it, or choose another --data-dir") from error
    by_role = {role: tuple(m for m in members if m.role == role) for role in (VALIDATOR, CUSTODIAN, MINER)}
    folder = Folder(
        validators=by_role[VALIDATOR], custodians=by_role[CUSTODIAN], miners=by_role[MINER], sources=sources
    )
    return folder, base_port


def _refuse_changes(directory: Path, arguments: argparse.Namespace) -> None:
    """A network that exists stays what it is. Raises UsageError."""
    folder, _ = _read(directory)
    for name in ("validators", "custodians", "miners"):
        given, there = getattr(arguments, name), len(getattr(folder, name))
        if given not in (None, there):
            raise UsageError(f"{directory} has {there} {name}: leave --{name} out, or choose another --data-dir")
    if arguments.task or arguments.parameter or arguments.block_interval is not None:
        raise UsageError(
            f"{directory} holds a network already: --task, --parameter and --block-interval are for a new one; "
            "choose another --data-dir"
        )


def _checked_port(base_port: int, validators: int) -> int:
    if not 1 <= base_port <= 65535 - P2P_ABOVE_RPC - validators:
        raise UsageError(f"--base-port {base_port} must be from 1 to {65535 - P2P_ABOVE_RPC - validators}")
    return base_port


def children_of(directory: Path, folder: Folder, base_port: int, node_options: list[str]) -> list[Child]:
    """All processes of the network; clients are spread over the nodes."""
    from chain.cli.devnet_processes import Child

    root, count = str(directory), len(folder.validators)
    places = [Place(host=LOOPBACK, port=base_port + P2P_ABOVE_RPC + i) for i in range(count)]
    urls = [f"http://{LOOPBACK}:{base_port + i}" for i in range(count)]

    def child(member: Member, arguments: list[str]) -> Child:
        return Child(
            name=member.folder,
            role=member.role,
            arguments=arguments,
            url=urls[(member.number - 1) % count],
            log_path=directory / LOGS_NAME / f"{member.folder}.log",
        )

    nodes = [
        child(
            member,
            [
                *node_command(root, i, folder.validators, places, rpc_port=base_port + i, p2p_host=LOOPBACK),
                *node_options,
                "--quiet",
            ],
        )
        for i, member in enumerate(folder.validators)
    ]
    custodians = [
        child(each, custodian_command(root, each, urls[(each.number - 1) % count])) for each in folder.custodians
    ]
    miners = [
        child(each, miner_command(root, each, len(folder.miners), folder.sources, urls[(each.number - 1) % count]))
        for each in folder.miners
    ]
    return [*nodes, *custodians, *miners]


# --------------------------------------------------------------------------------------------------------------- life


async def _live(directory: Path, folder: Folder, children: list[Child], *, live: bool) -> None:
    """Run everything until SIGINT or SIGTERM."""
    from chain.cli.devnet_processes import Processes
    from chain.cli.devnet_view import Poller

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    poller = Poller(children, {member.folder: member.address for member in folder.members})
    show = _show_table(directory, poller) if live else _log_summaries(children, poller)
    jobs = [asyncio.create_task(Processes(children).run()), asyncio.create_task(show)]
    stopped = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([stopped, *jobs], return_when=asyncio.FIRST_COMPLETED)
    for job in (stopped, *reversed(jobs)):
        job.cancel()
    await asyncio.gather(stopped, *jobs, return_exceptions=True)
    for job in done - {stopped}:
        job.result()
    log.info("stopped")
    if live:
        print("Stopped; the next start goes on from there.")


async def _log_summaries(children: list[Child], poller: Poller) -> None:
    """Tell each node's addresses when it first answers, and now and then how all are."""
    from chain.cli.devnet_view import POLL_SECONDS, summary

    waiting, told_at = [child for child in children if child.is_node], 0.0
    while True:
        network = await poller.read()
        for child in [child for child in waiting if child.reached]:
            waiting.remove(child)
            log.info("%s: RPC on %s, log in %s", child.name, child.url, child.log_path)
        if time.monotonic() >= told_at + SUMMARY_SECONDS:
            told_at = time.monotonic()
            log.info(summary(network))
        await asyncio.sleep(POLL_SECONDS)


async def _show_table(directory: Path, poller: Poller) -> None:
    """Show the table until cancelled, on a screen of its own; the terminal is as it was when this ends."""
    from rich.console import Console, Group
    from rich.live import Live

    from chain.cli.devnet_view import POLL_SECONDS, render

    console = Console()

    def draw(network: Network) -> None:
        width, height = console.size
        screen.update(Group(*render(network, str(directory), width, height)), refresh=True)

    screen = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    screen.start()
    try:
        while True:
            # A terminal may be slow, or stopped by Ctrl-S: nothing else waits for it.
            await asyncio.to_thread(draw, await poller.read())
            await asyncio.sleep(POLL_SECONDS)
    finally:
        screen.stop()
