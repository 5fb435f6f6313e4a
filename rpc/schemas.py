"""Home of the JSON schemas that rpc.discover shows, and of the parameters that many methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rpc import parameters as parse
from rpc.parameters import Parameter

Schema = dict[str, Any]


def text(title: str, pattern: str) -> Schema:
    return {"title": title, "type": "string", "pattern": pattern}


QUANTITY = text("quantity", "^0x(0|[1-9a-f][0-9a-f]*)$")
BYTES = text("bytes", "^0x[0-9a-f]*$")
HASH = text("32 bytes", "^0x[0-9a-f]{64}$")
ADDRESS = text("address", "^0x[0-9a-fA-F]{40}$")
DECIMAL = text("decimal number", "^(0|[1-9][0-9]*)$")
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object"}
NULL: Schema = {"type": "null"}
TAG: Schema = {"title": "block tag", "type": "string", "enum": sorted(parse.BLOCK_TAGS)}
BLOCK_NUMBER: Schema = {"title": "height or tag", "oneOf": [QUANTITY, TAG]}
BLOCK: Schema = {"title": "height, tag, hash, or object of EIP-1898", "anyOf": [QUANTITY, TAG, HASH, OBJECT]}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    return {"oneOf": [NULL, schema]}


def parameter(name: str, parser: Callable[[Any], Any], schema: Schema) -> Parameter:
    return Parameter(name=name, parse=parser, schema=schema)


def optional(name: str, parser: Callable[[Any], Any], schema: Schema, default: Any = None) -> Parameter:
    return Parameter(name=name, parse=parser, schema=schema, required=False, default=default)


ACCOUNT = parameter("address", parse.address, ADDRESS)
BLOCK_HASH = parameter("blockHash", parse.hash32, HASH)
TRANSACTION_HASH = parameter("transactionHash", parse.hash32, HASH)
INDEX = parameter("index", parse.quantity, QUANTITY)
NUMBER = parameter("block", parse.block_number, BLOCK_NUMBER)
REFERENCE = parameter("block", parse.block_reference, BLOCK)
OPTIONAL_REFERENCE = optional("block", parse.block_reference, BLOCK, "latest")
TASK = parameter("task", parse.hash32, HASH)
FILTER_ID = parameter("filter", parse.text, QUANTITY)
