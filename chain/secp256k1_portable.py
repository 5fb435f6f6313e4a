"""Home of the second implementation of secp256k1 recovery and signing, by python-ecdsa.

It is what a platform without libsecp256k1 falls back on, and what the first one is held equal to. It is not
constant-time: sign with it only where nobody can time the process.
"""

from __future__ import annotations

import hashlib
from typing import cast

import ecdsa
from ecdsa.ellipticcurve import PointJacobi

_CURVE = ecdsa.SECP256k1
_PRIME = _CURVE.curve.p()
_ORDER = _CURVE.order


def recover_public_key(message_hash: bytes, parity: int, r: int, s: int) -> bytes | None:
    """x || y of the key that signed the 32-byte hash, or None (SEC 1, section 4.1.6).

    The numbers must be in range: parity 0 or 1, r and s from 1 to n - 1.
    """
    y_squared = (pow(r, 3, _PRIME) + 7) % _PRIME
    y = pow(y_squared, (_PRIME + 1) // 4, _PRIME)
    if y * y % _PRIME != y_squared:
        return None
    nonce_point = PointJacobi(_CURVE.curve, r, y if y & 1 == parity else _PRIME - y, 1, _ORDER)
    inverse = pow(r, -1, _ORDER)
    e = int.from_bytes(message_hash, "big")
    key = nonce_point.mul_add(s * inverse % _ORDER, _CURVE.generator, -e * inverse % _ORDER)
    if key == ecdsa.ellipticcurve.INFINITY:
        return None
    return cast(bytes, key.to_bytes(encoding="raw"))


def public_key_of(private_key: bytes) -> bytes:
    """x || y of a private key, which must be 32 bytes from 1 to n - 1."""
    key = ecdsa.SigningKey.from_string(private_key, curve=_CURVE)
    return cast(bytes, key.get_verifying_key().to_string())


def sign(message_hash: bytes, private_key: bytes) -> tuple[int, int, int]:
    """(r, low s, parity) with the nonce of RFC 6979 under SHA-256: the very numbers of libsecp256k1."""
    key = ecdsa.SigningKey.from_string(private_key, curve=_CURVE)
    r_bytes, s_bytes = key.sign_digest_deterministic(
        message_hash, hashfunc=hashlib.sha256, sigencode=ecdsa.util.sigencode_strings_canonize
    )
    r, s = int.from_bytes(r_bytes, "big"), int.from_bytes(s_bytes, "big")
    expected = cast(bytes, key.get_verifying_key().to_string())
    parity = next(p for p in (0, 1) if recover_public_key(message_hash, p, r, s) == expected)
    return r, s, parity
