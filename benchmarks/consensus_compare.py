"""Home of the same load on another node with the same RPC (anvil, hardhat, geth, ...), and of the ratios to it.

Only standard methods are used. The other node must have coins on the accounts of the customary mnemonic `test test test
test test test test test test test test junk`; from these the senders are funded before anything is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from benchmarks.connection import Connection
from benchmarks.consensus_client import Client
from benchmarks.consensus_signing import Terms, signed_transfer
from benchmarks.consensus_stage import Offer, Stage, Stages, Target
from benchmarks.load import sender_addresses
from chain.crypto import address_of
from chain.types import COIN, GWEI

MAX_FEE = 20_000 * GWEI
TIP = 2 * GWEI
SENDER_COINS = 100 * COIN
FUNDING_SECONDS = 60.0
MAX_FEE_OF_FUNDING = 100 * GWEI
# Accounts 0 to 9 of the mnemonic, path m/44'/60'/0'/0/i: public knowledge, without worth on any real network.
FUNDERS = tuple(
    bytes.fromhex(key)
    for key in (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
        "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
        "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
        "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
        "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
        "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
        "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
        "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    )
)


class CannotCompare(RuntimeError):
    """The other node lacks what the comparison needs; the message says what."""


async def measure_other(
    url: str, senders: int, loads: Sequence[str], offer: Offer, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The stages of another node. Raises CannotCompare, OSError."""
    connection = await Connection.open(url)
    try:
        version = await connection.call("web3_clientVersion")
        chain_id = int(await connection.call("eth_chainId"), 16)
        tell(f"{version}, chain id {chain_id}: funding {senders} senders")
        await fund(connection, chain_id, sender_addresses(senders))
        first = [await count_of(connection, address) for address in sender_addresses(senders)]
    finally:
        connection.close()
    terms = Terms(chain_id=chain_id, max_fee_per_gas=MAX_FEE, max_priority_fee_per_gas=TIP)
    pid = listener(int(url.rpartition(":")[2].strip("/")))
    target = Target(
        urls=(url,), node_pids=(pid,) if pid else (), role_pids=(), quiet_seconds=0.0, sent_bytes=_sends_nothing
    )
    client = await Client.start(senders, terms, first)
    try:
        stages = Stages(client, target, offer, tell)
        await stages.warm_up()
        for load in loads:
            await stages.run(load)
    finally:
        await client.close()
    return {"url": url, "version": version, "stages": [asdict(stage) for stage in stages.done]}


async def fund(connection: Connection, chain_id: int, receivers: Sequence[bytes]) -> None:
    """Give each of these that has less SENDER_COINS, and wait until it has them. Raises CannotCompare."""
    terms = Terms(chain_id=chain_id, max_fee_per_gas=MAX_FEE_OF_FUNDING, max_priority_fee_per_gas=TIP)
    poor = [address for address in receivers if await balance_of(connection, address) < SENDER_COINS]
    funders = [key for key in FUNDERS if await balance_of(connection, address_of(key)) > SENDER_COINS]
    if poor and not funders:
        raise CannotCompare(f"the node's account 0x{address_of(FUNDERS[0]).hex()} has no coins to fund senders with")
    nonces = [await count_of(connection, address_of(key)) for key in funders]
    for place, address in enumerate(poor):
        funder = place % len(funders)
        transfer = signed_transfer(funders[funder], funder, nonces[funder], address, SENDER_COINS, terms)
        nonces[funder] += 1
        await connection.call("eth_sendRawTransaction", transfer.raw)
    end = time.monotonic() + FUNDING_SECONDS
    for address in poor:
        while await balance_of(connection, address) < SENDER_COINS:
            if time.monotonic() > end:
                raise CannotCompare(f"transfers to the senders are not included within {FUNDING_SECONDS:.0f} s")
            await asyncio.sleep(0.05)


async def balance_of(connection: Connection, address: bytes) -> int:
    return int(await connection.call("eth_getBalance", "0x" + address.hex(), "latest"), 16)


async def count_of(connection: Connection, address: bytes) -> int:
    return int(await connection.call("eth_getTransactionCount", "0x" + address.hex(), "pending"), 16)


async def _sends_nothing() -> int | None:
    return None


def listener(port: int) -> int | None:
    """The process of this machine that listens on a port, None where it is another machine's or another user's."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                links = [str(link.readlink()) for link in (entry / "fd").iterdir()]
            except OSError:
                continue
            if any(link in sockets for link in links):
                return int(entry.name)
    return None


def ratios(ours: Sequence[Stage], theirs: Sequence[Stage], version: str) -> str:
    """A table of our stages beside theirs of the same name."""
    others = {stage.name: stage for stage in theirs}
    lines = [
        f"| load | figure | Lyceum | {version} | Lyceum / other |",
        "|---|---|---|---|---|",
    ]
    for stage in ours:
        if stage.name in others:
            lines += [_ratio(stage.name, *row) for row in _figures(stage, others[stage.name])]
    return "\n".join(lines)


def _figures(own: Stage, other: Stage) -> list[tuple[str, float | None, float | None]]:
    found: list[tuple[str, float | None, float | None]] = [
        ("included transfers/s", own.included_per_second, other.included_per_second)
    ]
    found += [
        (f"finality {name}, s", own.finality_seconds[name], other.finality_seconds[name])
        for name in ("p50", "p95", "p99")
    ]
    found.append(("CPU ms per transfer and node", own.cpu_ms_per_transfer, other.cpu_ms_per_transfer))
    found.append(("memory peak, MiB", own.memory_peak_mib, other.memory_peak_mib))
    return found


def _ratio(load: str, what: str, own: float | None, other: float | None) -> str:
    ratio = "-" if own is None or not other else f"{own / other:.2f}"
    return f"| {load} | {what} | {_shown(own)} | {_shown(other)} | {ratio} |"


def _shown(value: float | None) -> str:
    return "-" if value is None else orjson.dumps(value).decode()
