"""Home of the tests of the handshake itself: what either side may say, over a channel without a network."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.crypto import address_of
from chain.errors import InvalidInput
from chain.network import handshake
from chain.network.handshake import (
    HandshakeFailed,
    Hello,
    InvalidHandshake,
    Own,
    Proof,
    Refused,
    SignedHello,
    ToItself,
    Verdict,
    decode,
    dial,
    encode,
    listen,
)
from tests.chain.network.network_world import GENESIS, key, node_id, side

CERTIFICATE = b"c" * 32


class Pipe:
    """One end of a channel; `change` is what somebody in between does to what this end sends."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.other: Pipe
        self.sent: list[bytes] = []
        self.change: Callable[[bytes], bytes] = lambda data: data

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.other.incoming.put_nowait(self.change(data))

    async def receive(self) -> bytes:
        return await self.incoming.get()


def pipe() -> tuple[Pipe, Pipe]:
    one, two = Pipe(), Pipe()
    one.other, two.other = two, one
    return one, two


Outcome = Hello | BaseException


def shake(
    dialler: Own,
    listener: Own,
    *,
    seen: bytes = CERTIFICATE,
    expected: bytes = b"",
    change_dialler: Callable[[bytes], bytes] = lambda data: data,
    change_listener: Callable[[bytes], bytes] = lambda data: data,
) -> tuple[Outcome, Outcome]:
    """What both sides make of each other; an end that fails closes, which the other one sees as an end."""

    async def play() -> tuple[Outcome, Outcome]:
        one, two = pipe()
        one.change, two.change = change_dialler, change_listener

        async def ended(work: Awaitable[Hello], other: Pipe) -> Hello:
            try:
                return await work
            finally:
                other.incoming.put_nowait(b"")  # as no message is empty, it ends the other side's waiting

        async with asyncio.timeout(5):
            results = await asyncio.gather(
                ended(dial(one, dialler, seen, expected), two),
                ended(listen(two, listener, CERTIFICATE), one),
                return_exceptions=True,
            )
        return results[0], results[1]

    return asyncio.run(play())


def refusing(reason: str) -> Callable[[Hello], None]:
    def judge(hello: Hello) -> None:
        raise HandshakeFailed(reason)

    return judge


def test_both_sides_learn_who_the_other_is_and_where_it_listens() -> None:
    listener = replace(side(key(2)), host=b"192.0.2.7", port=30333)
    dialler_saw, listener_saw = shake(side(key(1)), listener)
    assert isinstance(dialler_saw, Hello)
    assert isinstance(listener_saw, Hello)
    assert (dialler_saw.node, dialler_saw.host, dialler_saw.port) == (node_id(2), b"192.0.2.7", 30333)
    assert (listener_saw.node, listener_saw.host, listener_saw.port) == (node_id(1), b"", 0)


def test_another_network_is_refused_and_both_sides_know_why() -> None:
    dialler_saw, listener_saw = shake(side(key(1), b"x" * 32), side(key(2)))
    assert isinstance(listener_saw, HandshakeFailed)
    assert isinstance(dialler_saw, Refused)
    assert (b"x" * 32).hex()[:16] in str(listener_saw) in str(dialler_saw)


def test_another_version_is_refused_and_both_sides_know_why() -> None:
    def older(data: bytes) -> bytes:
        message = decode(data)
        return encode(replace(message, version=7)) if isinstance(message, Hello) else data

    dialler_saw, listener_saw = shake(side(key(1)), side(key(2)), change_dialler=older)
    assert "version 7" in str(listener_saw)
    assert isinstance(dialler_saw, Refused)
    assert "version 7" in str(dialler_saw)


def test_a_node_does_not_talk_to_itself() -> None:
    dialler_saw, listener_saw = shake(side(key(1)), side(key(1)))
    assert isinstance(dialler_saw, ToItself)
    assert isinstance(listener_saw, Refused)


def test_a_listener_that_is_called_by_itself_refuses_too() -> None:
    async def play() -> None:
        one, two = pipe()
        work = asyncio.create_task(listen(two, side(key(1)), CERTIFICATE))
        mine = side(key(1)).hello()
        await one.send(encode(mine))
        answer = decode(await one.receive())
        assert isinstance(answer, SignedHello)
        digest = handshake._digest(b"dialler", CERTIFICATE, mine, answer.hello)
        await one.send(encode(Proof(signature=handshake._signature(key(1), digest))))
        with pytest.raises(ToItself):
            await work

    asyncio.run(play())


@pytest.mark.parametrize("dialler_judges", [True, False])
def test_a_side_that_is_unwanted_hears_the_reason(dialler_judges: bool) -> None:
    judging = side(key(1 if dialler_judges else 2), judge=refusing("not on the list"))
    other = side(key(2 if dialler_judges else 1))
    saw = shake(judging, other) if dialler_judges else shake(other, judging)[::-1]
    judge_saw, other_saw = saw
    assert str(judge_saw) == "not on the list"
    assert isinstance(other_saw, Refused)
    assert "not on the list" in str(other_saw)


def test_another_node_than_the_expected_one_is_refused() -> None:
    dialler_saw, listener_saw = shake(side(key(1)), side(key(2)), expected=node_id(3))
    assert isinstance(dialler_saw, HandshakeFailed)
    assert node_id(3).hex() in str(dialler_saw)
    assert isinstance(listener_saw, Refused)
    assert isinstance(shake(side(key(1)), side(key(2)), expected=node_id(2))[0], Hello)


