"""Home of `verify`: re-compute a data directory's whole history, and say where it differs."""

from __future__ import annotations

import argparse
import sys

from chain.cli.options import add_data_dir
from chain.errors import LyceumError


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
    from chain.full_node import open_blobs
    from chain.genesis import parse_genesis
    from chain.store import Store
    from chain.verification import Verifier

    if not 1 <= arguments.threads <= 64:
        raise LyceumError(f"--threads {arguments.threads} must be from 1 to 64")
    path = arguments.data_dir
    with Store.open(path, create=False, checked=True) as store:
        try:
            genesis = parse_genesis((path / GENESIS_NAME).read_bytes())
        except OSError as error:
            raise LyceumError(f"can't read {path / GENESIS_NAME}: {error.strerror}; restore it from a copy") from error
        verifier = Verifier(store, open_blobs(path), genesis, backend=arguments.evaluation, threads=arguments.threads)
        verified = verifier.run(show_progress if sys.stderr.isatty() else lambda done, of: None)
    found = {
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
        print(
            f"verified {found['height']} blocks, {found['transactions']} transactions, "
            f"{found['settlements']} settlements and {found['heads']} heads; state root {found['stateRoot']}"
        )
    return 0


def show_progress(done: int, of: int) -> None:
    if done % 50 == 0 or done == of:
        print(f"\rheight {done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)
