"""Home of the OpenRPC document that describes the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rpc.dispatch import Method
from rpc.parameters import Parameter

OPENRPC_VERSION = "1.3.2"


def document(methods: Sequence[Method], version: str) -> dict[str, Any]:
    """The document: made of the table by which calls are answered, so that it says what is."""
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "Lyceum",
            "version": version,
            "description": "JSON-RPC 2.0 over HTTP and WebSocket: Ethereum's namespaces and `learn_*`.",
        },
        "methods": [_method(method) for method in methods],
    }


def _method(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-position",
        "params": [_parameter(parameter) for parameter in method.parameters],
        "result": {"name": "result", "schema": dict(method.result)},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {"name": parameter.name, "required": parameter.required, "schema": parameter.schema}