def test_who_sits_in_between_with_a_certificate_of_his_own_is_found_out() -> None:
    dialler_saw, listener_saw = shake(side(key(1)), side(key(2)), seen=b"m" * 32)
    assert isinstance(dialler_saw, InvalidHandshake)
    assert "in between" in str(dialler_saw)
    assert isinstance(listener_saw, Refused)


def test_a_dialler_that_does_not_check_is_found_out_by_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    real = handshake._require_signature

    def careless(data: bytes, node: bytes, digest: bytes) -> None:
        if node != node_id(2):
            real(data, node, digest)

    monkeypatch.setattr(handshake, "_require_signature", careless)
    dialler_saw, listener_saw = shake(side(key(1)), side(key(2)), seen=b"m" * 32)
    assert isinstance(listener_saw, InvalidHandshake)
    assert "in between" in str(listener_saw)
    assert isinstance(dialler_saw, Refused)


def test_a_signature_by_another_key_is_refused() -> None:
    def as_another(data: bytes) -> bytes:
        message = decode(data)
        return encode(replace(message, node=node_id(3))) if isinstance(message, Hello) else data

    dialler_saw, listener_saw = shake(side(key(1)), side(key(2)), change_dialler=as_another)
    assert isinstance(dialler_saw, InvalidHandshake)  # the listener signed another hello than the dialler's
    assert isinstance(listener_saw, Refused)


@pytest.mark.parametrize("signature", [bytes(65), b"\xff" * 65, b"\1" * 64 + b"\2", secrets.token_bytes(64) + b"\0"])
def test_a_proof_that_is_no_signature_is_refused(signature: bytes) -> None:
    def forge(data: bytes) -> bytes:
        return encode(Proof(signature=signature)) if isinstance(decode(data), Proof) else data

    dialler_saw, listener_saw = shake(side(key(1)), side(key(2)), change_dialler=forge)
    assert isinstance(listener_saw, InvalidHandshake)
    assert isinstance(dialler_saw, Refused)


def test_what_was_said_once_proves_nothing_again() -> None:
    """A dialler that plays another one's words back has not that one's key."""

    async def play() -> tuple[list[bytes], Hello]:
        one, two = pipe()
        _, seen = await asyncio.gather(dial(one, side(key(1)), CERTIFICATE), listen(two, side(key(2)), CERTIFICATE))
        return one.sent, seen

    async def replay(words: list[bytes]) -> None:
        one, two = pipe()
        for word in words:
            await one.send(word)
        with pytest.raises(InvalidHandshake):
            await listen(two, side(key(2)), CERTIFICATE)

    words, seen = asyncio.run(play())
    assert seen.node == node_id(1)
    asyncio.run(replay(words))


def test_a_listeners_words_are_no_diallers_words() -> None:
    """Who dials back and reflects the signature that it was given is refused: roles are signed."""

    async def play() -> None:
        one, two = pipe()
        work = asyncio.create_task(listen(two, side(key(2)), CERTIFICATE))
        mine = side(key(1)).hello()
        await one.send(encode(mine))
        answer = decode(await one.receive())
        assert isinstance(answer, SignedHello)
        await one.send(encode(Proof(signature=answer.signature)))
        with pytest.raises(InvalidHandshake):
            await work

    asyncio.run(play())


STEPS = [
    encode(side(key(1)).hello()),
    encode(SignedHello(hello=side(key(1)).hello(), signature=bytes(65))),
    encode(Proof(signature=bytes(65))),
    encode(Verdict(reason=b"")),
    encode(Verdict(reason=b"no")),
]


@pytest.mark.parametrize("first", [*STEPS[1:], b"", b"\x01", b"\x09abc", b"\x01" + bytes(2000), b"GET / HTTP/1.1"])
def test_a_listener_ends_it_at_what_is_no_hello(first: bytes) -> None:
    async def play() -> None:
        one, two = pipe()
        await one.send(first)
        with pytest.raises(HandshakeFailed):
            await listen(two, side(key(2)), CERTIFICATE)

    asyncio.run(play())


@pytest.mark.parametrize("first", [STEPS[0], *STEPS[2:], b"", b"\x02", b"\x02" + bytes(2000)])
def test_a_dialler_ends_it_at_what_is_no_signed_hello(first: bytes) -> None:
    async def play() -> None:
        one, two = pipe()
        await two.send(first)
        with pytest.raises(HandshakeFailed):
            await dial(one, side(key(1)), CERTIFICATE)

    asyncio.run(play())


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=300), st.tuples(st.sampled_from(STEPS), st.data()).map(lambda both: both[0])))
def test_any_bytes_decode_to_what_encodes_to_them_or_are_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except InvalidHandshake:
        return
    assert encode(message) == data
    assert isinstance(InvalidHandshake(), InvalidInput)


def test_reasons_are_cut_to_what_fits() -> None:
    long = "x" * 5000
    _, dialler_saw = shake(side(key(1)), side(key(2), judge=refusing(long)))[::-1]
    assert isinstance(dialler_saw, Refused)
    assert len(str(dialler_saw)) < 300


def test_ids_are_addresses_of_node_keys() -> None:
    assert side(key(1)).hello().node == address_of(key(1))
    assert side(key(1)).hello().genesis == GENESIS
    assert side(key(1)).hello().nonce != side(key(1)).hello().nonce
