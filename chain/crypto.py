"""Home of hashes, secp256k1 signatures with recovery of the sender, and Ethereum addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from chain import secp256k1_portable
from chain.errors import InvalidInput
from chain.types import Address

try:  # libsecp256k1: 27 us a recovery, where python-ecdsa takes a thousand
    import coincurve
    from coincurve._libsecp256k1 import ffi as _ffi
    from coincurve._libsecp256k1 import lib as _library
except ImportError:  # pragma: no cover - a platform without a wheel
    _library = None

try:
    from sha3 import keccak_256 as _keccak_256
except ImportError:  # pragma: no cover - macOS on Arm
    from Crypto.Hash import keccak as _cryptodome_keccak

    def _keccak_256(data: bytes) -> Any:
        return _cryptodome_keccak.new(digest_bits=256, data=data)


CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
CURVE_ORDER_HALF = CURVE_ORDER // 2
ADDRESS_BYTES = 20
HASH_BYTES = 32
PRIVATE_KEY_BYTES = 32
SIGNATURE_BYTES = 65
_UNCOMPRESSED = 2  # SECP256K1_EC_UNCOMPRESSED
_KEY_BYTES = 65  # 0x04 || x || y


class InvalidSignature(InvalidInput):
    """Numbers that are no signature with a low s, or from which no public key can be recovered."""


class InvalidKey(InvalidInput):
    """Bytes that are no secp256k1 private key. The message never holds them."""


class InvalidAddress(InvalidInput):
    """Text that is no address, or whose checksum is wrong."""


class Signature(NamedTuple):
    """An ECDSA signature over secp256k1; `parity` (0 or 1) is that of the nonce point's y."""

    r: int
    s: int
    parity: int


def encode_signature(signature: Signature) -> bytes:
    """65 bytes: r, s (32 each), parity."""
    return signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes([signature.parity])


