"""Home of the tests of WebSockets: calls side by side, subscriptions, and what bounds a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest

from chain.types import CONTRACT_ADDRESS
from tests.rpc.live import ADDRESSES, LiveChain

CONTRACT = "0x" + CONTRACT_ADDRESS.hex()
ME = "0x" + ADDRESSES[0].hex()


class Client:
    """A WebSocket client that sends what it is told and sorts what comes."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, live: LiveChain) -> None:
        self.socket = socket
        self.live = live
        self.told: list[dict[str, Any]] = []
        self._ids = 0

    async def receive(self) -> Any:
        message = await asyncio.wait_for(self.socket.receive(), 10)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return orjson.loads(message.data)

    async def call(self, method: str, *params: Any) -> Any:
        """The answer to a call; notifications that come before it are kept in `told`."""
        self._ids += 1
        await self.socket.send_json({"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params})
        while "id" not in (answer := await self.receive()):
            self.told.append(answer)
        assert answer["id"] == self._ids
        return answer.get("result", answer.get("error"))

    async def next(self, count: int) -> list[Any]:
        """The results of the next notifications, each with its subscription."""
        while len(self.told) < count:
            self.told.append(await self.receive())
        told, self.told = self.told[:count], self.told[count:]
        return [(each["method"], each["params"]["subscription"], each["params"]["result"]) for each in told]

    async def block(self) -> None:
        await asyncio.to_thread(self.live.block)

    async def send(self, transaction: Any) -> str:
        return str(await self.call("eth_sendRawTransaction", "0x" + transaction.raw.hex()))


Play = Callable[[Client], Awaitable[None]]


def play(live: LiveChain, story: Play, *, url: str = "", path: str = "/", **headers: str) -> None:
    """Run a story on a fresh connection."""

    async def connected() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect((url or live.url) + path, headers=headers) as socket,
        ):
            await story(Client(socket, live))

    asyncio.run(connected())


def test_binary_frames_and_batches_are_answered_in_text(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        request = {"jsonrpc": "2.0", "id": 5, "method": "eth_chainId", "params": []}
        await client.socket.send_bytes(orjson.dumps(request))
        assert await client.receive() == {"jsonrpc": "2.0", "id": 5, "result": hex(live.chain_id)}
        await client.socket.send_bytes(orjson.dumps([request, request | {"id": 6}]))
        assert [each["id"] for each in await client.receive()] == [5, 6]
        await client.socket.send_str("{")
        assert (await client.receive())["error"]["code"] == -32700

    play(live, story)
    play(live, story, path="/ws")


def test_many_calls_are_under_way_at_once(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        first = live.nonce()
        for place in range(100):
            raw = "0x" + live.transfer(nonce=first + place).raw.hex()
            await client.socket.send_json(
                {"jsonrpc": "2.0", "id": place, "method": "eth_sendRawTransaction", "params": [raw]}
            )
        answers = [await client.receive() for _ in range(100)]
        assert sorted(answer["id"] for answer in answers) == list(range(100))
        assert all("result" in answer for answer in answers)

    play(live, story)
    assert live.call("txpool_status")["pending"] == hex(100)
    live.block()


def test_new_heads_are_told_in_order(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        subscription = await client.call("eth_subscribe", "newHeads")
        for _ in range(3):
            await client.block()
        told = await client.next(3)
        assert {(method, each) for method, each, _ in told} == {("eth_subscription", subscription)}
        heads = [head for _, _, head in told]
        assert [int(head["number"], 16) for head in heads] == [live.height - 2, live.height - 1, live.height]
        assert heads[1]["parentHash"] == heads[0]["hash"]
        block = await client.call("eth_getBlockByNumber", "latest", False)
        assert heads[2].items() <= block.items()
        assert await client.call("eth_unsubscribe", subscription) is True
        await client.block()
        assert await client.call("eth_blockNumber") == hex(live.height)
        assert client.told == []

    play(live, story)


def test_logs_are_told_to_those_whom_they_concern(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        every = await client.call("eth_subscribe", "logs")
        contract = await client.call("eth_subscribe", "logs", {"address": CONTRACT, "topics": []})
        await client.call("eth_subscribe", "logs", {"address": ME})
        await client.call("eth_subscribe", "logs", {"topics": ["0x" + "88" * 32]})
        sent = await asyncio.to_thread(live.commit_update, sealed_root=b"\xd0" * 32)
        await client.block()
        told = await client.next(2)
        assert [subscription for _, subscription, _ in told] == [every, contract]
        assert [log["transactionHash"] for _, _, log in told] == [sent, sent]
        assert told[0][2] == (await client.call("eth_getLogs", {}))[0]
        await client.block()
        await client.call("eth_chainId")
        assert client.told == []

    play(live, story)


def test_pending_transactions_are_told_as_hashes_or_whole(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        hashes = await client.call("eth_subscribe", "newPendingTransactions")
        whole = await client.call("eth_subscribe", "newPendingTransactions", True)
        sent = await client.send(live.transfer())
        told = {subscription: result for _, subscription, result in await client.next(2)}
        assert told == {hashes: sent, whole: await client.call("eth_getTransactionByHash", sent)}

    play(live, story)
    live.block()


def test_updates_are_told_to_those_who_follow_their_task(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        task = (await client.call("learn_tasks"))[0]["task"]
        own = await client.call("learn_subscribe", "updates", task)
        await client.call("learn_subscribe", "updates", "0x" + "00" * 32)
        every = await client.call("learn_subscribe", "updates")
        sent = await asyncio.to_thread(live.commit_update, sealed_root=b"\xd1" * 32)
        await client.block()
        told = await client.next(2)
        assert [(method, subscription) for method, subscription, _ in told] == [
            ("learn_subscription", own),
            ("learn_subscription", every),
        ]
        event = told[0][2]
        assert (event["event"], event["task"], event["miner"]) == ("UpdateCommitted", task, ME)
        assert (event["sealedRoot"], event["transaction"]) == ("0x" + "d1" * 32, sent)
        assert await client.call("learn_unsubscribe", own) is True

    play(live, story)


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        (["syncingThings"], -32601, 'no "syncingThings" subscription in eth namespace'),
        ([], -32602, "missing value for required argument 0"),
        ([5], -32602, "invalid argument 0: a string is needed"),
        (["logs", {"address": "0x1"}], -32602, "invalid argument 1: hex string has length 1"),
        (["newPendingTransactions", "yes"], -32602, "invalid argument 1: true or false is needed"),
    ],
)
def test_wrong_subscriptions_are_refused(live: LiveChain, params: list[Any], code: int, words: str) -> None:
    async def story(client: Client) -> None:
        refusal = await client.call("eth_subscribe", *params)
        assert refusal["code"] == code
        assert refusal["message"].startswith(words)
        assert (await client.call("eth_unsubscribe", "0x1"))["message"] == "subscription not found"

    play(live, story)


def test_subscriptions_of_a_connection_are_bounded_and_end_with_it(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        for _ in range(2):
            await client.call("eth_subscribe", "newHeads")
        refusal = await client.call("eth_subscribe", "newHeads")
        assert (refusal["code"], refusal["message"]) == (
            -32602,
            "too many subscriptions: at most 2 on one connection",
        )
        metrics = await client.call("eth_blockNumber")
        assert metrics

    with live.other_server(subscriptions_per_connection_max=2) as url:
        play(live, story, url=url)
        assert metric(live, url, "lyceum_rpc_subscriptions") == 0
        play(live, story, url=url)


def metric(live: LiveChain, url: str, name: str) -> float:
    """A gauge of GET /metrics, once the connections that tests have closed are gone."""
    for _ in range(100):
        lines = dict(line.rsplit(" ", 1) for line in live.get("/metrics", url=url)[1].decode().splitlines())
        if float(lines["lyceum_rpc_websockets"]) == 0:
            break
        live.wait(0.02)
    return float(lines[name])


def test_a_reader_that_is_too_slow_is_cut_off(live: LiveChain) -> None:
    batches = 400  # their answers, 350 kB each, are far more than the sockets' buffers hold
    answered = 0

    async def story(client: Client) -> None:
        nonlocal answered
        call = {"jsonrpc": "2.0", "id": 1, "method": "rpc.discover", "params": []}
        with contextlib.suppress(ConnectionError):
            for _ in range(batches):
                await client.socket.send_json([call] * 10)
        while (await client.socket.receive()).type is aiohttp.WSMsgType.TEXT:
            answered += 1

    with live.other_server(websocket_queue_bytes_max=1 << 20) as url:
        play(live, story, url=url)
        assert answered < batches
        assert metric(live, url, "lyceum_rpc_websockets") == 0


def test_connections_are_bounded(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await session.ws_connect(url)
            assert refusal.value.status == 503

    with live.other_server(websocket_connections_max=1) as url:
        play(live, story, url=url)


def test_a_message_that_is_too_large_closes_the_connection(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        await client.socket.send_str(" " * 2000)
        message = await client.socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert client.socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    with live.other_server(websocket_message_bytes_max=1000) as url:
        play(live, story, url=url)


def test_only_own_and_given_origins_may_connect(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        assert await client.call("eth_chainId") == hex(live.chain_id)

    play(live, story, Origin=live.url)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        play(live, story, Origin="https://page.example")
    assert refusal.value.status == 403
    with live.other_server(allowed_origins=("https://page.example",)) as url:
        play(live, story, url=url, Origin="https://page.example")


def test_a_stopping_server_says_so(live: LiveChain) -> None:
    async def story(client: Client) -> None:
        await asyncio.to_thread(other.__exit__)
        message = await client.socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)

    other = live.other_server()
    play(live, story, url=other.__enter__())
