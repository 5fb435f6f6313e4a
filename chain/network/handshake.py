"""Home of the handshake: two nodes prove their node keys to each other over one TLS connection, of one network.

The dialling side says hello; the listening side says hello and signs; the dialling side signs; the listening side
gives its verdict. What is signed covers both hellos (so both nonces, ids, versions and genesis hashes), the signer's
role, and the SHA-256 of the listener's certificate, which the dialler reads from its own end of TLS: whoever sits in
between shows another certificate, so that no signature it can pass on fits. Either side may end it with a verdict that
names a reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from chain.crypto import Signature, address_of, recover_sender, sha256, sign
from chain.errors import InvalidInput, LyceumError
from chain.network.messages import HOST_BYTES_MAX, PORT_MAX
from chain.operations.schema import ADDRESS, HASH, UINT, Layout, blob, fixed

PROTOCOL_VERSION: Final = 1
MESSAGE_BYTES_MAX: Final = 1 << 10
REASON_BYTES_MAX: Final = 200
SIGNATURE_BYTES: Final = 65
_DOMAIN: Final = b"lyceum handshake 1"
_DIALLER: Final = b"dialler"
_LISTENER: Final = b"listener"


class HandshakeFailed(LyceumError):
    """This connection comes to nothing; the message says why, to us and to the other side."""


class InvalidHandshake(HandshakeFailed, InvalidInput):
    """The other side sent what no honest node sends."""


class Refused(HandshakeFailed):
    """The other side will not talk to us, for the reason it gave."""


class ToItself(HandshakeFailed):
    """The other side is this very node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who a node says it is, and where others may reach it."""

    version: int
    genesis: bytes
    nonce: bytes  # 32 fresh random bytes
    node: bytes
    host: bytes  # empty: where the connection comes from
    port: int  # 0: nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHello:
    """The listener's hello, and its signature over both."""

    hello: Hello
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The dialler's signature."""

    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Empty: be welcome. Else why the connection ends."""

    reason: bytes


_HELLO: Final = Layout(
    Hello, version=UINT, genesis=HASH, nonce=HASH, node=ADDRESS, host=blob(HOST_BYTES_MAX), port=UINT
)
_LAYOUTS: Final[dict[int, tuple[type, Layout[Any]]]] = {
    1: (Hello, _HELLO),
    2: (SignedHello, Layout(SignedHello, hello=_HELLO.kind, signature=fixed(SIGNATURE_BYTES))),
    3: (Proof, Layout(Proof, signature=fixed(SIGNATURE_BYTES))),
    4: (Verdict, Layout(Verdict, reason=blob(REASON_BYTES_MAX))),
}
_TAGS: Final = {cls: (bytes([tag]), layout) for tag, (cls, layout) in _LAYOUTS.items()}


def encode(message: Hello | SignedHello | Proof | Verdict) -> bytes:
    """One byte for the kind of message, and its fields."""
    tag, layout = _TAGS[type(message)]
    return tag + layout.encode(message)


def decode(data: bytes) -> Hello | SignedHello | Proof | Verdict:
    """What `encode` made. Raises InvalidHandshake."""
    known = _LAYOUTS.get(data[0]) if data else None
    if known is None or len(data) > MESSAGE_BYTES_MAX:
        raise InvalidHandshake(f"no part of a handshake: {data[:8].hex()}... of {len(data)} bytes")
    try:
        return known[1].decode(data[1:])  # type: ignore[no-any-return]
    except InvalidInput as error:
        raise InvalidHandshake(f"a {known[0].__name__} that is none: {error}") from error


class Channel(Protocol):
    """Whole messages to and from the other side."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Raises HandshakeFailed where the connection ends."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """This node's side of every handshake. `judge` raises HandshakeFailed for a node it does not want (any more)."""

    key: bytes
    genesis: bytes
    host: bytes
    port: int
    judge: Callable[[Hello], None]

    def hello(self) -> Hello:
        return Hello(
            version=PROTOCOL_VERSION,
            genesis=self.genesis,
            nonce=secrets.token_bytes(32),
            node=address_of(self.key),
            host=self.host,
            port=self.port,
        )


