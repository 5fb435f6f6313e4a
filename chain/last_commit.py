"""Home of the rule about a block's last commit: it is for the parent, by more than two thirds of who voted on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from chain.codec import block_hash
from chain.errors import InvalidInput
from chain.operations.attendance import members_on_parent
from chain.operations.power import voters_of
from chain.parameters import Parameters
from chain.state import View
from chain.types import Header
from consensus.codec import decode_commit
from consensus.types import Commit, InvalidConsensus, ValidatorSet, Voter

SignersOf: TypeAlias = Callable[[Commit], Sequence[bytes | None]]
"""The address behind each of a commit's signatures, in their order; None for bytes that are no signature."""


class InvalidCommit(InvalidInput):
    """A commit that does not decide the block that it should."""


def read_last_commit(view: View, parent: Header, encoded: bytes, parameters: Parameters) -> Commit | None:
    """The commit of `parent` that the block after it carries, None after genesis, on which nobody votes.

    `view` is the state after `parent`. Raises InvalidCommit. Who made the signatures is not looked at yet.
    """
    if parent.height == 0:
        if encoded:
            raise InvalidCommit(f"it has {len(encoded)} bytes; that of height 1 is empty, as nobody votes on genesis")
        return None
    try:
        commit = decode_commit(encoded)
        if commit.height != parent.height:
            raise InvalidCommit(f"it is for height {commit.height}, the parent's is {parent.height}")
        if commit.block_id != block_hash(parent):
            raise InvalidCommit(f"it is for block {commit.block_id.hex()}, the parent is {block_hash(parent).hex()}")
        voters = voters_of(members_on_parent(view, parent.height + 1, parameters))
        validators = ValidatorSet(members=tuple((Voter(address), power) for address, power in voters))
        power = commit.power(validators)
    except InvalidConsensus as error:
        raise InvalidCommit(str(error)) from error
    if not validators.is_quorum(power):
        raise InvalidCommit(f"it has a power of {power} of {validators.total}; more than two thirds are needed")
    return commit


def check_signatures(commit: Commit, signers_of: SignersOf) -> None:
    """Raises InvalidCommit unless every signature is that of the voter beside it."""
    for (voter, _), signer in zip(commit.signatures, signers_of(commit), strict=True):
        if signer is None:
            raise InvalidCommit(f"what stands beside 0x{voter.hex()} is no signature")
        if signer != voter:
            raise InvalidCommit(f"the signature of 0x{voter.hex()} is that of 0x{signer.hex()}")
