"""Home of a whole node in one process: its directory opened, its parts put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from chain.admission import Limits
from chain.blob_keeping import BlobKeeper
from chain.blobs import BlobStore, UploadLimits
from chain.crypto import address_of, recover_many
from chain.datadir import (
    DataDirectoryDamaged,
    DataDirectoryForeign,
    DirectoryLock,
    prepare_directory,
    storage_error,
)
from chain.development import BLOBS_NAME, GENESIS_NAME, KEYS_NAME, MAKING_NAME, ROLES_NAME, make_development_chain
from chain.errors import InvalidInput, LyceumError
from chain.evaluations import Evaluations
from chain.executor import Chain
from chain.genesis import Genesis, InvalidGenesis, parse_genesis
from chain.intake import Intake
from chain.mempool import Mempool
from chain.node import Node
from chain.service import Service
from chain.statetree import warm
from chain.store import Store
from chain.validator import Validator
from chain.votelog_file import VoteLog
from consensus import codec, votelog
from consensus.types import Voter
from learning.commitment import blob_root
from learning.evaluation import self_test
from rpc.limits import LOCAL_HOSTS, Settings
from rpc.server import Server

log = logging.getLogger("lyceum.node")

VOTES_NAME = "votes.log"
BLOB_STORE_NAME = "blobs"
LOGS_NAME = "logs"
NODE_KEY_NAME = "node.key"
BESIDE_LEDGER = (
    GENESIS_NAME,
    BLOBS_NAME,
    KEYS_NAME,
    ROLES_NAME,
    MAKING_NAME,
    VOTES_NAME,
    BLOB_STORE_NAME,
    LOGS_NAME,
    NODE_KEY_NAME,
)
MIB = 1 << 20


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """An opened data directory: locked for this process, its network known."""

    path: Path
    genesis: Genesis
    store: Store


def open_directory(path: Path, genesis: Path | None, task: str | None, block_interval_ms: int) -> Directory:
    """Open a data directory, or make one: of the network of `genesis`, or of a new development chain without it.

    Raises DataDirectoryForeign, -Locked, -Damaged, StorageFailed, InvalidGenesis.
    """
    own = path / GENESIS_NAME
    fresh = not own.exists()
    if fresh and not genesis:
        # Claim the directory first: two nodes that start at once must not make two chains in it.
        if not prepare_directory(path, create=True, beside=BESIDE_LEDGER):
            raise DataDirectoryDamaged(f"{own} is missing: restore it from a copy, or choose another --data-dir")
        lock = DirectoryLock(path)
        try:
            make_development_chain(path, task, block_interval_ms)
        finally:
            lock.release()
    encoded, parsed = read_genesis(genesis if fresh and genesis else own)
    if genesis and not fresh and read_genesis(genesis)[1].hash != parsed.hash:
        raise DataDirectoryForeign(
            f"{path} belongs to another network than {genesis}: give another directory with --data-dir"
        )
    store = Store.open(
        path,
        create=True,
        genesis=parsed.hash,
        history=parsed.parameters.history_heights,
        beside=BESIDE_LEDGER,
    )
    if fresh and genesis:
        _keep_genesis(own, encoded)
    return Directory(path=path, genesis=parsed, store=store)


def read_genesis(path: Path) -> tuple[bytes, Genesis]:
    """A genesis file as it stands, and what it says. Raises StorageFailed, InvalidGenesis naming the file."""
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise storage_error(f"can't read the genesis file {path}", error) from error
    try:
        return encoded, parse_genesis(encoded)
    except InvalidInput as error:
        raise InvalidGenesis(f"{path}: {error}") from error


def _keep_genesis(path: Path, encoded: bytes) -> None:
    beside = path.with_suffix(".new")
    try:
        with beside.open("wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise storage_error(f"can't write {path}", error) from error


def open_blobs(path: Path) -> BlobStore:
    """The blob store of a data directory."""
    limits = UploadLimits(blob_bytes=4 * MIB, client_bytes=64 * MIB, task_bytes=256 * MIB, total_bytes=1024 * MIB)
    return BlobStore(path / BLOB_STORE_NAME, root_of=blob_root, limits=limits)


def take_in_blobs(blobs: BlobStore, folder: Path) -> None:
    """Keep the sealed shards that lie in a folder beside a genesis file, those that are what their names say."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        root = bytes.fromhex(path.name) if len(path.name) == 64 else b""
        if not root or blobs.has(root):
            continue
        data = path.read_bytes()
        if blob_root(data) != root:
            raise LyceumError(f"{path} is damaged: its content has another root than its name; copy it again")
        blobs.put(root, data)


def open_vote_log(path: Path) -> VoteLog:
    """The vote log of a data directory. Raises DataDirectoryDamaged, StorageFailed."""
    try:
        return VoteLog(path)
    except votelog.InvalidVoteLog as error:
        raise DataDirectoryDamaged(f"{path}: {error}") from error
    except OSError as error:
        raise storage_error(f"can't open {path}", error) from error


def require_memory(vote_log: VoteLog, chain: Chain, key: bytes) -> None:
    """The log of a key that may have voted knows of its votes. Raises DataDirectoryDamaged; the file is as it was."""
    if not chain.last_commit:
        return  # nobody votes on genesis
    if vote_log.created:
        vote_log.discard()
        what = "is missing"
    elif votelog.forgets(
        votelog.recover(vote_log.records()), codec.decode_commit(chain.last_commit), Voter(address_of(key))
    ):
        vote_log.close()
        what = f"ends before the precommit that this key has signed for height {chain.tip.height}"
    else:
        return
    raise DataDirectoryDamaged(
        f"{vote_log.path} {what}, so the key may have signed votes that nobody remembers: restore it, or say with "
        "--forget-votes that the key has signed nothing elsewhere"
    )


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
        self.chain = Chain(directory.store, directory.genesis)
        limits = Limits(base_fee_minimum=self.chain.parameters.base_fee_minimum)
        self.intake = Intake(self.chain, Mempool(limits))
        vote_log = open_vote_log(directory.path / VOTES_NAME)
        if key and not settings.forget_votes:
            require_memory(vote_log, self.chain, key)
        self.node = Node(self.chain, self.intake, vote_log, key)
        self.evaluations = Evaluations(
            self.chain, self.blobs, backend=settings.evaluation, threads=settings.evaluation_threads
        )
        self.keeper = BlobKeeper(self.chain, self.blobs)
        self.service = Service(self.chain, self.node, self.intake, self.blobs, self.evaluations, self.keeper)
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
        self.node.followers += [self.keeper.committed, self.evaluations.committed]
        self.evaluations.seekers.append(self.keeper.need)
        self.keeper.followers.append(self.evaluations.blobs_came)
        if self.validator:
            self.node.followers.append(self.validator.committed)
            self.evaluations.followers.append(self.validator.do_what_is_due)
            self.keeper.followers.append(self.validator.do_what_is_due)

    async def run(self) -> None:
        """Take part until cancelled, or until something stops the node."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.node.run())
                group.create_task(self.evaluations.run())
                group.create_task(self.keeper.run())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def close(self) -> None:
        """Stop listening, finish what is being written, let others have the directory."""
        if self._server:
            await self._server.close()
        self.intake.close()
        self.evaluations.close()
        self.keeper.close()
        self.directory.store.close()
