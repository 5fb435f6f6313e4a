"""Home of the loop that recovers many public keys in one call without holding the interpreter's lock.

Calling libsecp256k1 three times a signature from Python gives the lock up and waits for it three times: on a
worker beside a busy event loop a thousand recoveries then took five seconds instead of thirty milliseconds.
"""

from __future__ import annotations

import coincurve._libsecp256k1 as _library
import llvmlite.binding
import numpy as np
from numba import njit, types

ROW_BYTES = 97  # message hash 32, r 32, s 32, parity 1
KEY_BYTES = 65  # 0x04 || x || y; all zero where nothing can be recovered

# Sizes of libsecp256k1's opaque structures, from its public headers
_SIGNATURE_BYTES = 65
_PUBLIC_KEY_BYTES = 64
_UNCOMPRESSED = 2  # SECP256K1_EC_UNCOMPRESSED

llvmlite.binding.load_library_permanently(_library.__file__)  # makes its symbols known to compiled code
_CONTEXT = int(_library.ffi.cast("uintptr_t", _library.lib.secp256k1_context_static))

_parse = types.ExternalFunction(
    "secp256k1_ecdsa_recoverable_signature_parse_compact",
    types.int32(types.uintp, types.uintp, types.uintp, types.int32),
)
_recover = types.ExternalFunction(
    "secp256k1_ecdsa_recover", types.int32(types.uintp, types.uintp, types.uintp, types.uintp)
)
_serialize = types.ExternalFunction(
    "secp256k1_ec_pubkey_serialize",
    types.int32(types.uintp, types.uintp, types.uintp, types.uintp, types.uint32),
)


@njit("void(uintp, uint8[:, ::1], uint8[:, ::1])", nogil=True, cache=True)
def _recover_rows(context, rows, keys):  # type: ignore[no-untyped-def]
    scratch = np.zeros(256, np.uint8)
    length = np.zeros(1, np.uint64)
    public_key = np.uintp(scratch.ctypes.data)
    signature = np.uintp(scratch.ctypes.data + 128)
    for index in range(rows.shape[0]):
        row = np.uintp(rows[index].ctypes.data)
        if _parse(context, signature, np.uintp(row + 32), np.int32(rows[index, 96])) == 0:
            continue
        if _recover(context, public_key, signature, row) == 0:
            continue
        length[0] = KEY_BYTES
        _serialize(
            context,
            np.uintp(keys[index].ctypes.data),
            np.uintp(length.ctypes.data),
            public_key,
            np.uint32(_UNCOMPRESSED),
        )


def recover_public_keys(rows: bytes, count: int) -> bytes:
    """`count` keys of KEY_BYTES for as many rows of ROW_BYTES, each parity 0 or 1."""
    assert len(rows) == count * ROW_BYTES
    keys = np.zeros((count, KEY_BYTES), np.uint8)
    given = np.frombuffer(bytearray(rows), np.uint8).reshape(count, ROW_BYTES)
    _recover_rows(_CONTEXT, given, keys)
    return keys.tobytes()
