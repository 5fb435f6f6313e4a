"""Home of a node's data directory: opened or made, with everything in it but what the store itself keeps."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from chain import contract
from chain.crypto import address_of
from chain.development import BLOBS_NAME, GENESIS_NAME, KEYS_NAME, MAKING_NAME, ROLES_NAME, make_development_chain
from chain.errors import InvalidInput, LyceumError
from chain.executor import Chain
from chain.genesis import Genesis, InvalidGenesis, parse_genesis
from chain.network.identity import NODE_KEY_NAME
from chain.network.memory import PEERS_NAME
from chain.storage.blobs import BlobStore, UploadLimits
from chain.storage.datadir import (
    DataDirectoryDamaged,
    DataDirectoryForeign,
    DirectoryLock,
    prepare_directory,
    storage_error,
)
from chain.storage.store import Store
from chain.storage.votelog_file import VOTES_NAME, VoteLog
from chain.sync.snapshot_files import SNAPSHOTS_NAME
from consensus import codec, votelog
from consensus.types import Voter
from learning.commitment import blob_root

log = logging.getLogger("lyceum.node")

BLOB_STORE_NAME = "blobs"
LOGS_NAME = "logs"
PEERS_NEW_NAME = "peers.new"  # the same, while it is written: a crash may leave it
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
    PEERS_NAME,
    PEERS_NEW_NAME,
    SNAPSHOTS_NAME,
)
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """An opened data directory: locked for this process, its network known."""

    path: Path
    genesis: Genesis
    store: Store


def open_directory(
    path: Path,
    genesis: Path | None,
    task: str | None,
    block_interval_ms: int,
    *,
    archive: bool = False,
    keep_states: int | None = None,
) -> Directory:
    """Open a data directory, or make one: of the network of `genesis`, or of a new development chain without it.

    `archive` keeps the state of every height from now on, otherwise of the last `keep_states`, by default as many as
    the network asks for.

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
        archive=archive,
        history=max(parsed.parameters.history_heights, keep_states or 0),
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


def remembers_votes(vote_log: VoteLog, chain: Chain, key: bytes) -> bool:
    """Whether the log knows of all votes that its key may have signed; if not, the key abstains at first.

    Raises DataDirectoryDamaged, leaving the file as it was, for a sole validator: nobody goes on while it abstains.
    """
    log_, own = votelog.recover(vote_log.records()), Voter(address_of(key))
    if vote_log.created:
        what = "is missing"
    elif chain.last_commit and votelog.forgets(log_, codec.decode_commit(chain.last_commit), own):
        what = f"ends before the precommit that this key has signed for height {chain.tip.height}"
    elif not vote_log.records():
        what = "is empty"
    elif votelog.ends_in_silence(vote_log.records()):
        what = "is that of a key that has lost an earlier one and not voted since"
    else:
        return True
    if not chain.last_commit:
        return False  # nobody votes on genesis, but the others may be further: the replica finds out
    if [voter for voter, _ in contract.voters_of(chain.store)] == [own]:
        vote_log.discard() if vote_log.created else vote_log.close()
        raise DataDirectoryDamaged(
            f"{vote_log.path} {what}, so the key may have signed votes that nobody remembers: restore it, or say with "
            "--forget-votes that the key has signed nothing elsewhere"
        )
    log.warning("%s %s: this key abstains until it has seen how far the others are", vote_log.path, what)
    return False
