"""Home of the signatures of votes and proposals: made with a vote key, and recovered once a node."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from chain.crypto import SIGNATURE_BYTES, decode_signature, encode_signature, keccak256, recover_many, sign
from consensus.types import Commit

REMEMBERED_MAX = 8192  # votes of several heights of the largest usual set; 2 MiB


def sign_vote(message: bytes, key: bytes) -> bytes:
    """The signature of a vote's or a proposal's `sign_bytes`: of its keccak-256, 65 bytes."""
    return encode_signature(sign(keccak256(message), key))


def signer(key: bytes) -> Callable[[bytes], bytes]:
    """What signs messages with a key."""
    return lambda message: sign_vote(message, key)


def signers_of(signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
    """The address that has signed each (message, signature), None where the signature is none. One batch."""
    return _recovered([(keccak256(message), signature) for message, signature in signed])


class VoteSignatures:
    """Recovers signers and remembers them, so that a vote seen on the network is not checked again in a commit.

    May be used by several threads.
    """

    def __init__(self, genesis_hash: bytes) -> None:
        self._genesis_hash = genesis_hash
        self._known: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def signer(self, digest: bytes, signature: bytes) -> bytes | None:
        """The address whose key signed a 32-byte digest, None for bytes that are no signature."""
        return self.signers([(digest, signature)])[0]

    def signers_of(self, commit: Commit) -> list[bytes | None]:
        """The address behind each of a commit's signatures, in their order."""
        votes = commit.votes()
        if not votes:
            return []
        # What is signed names no voter: all sign the same bytes.
        digest = keccak256(votes[0].sign_bytes(self._genesis_hash))
        return self.signers([(digest, vote.signature) for vote in votes])

    def signers(self, signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
        """The signer of each (digest, signature): unknown ones are recovered together, without Python's lock."""
        with self._lock:
            found = {each: self._known.get(each) for each in signed}
        unknown = [each for each, signer in found.items() if signer is None]
        if unknown:
            found |= zip(unknown, _recovered(unknown), strict=True)
        with self._lock:
            for each, known in found.items():
                if known is not None:
                    self._known[each] = known
                    self._known.move_to_end(each)
            while len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        return [found[each] for each in signed]


def _recovered(signed: Sequence[tuple[bytes, bytes]]) -> list[bytes | None]:
    """The signers of digests, None for signatures of another length too."""
    whole = [(digest, signature) for digest, signature in signed if len(signature) == SIGNATURE_BYTES]
    rows = []
    for digest, signature in whole:
        r, s, parity = decode_signature(signature)
        rows.append((digest, parity, r, s))
    signers = dict(zip(whole, recover_many(rows), strict=True)) if rows else {}
    return [signers.get(each) for each in signed]
