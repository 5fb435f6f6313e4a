"""Home of answering request bodies: calls and batches are read, carried out in order, and their answers written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Protocol

from chain.errors import InvalidInput
from rpc.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    RESPONSE_TOO_LARGE,
    SERVER_ERROR,
    RpcError,
    batch_response,
    error_response,
    id_of,
    is_request,
    parse,
    result_response,
)
from rpc.parameters import Parameter, bind, data

log = logging.getLogger("lyceum.rpc")

CALLS_BETWEEN_YIELDS = 16  # of one batch: others get their turn in between
SEND_RAW_TRANSACTION = "eth_sendRawTransaction"


class Connection(Protocol):
    """Whom notifications go to: a WebSocket."""

    def send(self, message: bytes) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A callable method. `handler` takes the parsed arguments and returns the result, or a coroutine of it.

    A `connected` one takes the connection before them, and is refused where there is none (HTTP).
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    result: Mapping[str, Any]
    handler: Callable[..., Any]
    connected: bool = False


Submit = Callable[[Sequence[bytes]], Awaitable[Sequence[bytes | Exception]]]
_RAW_TRANSACTION = (Parameter(name="transaction", parse=data, schema={"type": "string"}),)


class Dispatcher:
    """Answers request bodies. All raw transactions that follow each other in a batch go to `submit` together."""

    def __init__(
        self, methods: Sequence[Method], submit: Submit, *, batch_calls_max: int, response_bytes_max: int
    ) -> None:
        self._methods = {method.name: method for method in methods}
        self._submit = submit
        self._batch_calls_max = batch_calls_max
        self._response_bytes_max = response_bytes_max
        self.calls: dict[str, int] = dict.fromkeys([*self._methods, SEND_RAW_TRANSACTION], 0)
        self.errors: dict[int, int] = {}

    async def answer(
        self,
        body: bytes | str,
        connection: Connection | None = None,
        allow: Callable[[int], bool] | None = None,
    ) -> bytes | None:
        """The response text, None where there is nothing to answer (notifications alone).

        `allow` is asked once whether the client may make so many calls now.
        """
        try:
            given = parse(body)
        except RpcError as error:
            return self._error(None, error)
        if type(given) is not list:
            if allow is not None and not allow(1):
                return self._error(id_of(given), RpcError(LIMIT_EXCEEDED, "too many requests, slow down"))
            return await self._single(given, connection)
        if not given:
            return self._error(None, RpcError(INVALID_REQUEST, "empty batch"))
        if len(given) > self._batch_calls_max:
            message = f"batch too large: {len(given)} calls, at most {self._batch_calls_max} are allowed"
            return self._error(None, RpcError(INVALID_REQUEST, message))
        if allow is not None and not allow(len(given)):
            return self._error(None, RpcError(LIMIT_EXCEEDED, "too many requests, slow down"))
        return await self._batch(given, connection)

    async def _single(self, call: Any, connection: Connection | None) -> bytes | None:
        if not is_request(call):
            return self._error(id_of(call), RpcError(INVALID_REQUEST, "invalid request"))
        method = call["method"]
        if method == SEND_RAW_TRANSACTION:
            response = (await self._send([call]))[0]
        else:
            response = await self._respond(method, call, connection)
        if "id" not in call:
            return None
        if len(response) > self._response_bytes_max:
            return self._too_large(call)
        return response

    async def _batch(self, calls: list[Any], connection: Connection | None) -> bytes | None:
        """Calls in their order; the wait for the pool is one for each run of raw transactions."""
        responses: list[bytes] = []
        sending: list[dict[str, Any]] = []
        size = 0
        for call in calls:
            valid = is_request(call)
            if valid and call["method"] == SEND_RAW_TRANSACTION:
                sending.append(call)
                continue
            if sending:
                await self._flush(sending, responses)
            if len(responses) % CALLS_BETWEEN_YIELDS == CALLS_BETWEEN_YIELDS - 1:
                await asyncio.sleep(0)
            if size > self._response_bytes_max:
                response = self._too_large(call)
            elif valid:
                response = await self._respond(call["method"], call, connection)
            else:
                response = self._error(id_of(call), RpcError(INVALID_REQUEST, "invalid request"))
            size += len(response)
            if size > self._response_bytes_max:
                response = self._too_large(call)
            if not valid or "id" in call:
                responses.append(response)
        if sending:
            await self._flush(sending, responses)
        return batch_response(responses) if responses else None

    async def _flush(self, sending: list[dict[str, Any]], responses: list[bytes]) -> None:
        answers = await self._send(sending)
        responses.extend(answer for call, answer in zip(sending, answers, strict=True) if "id" in call)
        sending.clear()

    async def _send(self, calls: list[dict[str, Any]]) -> list[bytes]:
        """Responses to calls of eth_sendRawTransaction, after one submission of all that could be read."""
        self.calls[SEND_RAW_TRANSACTION] += len(calls)
        raws: list[bytes] = []
        unreadable: dict[int, RpcError] = {}
        for place, call in enumerate(calls):
            try:
                raws.append(bind(_RAW_TRANSACTION, call.get("params"))[0])
            except RpcError as error:
                unreadable[place] = error
        try:
            outcomes = iter(await self._submit(raws)) if raws else iter(())
        except Exception as error:
            outcomes = iter([error] * len(raws))
        responses = []
        for place, call in enumerate(calls):
            outcome = unreadable[place] if place in unreadable else next(outcomes)
            if type(outcome) is bytes:
                responses.append(result_response(call.get("id"), "0x" + outcome.hex()))
            else:
                responses.append(self._failure(call, outcome))
        return responses

    async def _respond(self, name: str, call: dict[str, Any], connection: Connection | None) -> bytes:
        try:
            method = self._methods.get(name)
            if method is None:
                raise RpcError(METHOD_NOT_FOUND, f"the method {name} does not exist/is not available")
            self.calls[name] += 1
            arguments = bind(method.parameters, call.get("params"))
            if method.connected:
                if connection is None:
                    raise RpcError(METHOD_NOT_FOUND, "notifications not supported: open a WebSocket")
                arguments.insert(0, connection)
            result = method.handler(*arguments)
            if isinstance(result, CoroutineType):
                result = await result
            return result_response(call.get("id"), result)
        except Exception as error:
            return self._failure(call, error)

    def _failure(self, call: dict[str, Any], error: Any) -> bytes:
        """The answer to a call that failed: what the caller did wrong is said, what we did wrong is logged."""
        if isinstance(error, RpcError):
            return self._error(call.get("id"), error)
        if isinstance(error, InvalidInput):
            return self._error(call.get("id"), RpcError(SERVER_ERROR, str(error)))
        log.error("%s failed: %r", call["method"], error, exc_info=error)
        return self._error(call.get("id"), RpcError(INTERNAL_ERROR, "internal error"))

    def _too_large(self, call: Any) -> bytes:
        message = f"response too large: more than {self._response_bytes_max} bytes"
        return self._error(id_of(call), RpcError(RESPONSE_TOO_LARGE, message))

    def _error(self, request_id: Any, error: RpcError) -> bytes:
        self.errors[error.code] = self.errors.get(error.code, 0) + 1
        return error_response(request_id, error)
