"""Home of the roles' view of a node: its public JSON-RPC and blobs, with retries while the node restarts."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from typing import Any

import aiohttp
import orjson

from chain.crypto import address_of
from chain.errors import LyceumError
from chain.signing import Fields, sign_transaction
from chain.types import CONTRACT_ADDRESS

log = logging.getLogger("lyceum.client")

BLOB_BYTES_MAX = 64 << 20
RETRY_SECONDS = (
    0.2,
    0.4,
    0.5,
)  # no longer: a node that is back makes blocks at once, and a reveal may be due in the first of them


class NodeError(LyceumError):
    """A node's answer that is an error."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class NodeUnreachable(LyceumError):
    """No node answers at this address."""


class NodeClient:
    """Calls to one node. `patient` clients wait for a node that is away; others raise NodeUnreachable at once."""

    def __init__(self, url: str, *, patient: bool = False) -> None:
        """Raises NodeUnreachable where `url` can't be a node's."""
        if not url.startswith(("http://", "https://")):
            raise NodeUnreachable(f"{url!r} is no node's address: one begins with http:// or https://")
        self.url = url.rstrip("/")
        self._patient = patient
        self._session: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)

    async def __aenter__(self) -> NodeClient:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(self, method: str, *parameters: Any) -> Any:
        """The result of one JSON-RPC call. Raises NodeError, NodeUnreachable."""
        body = orjson.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": parameters})
        status, content = await self._request("POST", "/", body, {"content-type": "application/json"})
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise NodeError(f"{self.url} answered {method} with status {status} and no JSON; is it a node?") from error
        if "error" in answer:
            raise NodeError(str(answer["error"].get("message")), int(answer["error"].get("code", 0)))
        return answer["result"]

    async def put_blob(self, task: str, data: bytes) -> str:
        """Upload a sealed blob; returns its root."""
        status, content = await self._request("PUT", f"/blobs?task={task}", data, {})
        if status not in (200, 201):
            raise NodeError(f"{self.url} refused a blob with status {status}: {content[:300].decode(errors='replace')}")
        return str(orjson.loads(content)["root"])

    async def get_blob(self, root: str) -> bytes:
        status, content = await self._request("GET", f"/blobs/{root}", None, {})
        if status != 200:
            raise NodeError(f"{self.url} has no blob {root} (status {status})")
        return content

    async def _request(self, verb: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        assert self._session is not None, "use the client in `async with`"
        for attempt in itertools.count():
            try:
                async with self._session.request(verb, self.url + path, data=data, headers=headers) as response:
                    return response.status, await self._content(response)
            except aiohttp.InvalidURL as error:
                raise NodeUnreachable(f"{self.url!r} is no node's address") from error
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                reason = f"no node answers at {self.url} ({_reason(error)})"
                if not self._patient:
                    raise NodeUnreachable(f"{reason}; is it running?") from error
                if attempt == 0:
                    log.warning("%s; waiting for it", reason)
                await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
        raise AssertionError("unreachable")

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body; `StreamReader.read` would give what has arrived so far."""
        parts, size = [], 0
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > BLOB_BYTES_MAX:
                raise NodeError(f"{self.url} sends more than {BLOB_BYTES_MAX} bytes; ask another node")
        return b"".join(parts)


def _reason(error: Exception) -> str:
    """Why a request failed, in the system's words where it has any."""
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    if number is not None and number > 0:
        return os.strerror(number)
    return str(error) or type(error).__name__


class Account:
    """An account that sends transactions through a node, one after the other."""

    def __init__(self, node: NodeClient, key: bytes) -> None:
        self.node = node
        self.address = address_of(key)
        self._key = key

    @property
    def name(self) -> str:
        return "0x" + self.address.hex()

    async def send(self, to: bytes, value: int, data: bytes, gas_limit: int | None = None) -> str:
        """Sign and send one transaction on the pending nonce; returns its hash. Raises NodeError."""
        node = self.node
        if gas_limit is None:
            message = {"from": self.name, "to": "0x" + to.hex(), "value": hex(value), "data": "0x" + data.hex()}
            gas_limit = int(await node.call("eth_estimateGas", message), 16)
        chain_id, nonce, block = await asyncio.gather(
            node.call("eth_chainId"),
            node.call("eth_getTransactionCount", self.name, "pending"),
            node.call("eth_getBlockByNumber", "latest", False),
        )
        tip = int(await node.call("eth_maxPriorityFeePerGas"), 16)
        fields = Fields(
            chain_id=int(chain_id, 16),
            nonce=int(nonce, 16),
            max_priority_fee_per_gas=tip,
            max_fee_per_gas=2 * int(block["baseFeePerGas"], 16) + tip,
            gas_limit=gas_limit,
            to=to,
            value=value,
            data=data,
        )
        transaction = sign_transaction(fields, self._key)
        try:
            return str(await node.call("eth_sendRawTransaction", "0x" + transaction.raw.hex()))
        except NodeError as error:
            if "already known" not in str(error):
                raise
            return "0x" + transaction.hash.hex()  # it had arrived, and the answer to an earlier try was lost

    async def call_contract(self, data: bytes, value: int = 0) -> str:
        return await self.send(CONTRACT_ADDRESS, value, data)

    async def receipt(self, hash_: str, blocks: int = 10) -> dict[str, Any] | None:
        """The receipt of a transaction, waiting for at most so many blocks; None if it is not included by then."""
        last = int(await self.node.call("eth_blockNumber"), 16) + blocks
        while True:
            receipt = await self.node.call("eth_getTransactionReceipt", hash_)
            if receipt is not None:
                return dict(receipt)
            if int(await self.node.call("eth_blockNumber"), 16) > last:
                return None
            await asyncio.sleep(0.1)
