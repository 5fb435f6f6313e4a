"""Home of what simulated nodes tell each other: the real messages, and blobs whole, which real nodes carry in chunks."""

from __future__ import annotations

from dataclasses import dataclass

from chain.network.messages import Message, decode, encode
from tests.sim.checkers import Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class WantBlobs:
    """Asks for blobs by their roots."""

    roots: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBlobs:
    """Blobs that were asked for, with their roots."""

    blobs: tuple[tuple[bytes, bytes], ...]


SimMessage = Message | WantBlobs | GiveBlobs


def checked_frame(message: SimMessage) -> None:
    """Raises Violation where the other side of a wire would read something else."""
    if isinstance(message, (WantBlobs, GiveBlobs)):
        return
    if decode(encode(message)) != message:
        raise Violation(f"not what its frame says: {message}")
