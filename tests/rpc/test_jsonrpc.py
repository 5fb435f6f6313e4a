"""Home of the tests of JSON-RPC 2.0: requests, batches, notifications and errors, on methods that just compute."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import InvalidInput
from rpc import parameters as parse
from rpc import schemas as of
from rpc.dispatch import Dispatcher, Method
from rpc.jsonrpc import RpcError

TRACE: list[Any] = []


async def submit(raws: Sequence[bytes]) -> Sequence[bytes | Exception]:
    """A pool that takes what begins with 0x02 and says what it was given."""
    TRACE.append(("submit", len(raws)))
    await asyncio.sleep(0)
    return [raw.ljust(32, b"\0") if raw[:1] == b"\x02" else InvalidInput("nonce too low") for raw in raws]


def note(value: str) -> str:
    TRACE.append(("note", value))
    return value


async def later(value: str) -> str:
    await asyncio.sleep(0)
    return note(value)


def refuse() -> None:
    raise RpcError(3, "execution reverted: no", "0x08c379a0")


def wrong() -> None:
    raise InvalidInput("balance is too low")


def broken() -> None:
    raise ZeroDivisionError("ours")


def method(name: str, handler: Any, *parameters: parse.Parameter, connected: bool = False) -> Method:
    return Method(name=name, summary="", parameters=parameters, result={}, handler=handler, connected=connected)


TEXT = of.parameter("value", parse.text, of.STRING)
METHODS = [
    method("note", note, TEXT),
    method("later", later, TEXT),
    method("refuse", refuse),
    method("wrong", wrong),
    method("broken", broken),
    method("big", lambda: "x" * 3000),
    method("listen", lambda connection: type(connection).__name__, connected=True),
]


def answer(body: Any, *, batch_calls_max: int = 20, allow: Any = None) -> Any:
    TRACE.clear()
    dispatcher = Dispatcher(METHODS, submit, batch_calls_max=batch_calls_max, response_bytes_max=4000)
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    response = asyncio.run(dispatcher.answer(text, allow=allow))
    return None if response is None else orjson.loads(response)


def call(name: str, *params: Any, **fields: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": name, "params": list(params)} | fields


def error(code: int, message: str, request_id: Any = 1, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message} | more}


def test_a_call_is_answered_with_its_id() -> None:
    for request_id in (0, 7, -1, "abc", "", None, 1.5):
        assert answer(call("note", "a", id=request_id)) == {"jsonrpc": "2.0", "id": request_id, "result": "a"}


def test_a_method_that_waits_is_answered_like_one_that_does_not() -> None:
    assert answer(call("later", "a")) == {"jsonrpc": "2.0", "id": 1, "result": "a"}


def test_text_that_is_no_json_is_a_parse_error_without_id() -> None:
    for text in (b"", b"{", b"\xff", b'{"jsonrpc":"2.0",}', b"[" * 5000):
        shown = answer(text)
        assert shown["id"] is None
        assert shown["error"]["code"] == -32700


@pytest.mark.parametrize(
    "body",
    [
        1,
        "x",
        None,
        {},
        {"jsonrpc": "1.0", "id": 1, "method": "note"},
        {"id": 1, "method": "note"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "method": 5},
        {"jsonrpc": "2.0", "id": {}, "method": "note"},
        {"jsonrpc": "2.0", "id": True, "method": "note"},
    ],
)
def test_what_is_no_request_is_an_invalid_request(body: Any) -> None:
    given_id = body.get("id") if isinstance(body, dict) else None
    expected = given_id if type(given_id) in (int, str) else None
    assert answer(body) == error(-32600, "invalid request", expected)
    assert answer([body]) == [error(-32600, "invalid request", expected)]


def test_an_unknown_method_is_named_with_code_32601() -> None:
    message = "the method eth_fillTransaction does not exist/is not available"
    assert answer(call("eth_fillTransaction")) == error(-32601, message)


def test_a_notification_is_carried_out_and_not_answered() -> None:
    quiet = {"jsonrpc": "2.0", "method": "note", "params": ["a"]}
    assert answer(quiet) is None
    assert TRACE == [("note", "a")]
    assert answer([quiet, quiet]) is None
    assert answer([quiet, call("note", "b")]) == [{"jsonrpc": "2.0", "id": 1, "result": "b"}]
    assert answer({"jsonrpc": "2.0", "method": "unknown"}) is None


def test_a_batch_is_answered_in_order_and_an_empty_one_refused() -> None:
    calls = [call("note", str(number), id=number) for number in range(5)]
    assert [each["id"] for each in answer(calls)] == [0, 1, 2, 3, 4]
    assert answer([]) == error(-32600, "empty batch", None)


def test_a_batch_over_the_limit_is_refused_whole() -> None:
    assert answer([call("note", "a")] * 3, batch_calls_max=2)["error"]["code"] == -32600
    assert TRACE == []


def test_raw_transactions_that_follow_each_other_are_submitted_together_and_order_holds() -> None:
    send = "eth_sendRawTransaction"
    shown = answer(
        [
            call(send, "0x02aa", id=1),
            call(send, "0x01", id=2),
            call(send, "02", id=3),
            call("note", "between", id=4),
            call(send, "0x02bb", id=5),
            {"jsonrpc": "2.0", "method": send, "params": ["0x02"]},
        ]
    )
    assert TRACE == [("submit", 2), ("note", "between"), ("submit", 2)]
    assert shown == [
        {"jsonrpc": "2.0", "id": 1, "result": "0x02aa" + "00" * 30},
        error(-32000, "nonce too low", 2),
        error(-32602, "invalid argument 0: hex string without 0x prefix", 3),
        {"jsonrpc": "2.0", "id": 4, "result": "between"},
        {"jsonrpc": "2.0", "id": 5, "result": "0x02bb" + "00" * 30},
    ]


def test_a_single_raw_transaction_is_checked_like_one_in_a_batch() -> None:
    send = "eth_sendRawTransaction"
    assert answer(call(send, "0x02"))["result"] == "0x02" + "00" * 31
    assert answer(call(send)) == error(-32602, "missing value for required argument 0")
    assert answer(call(send, "0x02", "0x02")) == error(-32602, "too many arguments, want at most 1")
    assert answer(call(send, "0x2")) == error(-32602, "invalid argument 0: hex string of odd length")
    assert TRACE == []


def test_what_the_caller_did_wrong_is_said_and_what_we_did_wrong_is_not() -> None:
    assert answer(call("refuse")) == error(3, "execution reverted: no", data="0x08c379a0")
    assert answer(call("wrong")) == error(-32000, "balance is too low")
    assert answer(call("broken")) == error(-32603, "internal error")


def test_parameters_are_positional() -> None:
    assert answer(call("note", params={"value": "a"})) == error(-32602, "non-array args")
    assert answer(call("note")) == error(-32602, "missing value for required argument 0")
    assert answer({"jsonrpc": "2.0", "id": 1, "method": "note"})["error"]["code"] == -32602
    assert answer(call("note", None)) == error(-32602, "missing value for required argument 0")
    assert answer(call("refuse", 1)) == error(-32602, "too many arguments, want at most 0")


def test_subscriptions_need_a_connection() -> None:
    assert answer(call("listen"))["error"]["code"] == -32601


def test_a_response_that_is_too_large_is_an_error_and_ends_its_batch() -> None:
    assert answer([call("big", id=0)])[0]["result"] == "x" * 3000
    shown = answer([call("big", id=0), call("big", id=1), call("note", "a", id=2)])
    assert shown[0]["result"] == "x" * 3000
    assert [each["error"]["code"] for each in shown[1:]] == [-32003, -32003]
    assert TRACE == []


def test_a_client_over_its_rate_is_told_so_before_anything_is_done() -> None:
    asked: list[int] = []

    def allow(calls: int) -> bool:
        asked.append(calls)
        return calls < 3

    assert answer([call("note", "a")] * 2, allow=allow)[0]["result"] == "a"
    assert answer([call("note", "a")] * 3, allow=allow) == error(-32005, "too many requests, slow down", None)
    assert asked == [2, 3]
    assert TRACE == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": JSON,
        "method": st.sampled_from(["note", "later", "refuse", "eth_sendRawTransaction", "none"]) | JSON,
        "params": st.lists(st.sampled_from(["0x02", "a"]) | JSON, max_size=3) | JSON,
    },
)


@settings(deadline=None, max_examples=300)
@given(CALLS | JSON | st.lists(CALLS | JSON, max_size=5))
def test_no_request_is_answered_with_an_internal_error(body: Any) -> None:
    shown = answer(body)
    responses = shown if isinstance(shown, list) else [shown] if shown else []
    for response in responses:
        assert response["jsonrpc"] == "2.0"
        assert ("result" in response) != ("error" in response)
        assert response.get("error", {}).get("code") not in (-32603, -32005)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_no_bytes_break_the_parser(body: bytes) -> None:
    answer(body)
