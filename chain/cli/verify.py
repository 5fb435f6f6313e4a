"""Home of `verify`: re-compute a data directory's whole history, and say where it differs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chain.cli.main import UsageError
from chain.cli.options import add_data_dir
from chain.storage.datadir import storage_error

if TYPE_CHECKING:
    from chain.genesis import Genesis


def configure(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument(
        "--evaluation", choices=("auto", "kernel", "float64", "reference"), default="auto", help="the exact backend"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the evaluation (1)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    from chain.development import GENESIS_NAME
    from chain.node_directory import open_blobs
    from chain.storage.datadir import prepare_directory
    from chain.storage.store import Store
    from chain.storage.votelog_file import VOTES_NAME
    from chain.verification.history import Verifier
    from chain.verification.votes import verify_vote_log

    if not 1 <= arguments.threads <= 64:
        raise UsageError(f"--threads {arguments.threads} must be from 1 to 64")
    path = arguments.data_dir
    prepare_directory(path, create=False, beside=())
    genesis = read_genesis(path / GENESIS_NAME)
    # As an archive: nothing that the directory holds is dropped for being old.
    history = genesis.parameters.history_heights
    with Store.open(path, create=False, checked=True, archive=True, history=history) as store:
        verifier = Verifier(store, open_blobs(path), genesis, backend=arguments.evaluation, threads=arguments.threads)
        verified = verifier.run(show_progress if sys.stderr.isatty() else lambda done, of: None)
        verify_vote_log(path / VOTES_NAME, store, own_address(path))
    found = {
        "firstBlock": verified.first_block,
        "replayedFrom": verified.replayed_from,
        "height": verified.height,
        "transactions": verified.transactions,
        "settlements": verified.settlements,
        "heads": verified.heads,
        "stateRoot": "0x" + verified.state_root.hex(),
        "blockHash": "0x" + verified.block_hash.hex(),
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        blocks = verified.height - verified.first_block + 1
        print(
            f"verified {blocks} blocks, {found['transactions']} transactions, "
            f"{found['settlements']} settlements and {found['heads']} heads; state root {found['stateRoot']}"
        )
        if verified.replayed_from:
            print(
                f"blocks begin at height {verified.first_block}; what was before is not here. After height "
                f"{verified.replayed_from} everything was computed anew; the blocks until then were checked by links, "
                "contents and signatures"
            )
    return 0


def own_address(path: Path) -> bytes | None:
    """The validator of a development chain, whose key lies in the directory."""
    from chain.crypto import address_of
    from chain.development import RoleKeys
    from chain.keys import load_plain_key

    key = RoleKeys(directory=path).validator
    return address_of(load_plain_key(key)) if key.exists() else None


def read_genesis(path: Path) -> Genesis:
    """The genesis file in the directory. Raises Different at height 0, StorageFailed."""
    from chain.errors import InvalidInput
    from chain.genesis import parse_genesis
    from chain.verification.replay import Different

    try:
        return parse_genesis(path.read_bytes())
    except InvalidInput as error:
        raise Different(0, "genesis", str(error)) from error
    except OSError as error:
        raise storage_error(f"can't read {path}; restore it from a copy", error) from error


def show_progress(done: int, of: int) -> None:
    if done % 50 == 0 or done == of:
        print(f"\rheight {done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)
