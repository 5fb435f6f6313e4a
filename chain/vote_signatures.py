"""Home of the signatures of votes: 65 bytes, their signers recovered once a node, whoever asks first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from chain.crypto import keccak256, recover_many, sign
from consensus.types import Commit

SIGNATURE_BYTES = 65
REMEMBERED_MAX = 8192  # votes of several heights of the largest usual set; 2 MiB


def sign_vote(message: bytes, key: bytes) -> bytes:
    """The signature of a vote's or a proposal's `sign_bytes`: r, s (32 bytes each), parity."""
    r, s, parity = sign(keccak256(message), key)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])


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
        return self.signers(digest, (signature,))[0]

    def signers_of(self, commit: Commit) -> list[bytes | None]:
        """The address behind each of a commit's signatures, in their order."""
        votes = commit.votes()
        if not votes:
            return []
        # What is signed names no voter: all sign the same bytes.
        return self.signers(keccak256(votes[0].sign_bytes(self._genesis_hash)), [vote.signature for vote in votes])

    def signers(self, digest: bytes, signatures: Sequence[bytes]) -> list[bytes | None]:
        """The signer of each signature of one digest: unknown ones are recovered together, without Python's lock."""
        with self._lock:
            found = {signature: self._known.get((digest, signature)) for signature in signatures}
        unknown = [each for each, signer in found.items() if signer is None and len(each) == SIGNATURE_BYTES]
        if unknown:
            found |= zip(unknown, recover_many([_parts(digest, each) for each in unknown]), strict=True)
        with self._lock:
            for signature, known in found.items():
                if known is not None:
                    self._known[digest, signature] = known
                    self._known.move_to_end((digest, signature))
            while len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        return [found[signature] for signature in signatures]


def _parts(digest: bytes, signature: bytes) -> tuple[bytes, int, int, int]:
    return digest, signature[64], int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
