"""Home of the update codecs: how a delta to a head becomes bytes and back, one encoding for each delta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from learning.architecture import PARAMETER_MAX, PARAMETERS_MAX
from learning.commitment import Int64Array

DELTA_MAX = 2 * PARAMETER_MAX  # two weights differ by no more
HEADER_BYTES = 5

DENSE = 0


class InvalidUpdate(ValueError):
    """An update from outside that is not the encoding of a delta for the architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How one codec writes a delta int64[P] as payload and reads it back; reading raises InvalidUpdate."""

    name: str
    encode: Callable[[Int64Array], bytes]
    decode: Callable[[bytes, int], Int64Array]
    payload_bytes_max: Callable[[int], int]


def encode_update(delta: Int64Array, codec: int = DENSE) -> bytes:
    """The plaintext of an update: codec byte, P as little-endian uint32, payload.

    Raises InvalidUpdate where a value of the delta, in 2^-20, lies outside plus and minus DELTA_MAX.
    """
    assert delta.ndim == 1, delta.shape
    assert 0 < len(delta) <= PARAMETERS_MAX, len(delta)
    _require_range(delta)
    header = bytes([codec]) + len(delta).to_bytes(4, "little")
    return header + CODECS[codec].encode(delta)


def decode_update(data: bytes, parameters: int) -> Int64Array:
    """The delta int64[P] that `data` encodes; raises InvalidUpdate for everything but its one encoding."""
    if len(data) < HEADER_BYTES:
        raise InvalidUpdate(f"{len(data)} bytes are shorter than an update's header of {HEADER_BYTES}")
    codec = CODECS.get(data[0])
    if codec is None:
        raise InvalidUpdate(f"codec {data[0]} is unknown: use one of {sorted(CODECS)}")
    claimed = int.from_bytes(data[1:HEADER_BYTES], "little")
    if claimed != parameters:
        raise InvalidUpdate(f"an update of {claimed} parameters: the task's architecture has {parameters}")
    payload_bytes = len(data) - HEADER_BYTES
    if payload_bytes > codec.payload_bytes_max(parameters):
        raise InvalidUpdate(f"{payload_bytes} payload bytes are too many for {parameters} parameters")
    delta = codec.decode(data[HEADER_BYTES:], parameters)
    _require_range(delta)
    return delta


def update_bytes_max(parameters: int) -> int:
    """The most bytes that a well-formed plaintext for P parameters can have, under any codec."""
    return HEADER_BYTES + max(codec.payload_bytes_max(parameters) for codec in CODECS.values())


def _require_range(delta: Int64Array) -> None:
    largest = max(int(delta.max(initial=0)), -int(delta.min(initial=0)))
    if largest > DELTA_MAX:
        raise InvalidUpdate(f"a step of magnitude {largest} is above {DELTA_MAX}: clip the delta")


def _encode_dense(delta: Int64Array) -> bytes:
    return delta.astype("<i4").tobytes()


def _decode_dense(payload: bytes, parameters: int) -> Int64Array:
    if len(payload) != 4 * parameters:
        raise InvalidUpdate(f"{len(payload)} payload bytes are not {parameters} values of 4 bytes")
    return np.frombuffer(payload, dtype="<i4").astype(np.int64)


CODECS: Mapping[int, Codec] = MappingProxyType(
    {
        DENSE: Codec(
            name="dense",
            encode=_encode_dense,
            decode=_decode_dense,
            payload_bytes_max=lambda parameters: 4 * parameters,
        )
    }
)
