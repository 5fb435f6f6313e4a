"""Home of `custody`: a custodian of held-out data as a client of any node."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from chain.cli.children import add_supervision, report_ready, run_role
from chain.cli.options import add_key, add_rpc, read_key, set_up_logging
from chain.crypto import address_of, checksum_address
from chain.roles.custodian import keep_custody

log = logging.getLogger("lyceum.custodian")


def configure(parser: argparse.ArgumentParser) -> None:
    add_rpc(parser)
    add_key(parser)
    parser.add_argument(
        "--secrets", type=Path, required=True, metavar="DIR", help="the custodian's secrets, as `init` wrote them"
    )
    add_supervision(parser)


def run(arguments: argparse.Namespace) -> int:
    set_up_logging()
    key = read_key(arguments, arguments.key)
    log.info("keeping custody through %s as %s", arguments.rpc, checksum_address(address_of(key)))
    job = keep_custody(arguments.rpc, key, arguments.secrets, ready=report_ready(arguments))
    asyncio.run(run_role(job, arguments))
    return 0