def decode_signature(data: bytes) -> Signature:
    """The numbers in 65 bytes, whatever they are worth. Raises InvalidSignature for another length."""
    if len(data) != SIGNATURE_BYTES:
        raise InvalidSignature(f"a signature has {SIGNATURE_BYTES} bytes, not {len(data)}")
    return Signature(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"), data[64])


# -------------------------------------------------------------------------------------------------------- hashes


def keccak256(data: bytes) -> bytes:
    return _keccak_256(data).digest()  # type: ignore[no-any-return]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# ------------------------------------------------------------------------------------------------------ recovery


def is_in_range(parity: int, r: int, s: int) -> bool:
    """Whether parity is 0 or 1, 0 < r < n, and s is low: 0 < s <= n / 2 (EIP-2)."""
    return 0 <= parity <= 1 and 0 < r < CURVE_ORDER and 0 < s <= CURVE_ORDER_HALF


def recover_sender(message_hash: bytes, parity: int, r: int, s: int) -> Address:
    """The 20-byte address whose key signed the 32-byte hash. Raises InvalidSignature."""
    if _library is None:  # pragma: no cover
        return recover_sender_portable(message_hash, parity, r, s)
    _require_in_range(parity, r, s)
    assert len(message_hash) == HASH_BYTES
    context = _library.secp256k1_context_static
    signature = _ffi.new("secp256k1_ecdsa_recoverable_signature *")
    public_key = _ffi.new("secp256k1_pubkey *")
    compact = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    parsed = _library.secp256k1_ecdsa_recoverable_signature_parse_compact(context, signature, compact, parity)
    if not parsed or not _library.secp256k1_ecdsa_recover(context, public_key, signature, message_hash):
        raise InvalidSignature(f"no public key can be recovered from r {r:#x}, s {s:#x}, parity {parity}")
    key = _ffi.new("unsigned char[65]")
    _library.secp256k1_ec_pubkey_serialize(context, key, _ffi.new("size_t *", _KEY_BYTES), public_key, _UNCOMPRESSED)
    return _address_of_public_key(_ffi.buffer(key, _KEY_BYTES)[1:])


def recover_sender_portable(message_hash: bytes, parity: int, r: int, s: int) -> Address:
    """The same by python-ecdsa: the second implementation, which must agree on everything."""
    _require_in_range(parity, r, s)
    assert len(message_hash) == HASH_BYTES
    key = secp256k1_portable.recover_public_key(message_hash, parity, r, s)
    if key is None:
        raise InvalidSignature(f"no public key can be recovered from r {r:#x}, s {s:#x}, parity {parity}")
    return _address_of_public_key(key)


def recover_many(signatures: Sequence[tuple[bytes, int, int, int]]) -> list[Address | None]:
    """The sender of every (message hash, parity, r, s), None where `recover_sender` would raise.

    The curve arithmetic of the whole batch runs in one call that does not hold the interpreter's lock: call
    this from a worker thread, with as many as there are. The first call loads compiled code (0.2 s, and once
    on a machine 0.5 s more).
    """
    if _library is None:  # pragma: no cover
        return [_recover_or_none(*signature) for signature in signatures]
    from chain import recovery_kernel  # imports numba, which a wallet command never needs

    rows = []
    for message_hash, parity, r, s in signatures:
        if is_in_range(parity, r, s):
            rows.append(message_hash + r.to_bytes(32, "big") + s.to_bytes(32, "big") + (b"\1" if parity else b"\0"))
        else:
            rows.append(bytes(recovery_kernel.ROW_BYTES))  # r = 0, from which nothing is recovered
    keys = recovery_kernel.recover_public_keys(b"".join(rows), len(rows))
    return [
        Address(_keccak_256(keys[start + 1 : start + _KEY_BYTES]).digest()[12:]) if keys[start] else None
        for start in range(0, len(keys), _KEY_BYTES)
    ]


def _recover_or_none(message_hash: bytes, parity: int, r: int, s: int) -> Address | None:  # pragma: no cover
    try:
        return recover_sender(message_hash, parity, r, s)
    except InvalidSignature:
        return None


def _require_in_range(parity: int, r: int, s: int) -> None:
    if not is_in_range(parity, r, s):
        raise InvalidSignature(
            f"invalid transaction v, r, s values: parity {parity} must be 0 or 1, r {r:#x} from 1 to n - 1, "
            f"s {s:#x} from 1 to n / 2, where n is the order of secp256k1"
        )


def _address_of_public_key(key: bytes) -> Address:
    return Address(_keccak_256(key).digest()[12:])


# ------------------------------------------------------------------------------------------------------- signing


def sign(message_hash: bytes, private_key: bytes) -> Signature:
    """The signature of a 32-byte hash, s low, nonce by RFC 6979. Raises InvalidKey."""
    _require_key(private_key)
    assert len(message_hash) == HASH_BYTES
    if _library is None:  # pragma: no cover
        return Signature(*secp256k1_portable.sign(message_hash, private_key))
    compact = coincurve.PrivateKey(private_key).sign_recoverable(message_hash, hasher=None)
    return Signature(int.from_bytes(compact[:32], "big"), int.from_bytes(compact[32:64], "big"), compact[64])


def address_of(private_key: bytes) -> Address:
    """The 20-byte address of a 32-byte private key. Raises InvalidKey."""
    _require_key(private_key)
    if _library is None:  # pragma: no cover
        return _address_of_public_key(secp256k1_portable.public_key_of(private_key))
    return _address_of_public_key(coincurve.PrivateKey(private_key).public_key.format(compressed=False)[1:])


def _require_key(private_key: bytes) -> None:
    if len(private_key) != PRIVATE_KEY_BYTES or not 0 < int.from_bytes(private_key, "big") < CURVE_ORDER:
        raise InvalidKey(f"a private key must be {PRIVATE_KEY_BYTES} bytes, a number from 1 to n - 1")


# ----------------------------------------------------------------------------------------------------- addresses


def checksum_address(address: bytes) -> str:
    """0x and 40 hexadecimal digits whose case is a checksum (EIP-55)."""
    assert len(address) == ADDRESS_BYTES
    digits = address.hex()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(digits, digest, strict=False))


def parse_address(text: str) -> Address:
    """The address that a person wrote: 0x and 40 digits, in one case or with a right checksum.

    Raises InvalidAddress.
    """
    digits = text[2:]
    try:
        address = Address(bytes.fromhex(digits))
    except ValueError:
        address = Address(b"")
    if text[:2] != "0x" or len(digits) != 2 * ADDRESS_BYTES or len(address) != ADDRESS_BYTES:
        raise InvalidAddress(f"{text!r} is no address: it must be 0x and {2 * ADDRESS_BYTES} hexadecimal digits")
    if digits not in (digits.lower(), digits.upper()) and text != checksum_address(address):
        raise InvalidAddress(
            f"{text!r} has a wrong checksum: is a digit mistyped? It would be {checksum_address(address)}"
        )
    return address
