"""Home of a whole node in one process: its directory opened, its parts put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from chain.blob_keeping import BlobKeeper
from chain.clock_watch import ClockWatch
from chain.crypto import recover_many
from chain.errors import LyceumError
from chain.evaluations import Evaluations
from chain.executor import Chain
from chain.network.settings import NetworkSettings
from chain.networking import Networking
from chain.node import Node
from chain.node_directory import (
    Directory,
    open_blobs,
    open_vote_log,
    remembers_votes,
    take_in_blobs,
)
from chain.pool.admission import Limits
from chain.pool.intake import Intake
from chain.pool.mempool import Mempool
from chain.service import Service
from chain.storage.statetree import warm
from chain.storage.votelog_file import VOTES_NAME
from chain.sync.settlement_gate import SettlementGate
from chain.sync.sync_progress import progress_of
from chain.validator import Validator
from learning.evaluation import self_test
from rpc.limits import LOCAL_HOSTS, Settings
from rpc.server import Server

log = logging.getLogger("lyceum.node")


class CannotListen(LyceumError):
    """RPC's host is none of this machine's, or the system does not allow listening there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a node's owner chooses for this run."""

    rpc_host: str = "127.0.0.1"
    rpc_port: int = 8545
    rpc_cors: tuple[str, ...] = ()
    evaluation: str = "auto"
    evaluation_threads: int = 1
    forget_votes: bool = False
    keep_blocks: int | None = None  # of the newest; None: all
    trust: tuple[int, bytes] | None = None  # height and hash of a block that the chain must have
    network: NetworkSettings | None = None  # None: by itself, without peers


class FullNode:
    """A node's parts, started by `start` and stopped by `close`; `run` is its life in between."""

    def __init__(self, directory: Directory, settings: NodeSettings, key: bytes | None, genesis_folder: Path) -> None:
        """Opens what is on the disk; blocking. Raises DataDirectoryDamaged, StorageFailed, NoExactBackend."""
        disabled = {name: reason for name, reason in self_test((1, settings.evaluation_threads)).items() if reason}
        for name, reason in disabled.items():
            log.warning("evaluation backend %s is disabled: %s", name, reason)
        warm()
        recover_many(())  # the first call loads compiled code, which the first transaction should not wait for
        self.directory = directory
        self.blobs = open_blobs(directory.path)
        take_in_blobs(self.blobs, genesis_folder)
        self.chain = Chain(directory.store, directory.genesis, keep_blocks=settings.keep_blocks)
        limits = Limits(base_fee_minimum=self.chain.parameters.base_fee_minimum)
        self.intake = Intake(self.chain, Mempool(limits))
        vote_log = open_vote_log(directory.path / VOTES_NAME)
        remembers = not key or settings.forget_votes or remembers_votes(vote_log, self.chain, key)
        self.node = Node(self.chain, self.intake, vote_log, key, remembers=remembers)
        self.evaluations = Evaluations(
            self.chain, self.blobs, backend=settings.evaluation, threads=settings.evaluation_threads
        )
        self.keeper = BlobKeeper(self.chain, self.blobs)
        self.networking = (
            Networking(
                settings.network,
                directory.path,
                directory.genesis.hash,
                self.node,
                self.intake,
                self.keeper,
                self.blobs,
            )
            if settings.network
            else None
        )
        self.service = Service(self.chain, self.node, self.intake, self.blobs, self.evaluations, self.keeper)
        self.progress = self.service.progress = progress_of(self.node)
        self._gate = self.node.gate = SettlementGate(
            self.chain, self.evaluations, lambda: self.node.replica.highest - 1, trust=settings.trust
        )
        if self.networking:
            self.service.network = self.networking.network
        self.validator = Validator(self.chain, self.blobs, self.evaluations, self.intake, key) if key else None
        self._rpc_settings = Settings(
            host=settings.rpc_host,
            port=settings.rpc_port,
            allowed_origins=settings.rpc_cors,
            allowed_hosts=(*LOCAL_HOSTS, settings.rpc_host),
        )
        self._server: Server | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen, and follow what the chain commits. Raises PortInUse, CannotListen."""
        self._server = Server(self.service, self._rpc_settings)
        host = self._rpc_settings.host
        try:
            port = await self._server.start()
        except OSError as error:
            raise CannotListen(
                f"can't listen on {host!r} ({error.strerror}): choose another with --rpc-host"
            ) from error
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._follow()
        if self.networking:
            await self.networking.start()

    def _follow(self) -> None:
        """Let the parts hear of each other."""
        self.node.followers += [self._gate.committed, self.keeper.committed, self.evaluations.committed]
        self.node.followers.append(ClockWatch().committed)
        self.evaluations.seekers.append(self.keeper.need)
        self.keeper.followers.append(self.evaluations.blobs_came)
        if self.validator:
            self.node.followers.append(self.validator.committed)
            self.evaluations.followers.append(self.validator.do_what_is_due)
            self.keeper.followers.append(self.validator.do_what_is_due)
            self.node.accusers.append(self.validator.report)

    async def run(self) -> None:
        """Take part until cancelled, or until something stops the node."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.node.run())
                group.create_task(self.evaluations.run())
                group.create_task(self.keeper.run())
                group.create_task(self.progress.run())
                if self.networking:
                    group.create_task(self.networking.run())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def close(self) -> None:
        """Stop listening, finish what is being written, let others have the directory."""
        if self._server:
            await self._server.close()
        if self.networking:
            await self.networking.close()
        self.intake.close()
        self.evaluations.close()
        self.keeper.close()
        self.directory.store.close()
