"""Home of the strict reading of call parameters: one parser for each kind, with geth's messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rpc.jsonrpc import INVALID_PARAMS, RpcError

UINT64_MAX = 2**64 - 1
UINT256_MAX = 2**256 - 1
BLOCK_TAGS = frozenset({"latest", "safe", "finalized", "earliest", "pending"})
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_SHOWN_CHARACTERS_MAX = 80


class InvalidParameter(ValueError):
    """A parameter's value is not of its kind; the message is put behind "invalid argument N: "."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One positional parameter of a method. An optional one that is left out or null takes `default`."""

    name: str
    parse: Callable[[Any], Any]
    schema: dict[str, Any]
    required: bool = True
    default: Any = None


def bind(parameters: Sequence[Parameter], given: Any) -> list[Any]:
    """The parsed arguments of a call. Raises RpcError with code -32602."""
    if given is None:
        given = ()
    elif type(given) is not list:
        raise RpcError(INVALID_PARAMS, "non-array args")
    if len(given) > len(parameters):
        raise RpcError(INVALID_PARAMS, f"too many arguments, want at most {len(parameters)}")
    arguments = []
    for index, parameter in enumerate(parameters):
        value = given[index] if index < len(given) else None
        if value is not None:
            try:
                arguments.append(parameter.parse(value))
            except InvalidParameter as error:
                raise RpcError(INVALID_PARAMS, f"invalid argument {index}: {error}") from None
        elif parameter.required:
            raise RpcError(INVALID_PARAMS, f"missing value for required argument {index}")
        else:
            arguments.append(parameter.default)
    return arguments


def shown(value: Any) -> str:
    """A value as it is quoted in a message, cut where it is long."""
    try:
        text = repr(value)
    except RecursionError:  # JSON may be nested deeper than Python writes it
        text = f"something nested very deep, an {'array' if type(value) is list else 'object'}"
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[: _SHOWN_CHARACTERS_MAX - 3] + "..."


def _hex_digits(value: Any) -> str:
    """What follows 0x."""
    if type(value) is not str:
        raise InvalidParameter(f"a hex string is needed, not {shown(value)}")
    if not value:
        raise InvalidParameter("empty hex string")
    if value[:2] not in ("0x", "0X"):
        raise InvalidParameter("hex string without 0x prefix")
    return value[2:]


def data(value: Any) -> bytes:
    """Bytes of any length: "0x" and an even number of hex digits."""
    digits = _hex_digits(value)
    if len(digits) % 2:
        raise InvalidParameter("hex string of odd length")
    return _unhex(digits)


def _unhex(digits: str) -> bytes:
    try:
        content = bytes.fromhex(digits)
    except ValueError:
        raise InvalidParameter("invalid hex string") from None
    if 2 * len(content) != len(digits):  # white space was skipped
        raise InvalidParameter("invalid hex string")
    return content


def _fixed(value: Any, length: int, kind: str) -> bytes:
    digits = _hex_digits(value)
    if len(digits) != 2 * length:
        raise InvalidParameter(f"hex string has length {len(digits)}, want {2 * length} for {kind}")
    return _unhex(digits)


def address(value: Any) -> bytes:
    """20 bytes; any mixture of cases is taken."""
    return _fixed(value, 20, "an address")


def hash32(value: Any) -> bytes:
    return _fixed(value, 32, "a hash")


def quantity(value: Any, maximum: int = UINT64_MAX) -> int:
    """A number as "0x" and hex digits without leading zeros."""
    digits = _hex_digits(value)
    if not digits:
        raise InvalidParameter('hex string "0x"')
    if digits[0] == "0" and len(digits) > 1:
        raise InvalidParameter("hex number with leading zero digits")
    if not _HEX_DIGITS.issuperset(digits):  # int() would take signs, underscores and white space
        raise InvalidParameter("invalid hex string")
    number = int(digits, 16) if len(digits) <= 64 else maximum + 1
    if number > maximum:
        raise InvalidParameter(f"hex number > {maximum.bit_length()} bits")
    return number


def quantity256(value: Any) -> int:
    return quantity(value, UINT256_MAX)


def count(value: Any) -> int:
    """A number given as hex, as decimal digits or as a JSON integer, as geth takes for eth_feeHistory."""
    if type(value) is int and 0 <= value <= UINT64_MAX:
        return value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return quantity(value)


def integer(value: Any) -> int:
    """A round or a height: a JSON integer or hex."""
    if type(value) is int:
        if not 0 <= value <= UINT64_MAX:
            raise InvalidParameter(f"an integer from 0 to 2^64-1 is needed, not {value}")
        return value
    return quantity(value)


def boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise InvalidParameter(f"true or false is needed, not {shown(value)}")
    return value


def text(value: Any) -> str:
    if type(value) is not str:
        raise InvalidParameter(f"a string is needed, not {shown(value)}")
    return value


def block_number(value: Any) -> int | str:
    """A height, or one of the tags."""
    if type(value) is str and value in BLOCK_TAGS:
        return value
    return quantity(value)


def block_reference(value: Any) -> int | str | bytes:
    """A height, a tag, or a block's hash: alone or as an object of EIP-1898."""
    if type(value) is dict:
        if "blockNumber" in value and "blockHash" in value:
            raise InvalidParameter("cannot specify both BlockHash and BlockNumber, choose one or the other")
        if value.get("blockHash") is not None:
            return hash32(value["blockHash"])
        if value.get("blockNumber") is not None:
            return block_number(value["blockNumber"])
        raise InvalidParameter("a block object needs blockNumber or blockHash")
    if type(value) is str and len(value) == 66:
        return hash32(value)
    return block_number(value)


def storage_slot(value: Any) -> bytes:
    """A storage key of at most 32 bytes, left-padded; odd lengths are taken, as by geth."""
    digits = _hex_digits(value)
    if len(digits) > 64:
        raise InvalidParameter(f"storage key too long (want at most 32 bytes): {shown(value)}")
    return _unhex(digits.rjust(64, "0"))


def percentiles(value: Any) -> tuple[float, ...]:
    """Reward percentiles: at most 100 numbers from 0 to 100, none below the one before it."""
    if type(value) is not list:
        raise InvalidParameter(f"an array of percentiles is needed, not {shown(value)}")
    if len(value) > 100:
        raise InvalidParameter("over the query limit 100 of reward percentiles")
    for index, given in enumerate(value):
        if type(given) not in (int, float) or not 0 <= given <= 100:
            raise InvalidParameter(f"invalid reward percentile: {shown(given)}")
        if index and given < value[index - 1]:
            raise InvalidParameter(f"invalid reward percentile: #{index - 1}:{value[index - 1]} >= #{index}:{given}")
    return tuple(float(given) for given in value)
