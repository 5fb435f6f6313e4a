"""Home of `run`: a full node in one process, and on a development chain its custodian and miners beside it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from chain.cli.main import UsageError
from chain.cli.options import add_data_dir, add_password, read_key, set_up_logging
from chain.cli.profiling import Profiles
from chain.cli.snap import take_snapshot, trusted_block
from chain.development import BLOBS_NAME, RoleKeys
from chain.executor import KEEP_BLOCKS_MIN
from chain.full_node import FullNode, NodeSettings
from chain.genesis import DEVELOPMENT_CHAIN_ID
from chain.keys import load_key
from chain.network.memory import PEERS_NAME
from chain.network.settings import DEFAULT_PORT, InvalidPeer, NetworkSettings, parse_node, parse_peer
from chain.node import Committed
from chain.node_directory import LOGS_NAME, open_directory

log = logging.getLogger("lyceum")

GARBAGE_THRESHOLD = 20_000  # objects; a block makes as many that are no garbage


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_data_dir(parser)
    add("--genesis", type=Path, metavar="FILE", help="the network's genesis file; without it, a development chain")
    add("--rpc-host", default="127.0.0.1", metavar="HOST", help="where RPC listens (127.0.0.1)")
    add("--rpc-port", type=port_number, default=8545, metavar="PORT", help="RPC's port (8545; 0 takes a free one)")
    add("--rpc-cors", action="append", default=[], metavar="ORIGIN", help="let web pages of this origin call RPC")
    add("--p2p-host", metavar="HOST", help="where other nodes connect (0.0.0.0; 127.0.0.1 on a development chain)")
    add("--p2p-port", type=port_number, metavar="PORT", help="its port (30333; 0 takes a free one)")
    add("--peer", action="append", default=[], metavar="[NODE@]HOST:PORT", help="a node to connect to; repeatable")
    add(
        "--allow-peer", action="append", default=[], metavar="NODE", help="a private network: these nodes and no others"
    )
    add("--no-discovery", action="store_true", help="connect to the given peers only, and tell nobody of others")
    add(
        "--sync",
        choices=("full", "snap"),
        default="full",
        help="how to catch up: every block, or a recent state (full)",
    )
    add(
        "--trust",
        type=trusted_block,
        metavar="HEIGHT:HASH",
        help="a block that you know to be final: what peers give must agree with it",
    )
    add("--archive", action="store_true", help="keep the state of every height from now on")
    add("--keep-states", type=count, metavar="N", help="keep the state of so many heights (128 at least, the default)")
    add("--keep-blocks", type=count, metavar="N", help=f"keep so many blocks ({KEEP_BLOCKS_MIN} at least; all)")
    add("--validator", type=Path, metavar="KEYSTORE", help="take part in consensus with this key")
    add("--task", metavar="NAME", help="new development chain: one task, by name or a CSV file's path")
    add("--no-mine", action="store_true", help="development chain: without its custodian and miners")
    add("--block-interval", type=float, default=1.0, metavar="SECONDS", help="new development chain: block time (1)")
    add("--forget-votes", action="store_true", help="vote although the log of this key's votes is missing")
    add("--quiet", action="store_true", help="log lines instead of the live status")
    add("--log-format", choices=("text", "json"), default="text", help="form of the log lines")
    add("--evaluation", choices=("auto", "kernel", "float64", "reference"), default="auto", help="judge with this")
    add("--evaluation-threads", type=int, default=1, metavar="N", help="threads of an evaluation (1)")
    add("--profile", type=Path, metavar="FILE", help="write a cProfile of every thread at the end")
    add(
        "--until-stdin-closes", action="store_true", help=argparse.SUPPRESS
    )  # for whoever starts nodes and may be killed
    add_password(parser)


def port_number(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count: give a number from 1 on")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    if not 0.05 <= arguments.block_interval <= 3600:
        raise UsageError(f"--block-interval {arguments.block_interval} must be from 0.05 to 3600 seconds")
    if not 1 <= arguments.evaluation_threads <= 64:
        raise UsageError(f"--evaluation-threads {arguments.evaluation_threads} must be from 1 to 64")
    if arguments.archive and (arguments.keep_states or arguments.keep_blocks):
        raise UsageError("--archive keeps everything: leave --keep-states and --keep-blocks out")
    if arguments.keep_blocks is not None and arguments.keep_blocks < KEEP_BLOCKS_MIN:
        raise UsageError(f"--keep-blocks {arguments.keep_blocks} must be {KEEP_BLOCKS_MIN} at least, for others")
    if arguments.genesis and arguments.task:
        raise UsageError("--task is for a development chain; a network's tasks stand in its genesis file")
    network = network_settings(arguments)
    key = read_key(arguments, arguments.validator) if arguments.validator else None
    live = sys.stdout.isatty() and not arguments.quiet and os.environ.get("TERM", "dumb") != "dumb"
    if not live:
        set_up_logging(arguments.log_format)
    announce(f"opening {arguments.data_dir}", live=live)
    interval_ms = round(arguments.block_interval * 1000)
    directory = open_directory(
        arguments.data_dir,
        arguments.genesis,
        arguments.task,
        interval_ms,
        archive=arguments.archive,
        keep_states=arguments.keep_states,
    )
    try:
        if live:
            logs = directory.path / LOGS_NAME
            logs.mkdir(exist_ok=True)
            set_up_logging(arguments.log_format, path=logs / "node.log")
        own_keys = RoleKeys(directory=directory.path)
        development = directory.genesis.chain_id == DEVELOPMENT_CHAIN_ID and own_keys.validator.exists()
        if development and key is None:
            key = load_key(own_keys.validator, None)
        settings = NodeSettings(
            rpc_host=arguments.rpc_host,
            rpc_port=arguments.rpc_port,
            rpc_cors=tuple(arguments.rpc_cors),
            evaluation=arguments.evaluation,
            evaluation_threads=arguments.evaluation_threads,
            forget_votes=arguments.forget_votes,
            keep_blocks=arguments.keep_blocks,
            trust=arguments.trust,
            network=network,
        )
        if arguments.sync == "snap" and network:
            take_snapshot(directory, network, arguments.trust, live=live)
        folder = (arguments.genesis.parent if arguments.genesis else directory.path) / BLOBS_NAME
        node = FullNode(directory, settings, key, folder)
        return live_in_loop(node, arguments, live=live, with_roles=development and not arguments.no_mine)
    finally:
        directory.store.close()


def network_settings(arguments: argparse.Namespace) -> NetworkSettings | None:
    """What the options say of peers; None for a development chain that was told of none. Raises UsageError."""
    named = arguments.genesis or arguments.peer or arguments.p2p_port is not None or arguments.p2p_host
    if not named and not (arguments.data_dir / PEERS_NAME).exists():
        return None
    try:
        for text in arguments.peer:
            parse_peer(text)
        allowed = frozenset(parse_node(text) for text in arguments.allow_peer)
    except InvalidPeer as error:
        raise UsageError(str(error)) from error
    settings = NetworkSettings(
        host=arguments.p2p_host or ("0.0.0.0" if arguments.genesis else "127.0.0.1"),
        port=DEFAULT_PORT if arguments.p2p_port is None else arguments.p2p_port,
        peers=tuple(arguments.peer),
        allowed=allowed if arguments.allow_peer else None,
    )
    # Without discovery, given peers are dialled as always, others never, and nobody is told of this node.
    return replace(settings, outbound_max=0, announce_port=0) if arguments.no_discovery else settings


def live_in_loop(node: FullNode, arguments: argparse.Namespace, *, live: bool, with_roles: bool) -> int:
    """Run the node on an event loop until SIGINT or SIGTERM."""
    import uvloop

    gc.collect()
    gc.freeze()  # what is there at the start stays to the end: looking through it again would halt the loop
    gc.set_threshold(GARBAGE_THRESHOLD)
    profiles = Profiles() if arguments.profile else None
    if profiles:
        profiles.start()
    try:
        uvloop.run(serve(node, live=live, with_roles=with_roles, supervised=arguments.until_stdin_closes))
    finally:
        if profiles:
            profiles.write(arguments.profile)
    return 0


async def serve(node: FullNode, *, live: bool, with_roles: bool, supervised: bool) -> None:
    """Start everything, wait for the end, stop everything in order."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        stopped = asyncio.create_task(stopping.wait())
        if supervised:
            from chain.cli.children import until_stdin_closes

            abandoned = asyncio.create_task(until_stdin_closes())
            abandoned.add_done_callback(lambda _: stopping.set())
        await node.start()
        jobs: list[asyncio.Task[None]] = []
        node.node.followers.append(log_block)
        if node.networking:
            network = node.networking.network
            log.info("P2P on %s:%d, node 0x%s", network.settings.host, network.port, network.id.hex())
        log.info("RPC on %s, chain id %d, height %d", node.url, node.service.chain_id, node.chain.tip.height)
        if with_roles:
            from chain.cli.children import Roles

            roles = Roles(node.directory.path, node.url)
            announce("starting the custodian and the miners", live=live)
            await asyncio.wait([asyncio.create_task(roles.start()), stopped], return_when=asyncio.FIRST_COMPLETED)
            jobs.append(asyncio.create_task(roles.run()))
        jobs.append(asyncio.create_task(node.run()))
        if live:
            from chain.cli.status import show_status

            jobs.append(asyncio.create_task(show_status(node)))
        done, _ = await asyncio.wait([stopped, *jobs], return_when=asyncio.FIRST_COMPLETED)
        for job in (stopped, *jobs):
            job.cancel()
        await asyncio.gather(stopped, *jobs, return_exceptions=True)
        for job in done - {stopped}:
            job.result()
        log.info("stopped at height %d", node.chain.tip.height)
    finally:
        await node.close()


def announce(text: str, *, live: bool) -> None:
    """Tell what takes a while before there is a status to show."""
    log.info(text)
    if live:
        print(f"{text} ...", flush=True)


def log_block(committed: Committed) -> None:
    if not committed.live:
        return  # many a second: how far it has got is told instead
    header = committed.header
    log.info(
        "block %d: %d transactions, %.0f ms to finality, 0x%s",
        header.height,
        len(committed.prepared.transactions),
        committed.finality_ms,
        committed.prepared.hash.hex()[:16],
    )
