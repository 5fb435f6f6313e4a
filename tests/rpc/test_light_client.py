"""Tests of the light client against a live server: it tells what the chain does, and refuses an answer changed
anywhere."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from chain.light import InvalidLight, TrustExpired
from chain.light_client import LightClient
from chain.roles.client import NodeClient
from tests.rpc.live import ADDRESSES, AnsweredError, LiveChain

T = TypeVar("T")


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


def ask(
    live: LiveChain,
    question: Callable[[LightClient], Coroutine[Any, Any, T]],
    *,
    change: Callable[[str, Any], Any] = lambda method, answer: answer,
    **options: Any,
) -> T:
    """What a new light client finds out, where `change` may forge the server's answers."""

    async def work() -> T:
        async with NodeClient(live.url) as node:

            async def call(method: str, *parameters: Any) -> Any:
                return change(method, copy.deepcopy(await node.call(method, *parameters)))

            chosen: dict[str, Any] = {"now_ms": clock_ms} | options
            return await question(LightClient(live.node.chain.genesis, call, **chosen))

    return asyncio.run(work())


def test_it_tells_an_account_as_the_chain_does(live: LiveChain) -> None:
    live.send(live.transfer())
    live.block()
    nonce, balance = ask(live, lambda client: client.account(ADDRESSES[0]))
    assert balance == int(live.call("eth_getBalance", "0x" + ADDRESSES[0].hex()), 16)
    assert nonce == int(live.call("eth_getTransactionCount", "0x" + ADDRESSES[0].hex()), 16) > 0
    assert ask(live, lambda client: client.account(b"\x99" * 20)) == (0, 0)


def test_it_tells_the_head_of_a_task(live: LiveChain) -> None:
    shown = live.call("learn_tasks")[0]
    found = ask(live, lambda client: client.head(bytes.fromhex(shown["task"][2:])))
    assert "0x" + found.hex() == shown["head"]
    with pytest.raises(InvalidLight, match="no task"):
        ask(live, lambda client: client.head(bytes(32)))


def test_it_starts_at_a_block_that_a_person_named(live: LiveChain) -> None:
    live.blocks(2)
    shown = live.call("learn_header", hex(live.height - 1))
    trust = (live.height - 1, bytes.fromhex(shown["hash"][2:]))
    assert ask(live, lambda client: client.account(ADDRESSES[0]), trust=trust)[1] > 0
    assert ask(live, lambda client: client.header(live.height - 3), trust=trust).height == live.height - 3
    with pytest.raises(InvalidLight, match="trusted is"):
        ask(live, lambda client: client.account(ADDRESSES[0]), trust=(trust[0], bytes(32)))
    with pytest.raises(TrustExpired):
        ask(live, lambda client: client.account(ADDRESSES[0]), trust=trust, now_ms=lambda: clock_ms() + 10**12)


def changed(value: Any) -> list[Any]:
    """The same JSON value with one part changed, in every way that there is."""
    if isinstance(value, dict):
        return [value | {name: other} for name, part in value.items() for other in changed(part)]
    if isinstance(value, list):
        lists = [
            [*value[:place], other, *value[place + 1 :]]
            for place in range(len(value))
            for other in changed(value[place])
        ]
        return [*lists, value[1:], [*value, *value]]
    if value is None:
        return ["0x", "0x00", 1]
    text = str(value)
    middle = len(text) // 2
    digit = "1" if text[middle] != "1" else "2"
    return [
        None,
        7,
        text + "00",
        text[:-1] + ("1" if text[-1] != "1" else "2"),
        text[:middle] + digit + text[middle + 1 :],
    ]


@pytest.mark.parametrize("forged_method", ["learn_header", "learn_proof"])
@pytest.mark.parametrize("address", [ADDRESSES[0], b"\x99" * 20])
def test_an_answer_changed_anywhere_is_refused(live: LiveChain, forged_method: str, address: bytes) -> None:
    live.block()
    height = hex(live.height)
    parameters = {"learn_header": [height], "learn_proof": ["0x61" + address.hex(), height]}
    truth = live.call(forged_method, *parameters[forged_method])
    forgeries = changed(truth)
    assert len(forgeries) > 25
    for forged in forgeries:
        with pytest.raises(InvalidLight):
            ask(
                live,
                lambda client: client.account(address, live.height),
                change=lambda method, answer, forged=forged: forged if method == forged_method else answer,
            )


def test_a_proof_of_another_key_is_refused(live: LiveChain) -> None:
    other = live.call("learn_proof", "0x" + ADDRESSES[1].hex())
    with pytest.raises(InvalidLight):
        ask(
            live,
            lambda client: client.account(ADDRESSES[0]),
            change=lambda method, answer: other if method == "learn_proof" else answer,
        )


def test_headers_are_told_of_any_kept_block(live: LiveChain) -> None:
    assert live.call("learn_header", "earliest")["commit"] == "0x"
    with pytest.raises(AnsweredError, match="header not found"):
        live.call("learn_header", "0xffffff")
