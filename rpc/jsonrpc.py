"""Home of JSON-RPC 2.0 itself: what a request is, how answers and errors are written, and nothing about Ethereum."""

from __future__ import annotations

from typing import Any

import orjson

# JSON-RPC 2.0 and EIP-1474. Clients repeat a request that got -32603 or -32005, so neither is ever an answer to
# what the caller did wrong.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_ERROR = -32000
PRUNED_HISTORY = 4444  # as execution nodes answer for blocks that they have dropped
RESPONSE_TOO_LARGE = -32003
LIMIT_EXCEEDED = -32005
EXECUTION_REVERTED = 3

NO_ID = None


class RpcError(Exception):
    """An error to be answered with: a code, a message for a person and, for some codes, data."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def parse(body: bytes | str) -> Any:
    """The JSON value of a request body. Raises RpcError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RpcError(PARSE_ERROR, f"parse error: {error}") from None


def is_request(call: Any) -> bool:
    """Whether a value is a JSON-RPC 2.0 request or notification, its parameters not yet looked at."""
    if type(call) is not dict or call.get("jsonrpc") != "2.0" or type(call.get("method")) is not str:
        return False
    return type(call.get("id")) in _ID_TYPES


_ID_TYPES = frozenset({str, int, float, type(None)})


def id_of(call: Any) -> Any:
    """The id to answer with, null where a broken request has none that is allowed."""
    found = call.get("id") if type(call) is dict else NO_ID
    return found if type(found) in _ID_TYPES else NO_ID


def result_response(request_id: Any, result: Any) -> bytes:
    """A response as JSON text. `result` may be an `orjson.Fragment` of text that is ready."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})


def error_response(request_id: Any, error: RpcError) -> bytes:
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        content["data"] = error.data
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": content})


def batch_response(responses: list[bytes]) -> bytes:
    return b"[" + b",".join(responses) + b"]"


def notification(method: str, subscription: str, result: bytes) -> bytes:
    """What a subscriber is sent; `result` is JSON text, made once for all subscribers."""
    return b'{"jsonrpc":"2.0","method":"%b","params":{"subscription":"%b","result":%b}}' % (
        method.encode(),
        subscription.encode(),
        result,
    )