async def dial(channel: Channel, own: Own, certificate_hash: bytes, expected: bytes = b"") -> Hello:
    """The hello of the node that listens at the other end, which has welcomed us. Raises HandshakeFailed.

    `certificate_hash` is of the certificate that this end of TLS saw; `expected` a node id, empty if any will do.
    """
    mine = own.hello()
    await channel.send(encode(mine))
    answer = await _receive(channel, SignedHello)
    theirs: Hello = answer.hello
    try:
        _require_same_network(theirs, own)
        if expected and theirs.node != expected:
            raise HandshakeFailed(f"it is node 0x{theirs.node.hex()}, where 0x{expected.hex()} was expected")
        _require_signature(answer.signature, theirs.node, _digest(_LISTENER, certificate_hash, mine, theirs))
        _require_another(theirs, own)
        own.judge(theirs)
    except HandshakeFailed as error:
        await channel.send(encode(Verdict(reason=_shortened(error))))
        raise
    proof = _signature(own.key, _digest(_DIALLER, certificate_hash, mine, theirs))
    await channel.send(encode(Proof(signature=proof)))
    verdict = await _receive(channel, Verdict)
    assert not verdict.reason, "a reason was raised as Refused"
    return theirs


async def listen(channel: Channel, own: Own, certificate_hash: bytes) -> Hello:
    """The hello of the node that dialled us, which is told that it is welcome. Raises HandshakeFailed."""
    theirs: Hello = await _receive(channel, Hello)
    mine = own.hello()
    try:
        _require_same_network(theirs, own)
        signature = _signature(own.key, _digest(_LISTENER, certificate_hash, theirs, mine))
        await channel.send(encode(SignedHello(hello=mine, signature=signature)))
        proof = await _receive(channel, Proof)
        _require_signature(proof.signature, theirs.node, _digest(_DIALLER, certificate_hash, theirs, mine))
        _require_another(theirs, own)
        own.judge(theirs)
    except Refused:
        raise
    except HandshakeFailed as error:
        await channel.send(encode(Verdict(reason=_shortened(error))))
        raise
    await channel.send(encode(Verdict(reason=b"")))
    return theirs


async def _receive(channel: Channel, wanted: type) -> Any:
    message = decode(await channel.receive())
    if isinstance(message, Verdict) and message.reason:
        raise Refused(f"it refuses: {message.reason.decode(errors='replace')!r}")
    if not isinstance(message, wanted):
        raise InvalidHandshake(f"a {type(message).__name__} came where a {wanted.__name__} was due")
    return message


def _require_same_network(theirs: Hello, own: Own) -> None:
    if theirs.version != PROTOCOL_VERSION:
        raise HandshakeFailed(f"one speaks version {theirs.version} of the protocol, the other {PROTOCOL_VERSION}")
    if theirs.genesis != own.genesis:
        raise HandshakeFailed(f"one is of network {theirs.genesis.hex()[:16]}, the other {own.genesis.hex()[:16]}")
    if theirs.port > PORT_MAX:
        raise InvalidHandshake(f"{theirs.port} is no port")


def _require_another(theirs: Hello, own: Own) -> None:
    """Asked after the proof, so that it is the dialler who knows that it has called itself."""
    if theirs.node == address_of(own.key):
        raise ToItself("a node does not talk to itself")


def _digest(role: bytes, certificate_hash: bytes, dialler: Hello, listener: Hello) -> bytes:
    parts = (_DOMAIN, role, certificate_hash, _HELLO.encode(dialler), _HELLO.encode(listener))
    return sha256(b"".join(sha256(part) for part in parts))


def _signature(key: bytes, digest: bytes) -> bytes:
    signature = sign(digest, key)
    return signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes([signature.parity])


def _require_signature(data: bytes, node: bytes, digest: bytes) -> None:
    signature = Signature(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"), data[64])
    try:
        signer = recover_sender(digest, signature.parity, signature.r, signature.s)
    except InvalidInput as error:
        raise InvalidHandshake(f"its signature is none: {error}") from error
    if signer != node:
        raise InvalidHandshake(
            f"the signature is not node 0x{node.hex()}'s over this connection: somebody may sit in between"
        )


def _shortened(error: HandshakeFailed) -> bytes:
    return (str(error).encode() or b"no reason")[:REASON_BYTES_MAX]
