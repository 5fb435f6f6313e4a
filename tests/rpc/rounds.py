"""Home of a chain on which two miners and a custodian, real clients, play rounds, while libraries follow the rewards."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray
from web3 import HTTPProvider, Web3

from chain.keys import load_or_make_plain_key
from chain.operations.clock import Phase
from chain.roles.client import Account, NodeClient
from chain.roles.custodian import Custodian, read_custodies
from chain.roles.journal import Journal
from chain.roles.miner import Course, TaskMiner
from chain.types import CONTRACT_ADDRESS
from learning.datasets import Dataset
from tests.rpc.ethers import NotInstalled, installed
from tests.rpc.live import KEYS, LiveChain

CONTRACT = "0x" + CONTRACT_ADDRESS.hex()
ROUNDS = 2
HEIGHT_MAX = 100
JUDGING_SECONDS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """One `Rewarded` event as a library told of it."""

    task: str
    miner: str
    round: int
    amount: int
    transaction: str


class EthersFollower:
    """A node process in which ethers follows the rewards; `skipped` says why there is none."""

    def __init__(self, live: LiveChain) -> None:
        self.skipped = ""
        try:
            folder = installed()
        except NotInstalled as reason:
            self.skipped = str(reason)
            return
        command = ["node", "follow.mjs", live.url, live.websocket_url]
        self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def finish(self) -> list[Reward]:
        """End it; what it heard."""
        if self.skipped:
            return []
        heard, _ = self._process.communicate(timeout=20)
        return [Reward(**(told | {"amount": int(told["amount"])})) for told in map(json.loads, heard.splitlines())]


class Web3Follower:
    """web3.py with a filter on the rewards, polled."""

    def __init__(self, live: LiveChain) -> None:
        w3 = Web3(HTTPProvider(live.url))
        address = Web3.to_checksum_address(CONTRACT)
        contract = w3.eth.contract(address=address, abi=live.call("learn_abi"))
        self._filter = contract.events.Rewarded.create_filter(from_block="latest")
        self.heard: list[Reward] = []

    def poll(self) -> None:
        for event in self._filter.get_new_entries():
            values = event["args"]
            self.heard.append(
                Reward(
                    task="0x" + values["task"].hex(),
                    miner=values["miner"].lower(),
                    round=values["round"],
                    amount=values["amount"],
                    transaction=event["transactionHash"].to_0x_hex(),
                )
            )


class SubscriptionFollower:
    """A WebSocket with `learn_subscribe`, read in the background."""

    def __init__(self, live: LiveChain) -> None:
        self._live = live
        self.heard: dict[str, list[dict[str, Any]]] = {"rounds": [], "updates": []}

    async def __aenter__(self) -> SubscriptionFollower:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(self._live.url)
        self._kinds = {}
        for kind in self.heard:
            await self._socket.send_json({"jsonrpc": "2.0", "id": kind, "method": "learn_subscribe", "params": [kind]})
            self._kinds[(await self._socket.receive_json())["result"]] = kind
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.1)  # what was told is on its way
        self._reading.cancel()
        await self._session.close()

    async def _read(self) -> None:
        while True:
            told = (await self._socket.receive_json())["params"]
            self.heard[self._kinds[told["subscription"]]].append(told["result"])


class PlayedChain:
    """A live chain after its first rounds, and what was heard of them; it stands in a phase without duties."""

    def __init__(self, directory: Path) -> None:
        self.live = LiveChain(directory / "node", "digits")
        try:
            ethers, web3 = EthersFollower(self.live), Web3Follower(self.live)
            self.heard_by_subscription = asyncio.run(_play(self.live, directory, web3))
            self.ethers_skipped, self.heard_by_ethers = ethers.skipped, ethers.finish()
            self.heard_by_web3 = web3.heard
        except BaseException:
            self.live.close()
            raise


def _train(task: Any, weights: NDArray[np.int32], data: Dataset) -> NDArray[np.int64]:
    from learning.trainer import Training, train

    return train(task.architecture, weights, data, Training(steps=60), seed=7)


async def _play(live: LiveChain, directory: Path, web3: Web3Follower) -> dict[str, list[dict[str, Any]]]:
    """Let miners and custodian act on every block until the rounds are settled; what subscriptions told."""
    async with NodeClient(live.url) as node, SubscriptionFollower(live) as follower:
        account = Account(node, load_or_make_plain_key(live.keys.custodian))
        custodian = Custodian(node, account, read_custodies(live.keys.directory / "roles" / "custodian"))
        miners = []
        for place, key in enumerate(KEYS, 1):
            course = Course(task="digits", data=f"digits#{place}/{len(KEYS)}")
            journal = Journal(directory / f"miner-{place}")
            miners.append(TaskMiner(node, Account(node, key), course, journal, _train, 0))
        while (await node.call("learn_tasks"))[0]["settledRounds"] < ROUNDS:
            assert live.height < HEIGHT_MAX, "the rounds are not settled in time"
            await custodian.act(live.height)
            for miner in miners:
                await miner.work(await miner.follow(live.height), live.height)
            await asyncio.to_thread(live.block)
            await asyncio.to_thread(web3.poll)
            await _wait_for_judging(node)
        while live.clock.phase_of(live.height + 1) is not Phase.HOLD:
            await asyncio.to_thread(live.block)
    return follower.heard


async def _wait_for_judging(node: NodeClient) -> None:
    """Until the node has judged what is due, and its validator's calls are in the pool."""
    async with asyncio.timeout(JUDGING_SECONDS_MAX):
        while (await node.call("learn_status"))["evaluationBacklog"]:  # noqa: ASYNC110 (it is in another thread)
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.01)
