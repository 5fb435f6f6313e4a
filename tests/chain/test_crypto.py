"""Hashes, signatures and addresses: two implementations and a wallet's library agree."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

import ecdsa
import pytest
from Crypto.Hash import keccak as cryptodome_keccak
from eth_keys import keys
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import crypto, secp256k1_portable
from tests.chain.vectors import external, kept

N = crypto.CURVE_ORDER
FIELD_PRIME = 2**256 - 2**32 - 977
HASHES = st.binary(min_size=32, max_size=32)
KEYS = st.integers(1, N - 1).map(lambda value: value.to_bytes(32, "big"))
SCALARS = st.one_of(
    st.integers(-1, 3), st.integers(N // 2 - 1, N // 2 + 2), st.integers(N - 2, 2**256), st.integers(1, N)
)


def recovered(message_hash: bytes, parity: int, r: int, s: int) -> bytes | None:
    """What all three ways to recover say, which must be the same."""
    results = []
    for recover in (crypto.recover_sender, crypto.recover_sender_portable):
        try:
            results.append(recover(message_hash, parity, r, s))
        except crypto.InvalidSignature:
            results.append(None)
    results += crypto.recover_many([(message_hash, parity, r, s)])
    assert results[0] == results[1] == results[2], (message_hash.hex(), parity, r, s)
    return results[0]


# -------------------------------------------------------------------------------------------------------- hashes


@given(data=st.binary(max_size=400))
@settings(deadline=None, max_examples=100)
def test_keccak_is_ethereums(data: bytes) -> None:
    assert crypto.keccak256(data) == cryptodome_keccak.new(digest_bits=256, data=data).digest()
    assert crypto.sha256(data) == hashlib.sha256(data).digest()


def test_keccak_of_nothing_is_the_known_one() -> None:
    expected = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert crypto.keccak256(b"").hex() == expected


# ---------------------------------------------------------------------------------------------------- signatures


@given(key=KEYS, message_hash=HASHES)
@settings(deadline=None, max_examples=50)
def test_a_signature_is_the_same_in_every_implementation_and_recovers_its_sender(
    key: bytes, message_hash: bytes
) -> None:
    signature = crypto.sign(message_hash, key)
    assert tuple(signature) == secp256k1_portable.sign(message_hash, key)
    wallet_key = keys.PrivateKey(key)
    v, r, s = wallet_key.sign_msg_hash(message_hash).vrs
    assert signature == (r, s, v)
    assert signature.s <= N // 2
    assert recovered(message_hash, signature.parity, signature.r, signature.s) == crypto.address_of(key)
    assert crypto.address_of(key) == wallet_key.public_key.to_canonical_address()
    assert keys.PrivateKey(key).public_key.to_bytes() == secp256k1_portable.public_key_of(key)


@given(key=KEYS, message_hash=HASHES)
@settings(deadline=None, max_examples=20)
def test_the_other_half_of_s_is_refused(key: bytes, message_hash: bytes) -> None:
    signature = crypto.sign(message_hash, key)
    for parity in (0, 1):
        assert recovered(message_hash, parity, signature.r, N - signature.s) is None


@given(message_hash=HASHES, parity=st.integers(-1, 3), r=SCALARS, s=SCALARS)
@settings(deadline=None, max_examples=150)
def test_implementations_agree_on_any_numbers(message_hash: bytes, parity: int, r: int, s: int) -> None:
    sender = recovered(message_hash, parity, r, s)
    if not (parity in (0, 1) and 0 < r < N and 0 < s <= N // 2):
        assert sender is None


@pytest.mark.parametrize("message_hash", [bytes(32), b"\xff" * 32, N.to_bytes(32, "big"), (N - 1).to_bytes(32, "big")])
def test_implementations_agree_on_extreme_hashes(message_hash: bytes) -> None:
    for key in (1, 2, N - 1, N // 2):
        private_key = key.to_bytes(32, "big")
        signature = crypto.sign(message_hash, private_key)
        assert recovered(message_hash, signature.parity, signature.r, signature.s) == crypto.address_of(private_key)


def test_a_signature_that_gives_the_point_at_infinity_is_refused() -> None:
    # With R = kG and s = e / k the recovered key is (sR - eG) / r = 0.
    for k in range(1, 40):
        r = (ecdsa.SECP256k1.generator * k).x()
        for e in (k, N - k):
            s = e * pow(k, -1, N) % N
            assert s in (1, N - 1)
            if s == 1:
                y = (ecdsa.SECP256k1.generator * k).y()
                assert recovered(e.to_bytes(32, "big"), y & 1, r, s) is None


@given(
    signed=st.lists(st.tuples(KEYS, HASHES, st.sampled_from(["whole", "high s", "zero r", "parity 2"])), max_size=12)
)
@settings(deadline=None, max_examples=30)
def test_a_batch_gives_what_each_gives_alone(signed: list[tuple[bytes, bytes, str]]) -> None:
    batch, expected = [], []
    for key, message_hash, damage in signed:
        r, s, parity = crypto.sign(message_hash, key)
        damaged = {
            "whole": (message_hash, parity, r, s),
            "high s": (message_hash, parity, r, N - s),
            "zero r": (message_hash, parity, 0, s),
            "parity 2": (message_hash, 2, r, s),
        }
        batch.append(damaged[damage])
        expected.append(crypto.address_of(key) if damage == "whole" else None)
    assert crypto.recover_many(batch) == expected


def test_batches_on_several_threads_do_not_disturb_each_other() -> None:
    def batch_of(seed: int) -> tuple[list[Any], list[bytes]]:
        keys_of = [crypto.sha256(bytes((seed, i))) for i in range(60)]
        signatures = [crypto.sign(crypto.sha256(key), key) for key in keys_of]
        batch = [(crypto.sha256(k), g.parity, g.r, g.s) for k, g in zip(keys_of, signatures, strict=True)]
        return batch, [crypto.address_of(key) for key in keys_of]

    batches = [batch_of(seed) for seed in range(4)]
    results: list[Any] = [None] * 4

    def work(index: int) -> None:
        for _ in range(5):
            results[index] = crypto.recover_many(batches[index][0])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected for _, expected in batches]


def test_a_batch_waits_for_the_interpreters_lock_a_few_times_not_for_each_signature() -> None:
    key, message_hash = b"\x07" * 32, bytes(32)
    signature = crypto.sign(message_hash, key)
    batch = [(message_hash, signature.parity, signature.r, signature.s)] * 300
    crypto.recover_many(batch[:1])
    done: list[Any] = []
    worker = threading.Thread(target=lambda: done.append(crypto.recover_many(batch)))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.05)  # how long a busy thread, which this one is now, keeps the lock from others
    try:
        started = time.monotonic()
        worker.start()
        while not done and time.monotonic() - started < 10:
            pass
        waited = time.monotonic() - started
    finally:
        sys.setswitchinterval(interval)
        worker.join()
    assert done == [[crypto.address_of(key)] * 300]
    assert waited < 5  # three times 300 waits would be 45 s


def test_without_libsecp256k1_everything_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    key, message_hash = b"\x07" * 32, crypto.sha256(b"message")
    signature, address = crypto.sign(message_hash, key), crypto.address_of(key)
    monkeypatch.setattr(crypto, "_library", None)
    assert (crypto.sign(message_hash, key), crypto.address_of(key)) == (signature, address)
    r, s, parity = signature
    assert crypto.recover_sender(message_hash, parity, r, s) == address
    batch = [(message_hash, parity, r, s), (message_hash, parity, r, N - s), (message_hash, parity, 5, s)]
    assert crypto.recover_many(batch) == [address, None, None]


@pytest.mark.parametrize("key", [b"", bytes(32), b"\x01" * 31, b"\x01" * 33, N.to_bytes(32, "big"), b"\xff" * 32])
def test_what_is_no_private_key_is_refused_without_being_shown(key: bytes) -> None:
    for use in (lambda: crypto.sign(bytes(32), key), lambda: crypto.address_of(key)):
        with pytest.raises(crypto.InvalidKey) as refused:
            use()
        assert not key or key.hex() not in str(refused.value)


# ---------------------------------------------------------------------------------------------------- wycheproof


def check_wycheproof(vectors: dict[str, Any], name: str) -> int:
    """Turn each vector to verify into two recoveries; returns how many had a well-formed encoding."""
    checked = 0
    for group in vectors["testGroups"]:
        public_key = bytes.fromhex(group["publicKey"]["uncompressed"])
        address = crypto.keccak256(public_key[1:])[12:]
        for test in group["tests"]:
            message_hash = hashlib.sha256(bytes.fromhex(test["msg"])).digest()
            numbers = decode_der(bytes.fromhex(test["sig"]))
            if numbers is None:
                assert test["result"] == "invalid", test
                continue
            checked += 1
            r, s = numbers
            low = {recovered(message_hash, parity, r, s) for parity in (0, 1)}
            flipped = {recovered(message_hash, parity, r, N - s) for parity in (0, 1)}
            if test["result"] != "valid":
                assert address not in low, (name, test)
            elif not r + N < FIELD_PRIME:  # else the point may be the one of r + n, which has no recovery here
                assert address in low | flipped, (name, test)
                assert (address in low) == (s <= N // 2), (name, test)
    return checked


def decode_der(encoded: bytes) -> tuple[int, int] | None:
    """The two numbers of which these bytes are the DER encoding."""
    try:
        r, s = ecdsa.util.sigdecode_der(encoded, N)
        return (r, s) if ecdsa.util.sigencode_der(r, s, N) == encoded else None
    except Exception:
        return None


@pytest.mark.parametrize("name", ["ecdsa_secp256k1_sha256_test", "ecdsa_secp256k1_sha256_bitcoin_test"])
def test_kept_wycheproof_vectors_hold_in_both_implementations(name: str) -> None:
    assert check_wycheproof(kept(f"wycheproof/{name}.json"), name) > 40


def test_external_wycheproof_vectors_hold_in_both_implementations() -> None:
    for path, vectors in external("wycheproof/ecdsa_secp256k1_*.json"):
        assert check_wycheproof(vectors, path) > 240


# ----------------------------------------------------------------------------------------------------- addresses


def check_accounts(accounts: Iterable[dict[str, str]]) -> None:
    for account in accounts:
        address = crypto.address_of(bytes.fromhex(account["privateKey"][2:]))
        assert crypto.checksum_address(address) == account["address"]
        for text in (account["address"], account["address"].lower(), "0x" + account["address"][2:].upper()):
            assert crypto.parse_address(text) == address


def test_kept_accounts_of_a_wallet_have_their_addresses() -> None:
    check_accounts(kept("ethers/accounts.json"))


def test_external_accounts_of_a_wallet_have_their_addresses() -> None:
    for _, accounts in external("ethers/accounts.json.gz"):
        check_accounts(account for account in accounts if "privateKey" in account)


def test_ethereums_keys_have_their_addresses() -> None:
    # Their `sig_of_emptystring` is of a hash that is given nowhere, so it is left alone.
    for vector in kept("ethereum-tests/keyaddrtest.json"):
        assert crypto.address_of(bytes.fromhex(vector["key"])).hex() == vector["addr"]


@pytest.mark.parametrize(
    "text",
    ["", "0x", "0x00", "7E5F4552091A69125d5DfCb7b8C2659029395Bdf", "0X7e5f4552091a69125d5dfcb7b8c2659029395bdf",
     "0x7e5f4552091a69125d5dfcb7b8c2659029395bd", "0x7e5f4552091a69125d5dfcb7b8c2659029395bdfa",
     "0x7g5f4552091a69125d5dfcb7b8c2659029395bdf", "0x7e 5f4552091a69125d5dfcb7b8c2659029395b",
     "0x7e5f4552091a69125d5dfcb7b8c26590 9395bdf"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(crypto.InvalidAddress, match="is no address"):
        crypto.parse_address(text)


def test_a_mistyped_address_is_refused_by_its_checksum() -> None:
    with pytest.raises(crypto.InvalidAddress, match="wrong checksum"):
        crypto.parse_address("0x7E5F4552091A69125d5DfCb7b8C2659029395BdF")
