"""Home of the light client: it asks any node's public RPC and believes only what it has verified."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

from chain.genesis import Genesis
from chain.light import InvalidLight, Trusted, descend, reach, rules_of, trust_block, trust_genesis
from chain.light_answers import (
    account_key,
    account_of,
    head_of,
    miner_key,
    miner_of,
    read_light_block,
    read_proof,
    round_key,
    round_of,
    task_key,
    verified_value,
)
from chain.light_blocks import LightBlock
from chain.operations.learning_state import Miner, Round
from chain.vote_signatures import VoteSignatures


class Caller(Protocol):
    """One JSON-RPC call, such as `chain.roles.client.NodeClient.call`."""

    def __call__(self, method: str, *parameters: Any) -> Awaitable[Any]: ...


class LightClient:
    """Verifies balances, heads and rewards of a chain, of which it knows the genesis file and at best a recent block.

        async with NodeClient(url) as node:
            client = LightClient(genesis, node.call, now_ms=lambda: time.time_ns() // 1_000_000, trust=(height, hash))
            nonce, balance = await client.account(address)

    Without `trust` it starts at genesis, and believes that no key of a retired validator has been stolen. Every method
    raises InvalidLight (TrustExpired among it) where the node's answers do not show what they should.
    """

    def __init__(
        self,
        genesis: Genesis,
        call: Caller,
        *,
        now_ms: Callable[[], int],
        trust: tuple[int, bytes] | None = None,
    ) -> None:
        self._genesis, self._call, self._now_ms, self._trust = genesis, call, now_ms, trust
        self._rules = rules_of(genesis, VoteSignatures(genesis.hash).signers_of, aging=trust is not None)
        self._trusted: Trusted | None = None

    async def header(self, height: int | None = None) -> Trusted:
        """The block of a height, by default the newest, verified; later questions start from there."""
        trusted = self._trusted or await self._first()
        if height is None:
            height = int(str(await self._call("eth_blockNumber")), 16)
            if height < trusted.height:
                return trusted
        walk = descend(trusted, height) if height < trusted.height else self._reach(trusted, height)
        found = await self._walk(walk)
        if self._trusted is None or found.height > self._trusted.height:
            self._trusted = found
        return found

    def _reach(self, trusted: Trusted, height: int) -> Generator[int, LightBlock, Trusted]:
        return reach(trusted, height, self._rules, self._now_ms())

    async def _first(self) -> Trusted:
        if self._trust is None:
            return trust_genesis(self._genesis)
        height, hash_ = self._trust
        return trust_block(await self._light_block(height), height, hash_)

    async def _walk(self, walk: Generator[int, LightBlock, Trusted]) -> Trusted:
        try:
            wanted = next(walk)
            while True:
                wanted = walk.send(await self._light_block(wanted))
        except StopIteration as done:
            trusted: Trusted = done.value
            return trusted

    async def _light_block(self, height: int) -> LightBlock:
        return read_light_block(await self._call("learn_header", hex(height)))

    async def value(self, key: bytes, height: int | None = None) -> bytes | None:
        """A flat key's value after a block, by default the newest; None where it has none."""
        trusted = await self.header(height)
        answer = await self._call("learn_proof", "0x" + key.hex(), hex(trusted.height))
        return verified_value(trusted, read_proof(answer, trusted, key, self._rules.signers_of))

    async def account(self, address: bytes, height: int | None = None) -> tuple[int, int]:
        """(nonce, balance in 10^-18 coin) of an account."""
        return account_of(await self.value(account_key(address), height))

    async def head(self, task: bytes, height: int | None = None) -> bytes:
        """The weights root of a task's newest head."""
        found = head_of(await self.value(task_key(task), height))
        if found is None:
            raise InvalidLight(f"there is no task 0x{task.hex()}")
        return found

    async def round(self, task: bytes, number: int, height: int | None = None) -> Round | None:
        """A round with its updates' fates and rewards, and its record once it is settled."""
        return round_of(await self.value(round_key(task, number), height))

    async def miner(self, task: bytes, address: bytes, height: int | None = None) -> Miner:
        """What an account has earned in a task, over all its ended rounds."""
        return miner_of(await self.value(miner_key(task, address), height))
