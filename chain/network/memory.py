"""Home of what a node remembers of others from one run to the next: addresses and bans, in one file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from chain.errors import InvalidInput
from chain.network.book import Address, AddressBook
from chain.network.messages import PORT_MAX
from chain.network.ranges import network_range
from chain.network.settings import NODE_BYTES
from chain.network.standing import Standing

log = logging.getLogger("lyceum.network")

PEERS_NAME: Final = "peers.json"
SAVE_S: Final = 15.0
FILE_BYTES_MAX: Final = 8 << 20


class Memory:
    """The file of a data directory. Nothing depends on it: if it is damaged, the node starts without."""

    def __init__(self, directory: Path, book: AddressBook, standing: Standing) -> None:
        self._path = directory / PEERS_NAME
        self._book = book
        self._standing = standing
        self._next = 0.0
        self.changed = False

    def load(self) -> None:
        try:
            if self._path.stat().st_size > FILE_BYTES_MAX:
                raise ValueError("it is too large")
            content = json.loads(self._path.read_bytes())
            addresses = [_address(item) for item in content["addresses"]]
            bans = [(_who(item["who"]), float(item["until"]), str(item["reason"])) for item in content["bans"]]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, InvalidInput) as error:
            log.warning("%s can't be read and is begun anew: %s", self._path, error)
            return
        for address in addresses:
            self._book.restore(address)
        for ban in bans:
            self._standing.restore(*ban)

    async def save_if_due(self, now: float) -> None:
        if now >= self._next and (self.changed or self._book.changed):
            self._next = now + SAVE_S
            await self.save()

    async def save(self) -> None:
        """Write the file whole, beside the old one, then in its place."""
        self.changed = self._book.changed = False
        content = {
            "addresses": [_described(item) for item in self._book.all() if not item.own and not item.given],
            "bans": [
                {"who": "0x" + who.hex() if isinstance(who, bytes) else who, "until": until, "reason": reason}
                for who, until, reason in self._standing.bans()
            ],
        }
        try:
            await asyncio.to_thread(_write, self._path, json.dumps(content, indent=1).encode())
        except OSError as error:
            log.warning("%s can't be written: %s", self._path, error)


def _described(address: Address) -> dict[str, Any]:
    return {
        "host": address.host,
        "port": address.port,
        "node": "0x" + address.node.hex(),
        "proved": address.proved,
        "failures": address.failures,
    }


def _address(item: dict[str, Any]) -> Address:
    """Raises ValueError, KeyError, TypeError, InvalidAddressOfNode for what was never written here."""
    node = bytes.fromhex(item["node"][2:])
    host, port, failures = str(item["host"]), int(item["port"]), int(item["failures"])
    network_range(host)
    if len(node) not in (0, NODE_BYTES) or not 0 < port <= PORT_MAX:
        raise ValueError(f"{item} is no address")
    return Address(host=host, port=port, node=node, proved=float(item["proved"]), failures=failures)


def _who(text: str) -> bytes | str:
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text


def _write(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    with contextlib.suppress(OSError):
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
