"""Home of private keys at rest: keystore V3 files with a password, and the plain key file of a development chain."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from chain.crypto import address_of
from chain.errors import LyceumError


class KeyFileError(LyceumError):
    """A key file that can't be read, written or opened; the message says what to do."""


def new_key() -> bytes:
    """A fresh secp256k1 private key, 32 bytes."""
    while True:
        key = secrets.token_bytes(32)
        if 0 < int.from_bytes(key, "big") < 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141:
            return key


def write_private(path: Path, data: bytes) -> None:
    """Create a file that only its owner can read, synced before this returns. Raises KeyFileError if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists already; move it away or choose another name") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load_or_make_plain_key(path: Path) -> bytes:
    """The hex key in `path`, made on first use. For accounts that a node makes for itself."""
    if not path.exists():
        write_private(path, new_key().hex().encode() + b"\n")
    return load_plain_key(path)


def load_plain_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text().strip().removeprefix("0x"))
    except (OSError, ValueError) as error:
        raise KeyFileError(f"can't read the key file {path}: {error}") from error
    if len(key) != 32:
        raise KeyFileError(f"{path} holds {len(key)} bytes where a private key has 32")
    return key


def encrypt_key(key: bytes, password: str, *, light: bool = False) -> bytes:
    """Keystore V3 JSON (scrypt; `light` takes a 64th of the work, for tests)."""
    from eth_keyfile import create_keyfile_json

    work = 4096 if light else 262144
    return json.dumps(create_keyfile_json(key, password.encode(), kdf="scrypt", iterations=work)).encode()


def decrypt_key(path: Path, password: str) -> bytes:
    """The key in a keystore file. Raises KeyFileError on a wrong password or a file that is none."""
    from eth_keyfile import decode_keyfile_json

    content = read_keystore(path)
    try:
        return bytes(decode_keyfile_json(content, password.encode()))
    except ValueError as error:
        if "MAC" in str(error):
            raise KeyFileError(f"wrong password for {path}") from error
        raise KeyFileError(f"{path} is no keystore V3 file: {error}") from error
    except (KeyError, TypeError, NotImplementedError) as error:
        raise KeyFileError(f"{path} is no keystore V3 file: {error!r}") from error


def read_keystore(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeyFileError(f"can't read the keystore file {path}: {error}") from error
    if not isinstance(content, dict) or content.get("version") != 3:
        raise KeyFileError(f"{path} is no keystore V3 file")
    return content


def keystore_address(path: Path) -> bytes:
    """The address that a keystore file says it is for, without its password."""
    try:
        return bytes.fromhex(str(read_keystore(path)["address"]).removeprefix("0x"))
    except (KeyError, ValueError) as error:
        raise KeyFileError(f"{path} does not name its address") from error


def load_key(path: Path, password: str | None) -> bytes:
    """The key of a keystore V3 file (which needs a password) or of a plain hex file."""
    try:
        start = path.read_bytes()[:1]
    except OSError as error:
        raise KeyFileError(f"can't read the key file {path}: {error.strerror}") from error
    if start != b"{":
        return load_plain_key(path)
    if password is None:
        raise KeyFileError(f"{path} is locked: give its password with --password-file or LYCEUM_PASSWORD")
    key = decrypt_key(path, password)
    if address_of(key) != keystore_address(path):
        raise KeyFileError(f"{path} names another address than its key has; it is damaged")
    return key
