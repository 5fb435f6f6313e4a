"""Home of who a node is to others: its node key, and the TLS certificate it makes for itself at each start."""

from __future__ import annotations

import datetime
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chain.crypto import sha256
from chain.keys import load_or_make_plain_key

NODE_KEY_NAME = "node.key"
CERTIFICATE_DAYS = 36_500  # nobody reads the dates: the handshake binds the certificate to the node key


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a listening node shows: TLS settings with a certificate, and the SHA-256 of that (32 bytes)."""

    server: ssl.SSLContext
    certificate_hash: bytes


def load_node_key(directory: Path) -> bytes:
    """The node key (32 bytes) of a data directory, made on first use. Raises KeyFileError."""
    return load_or_make_plain_key(directory / NODE_KEY_NAME)


def make_credentials() -> Credentials:
    """A fresh certificate and key. They touch the disk only for the moment that the ssl module needs to read them."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # each connection proves who it is anew
    with tempfile.TemporaryDirectory(prefix="lyceum-") as folder:  # readable by its owner only
        path = Path(folder) / "certificate.pem"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
    return Credentials(server=context, certificate_hash=sha256(certificate.public_bytes(serialization.Encoding.DER)))


def client_context() -> ssl.SSLContext:
    """TLS settings that take any certificate: the handshake checks that it belongs to the node key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lyceum")])
    start = datetime.datetime(2020, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=CERTIFICATE_DAYS))
    return builder.sign(key, hashes.SHA256())
