"""Home of the stream between two nodes: frames with their lengths, in pieces of which each is a WebSocket message.

Small frames that wait together travel as one piece, and a large frame as several: so the WebSocket's own bound is
small, and a frame is refused by its kind's bound before most of it has come.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

from chain.network.messages import InvalidFrame, frame_bytes_max

PIECE_BYTES_MAX: Final = 64 << 10
_LENGTH: Final = Struct(">I")
_START: Final = _LENGTH.size + 1  # the length and the kind, by which the length is judged


class FrameReader:
    """Puts frames together from pieces. It holds at most the frame under way."""

    __slots__ = ("_held", "_wanted")

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = 0  # so many bytes more, and the frame under way, or its start, is there

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that this piece completes. Raises InvalidFrame at a kind or length that no honest node sends."""
        if not self._held:
            return self._split(piece)
        self._held += piece
        if len(piece) < self._wanted:
            self._wanted -= len(piece)
            return []
        data = bytes(self._held)
        self._held = bytearray()
        return self._split(data)

    def _split(self, data: bytes) -> list[bytes]:
        frames = []
        start, end = 0, len(data)
        wanted = _START
        while end - start >= _START:
            (length,) = _LENGTH.unpack_from(data, start)
            if not 0 < length <= frame_bytes_max(data[start + 4]):
                raise InvalidFrame(f"a frame of kind {data[start + 4]} has {length} bytes")
            stop = start + 4 + length
            if stop > end:
                wanted = 4 + length
                break
            frames.append(data[start + 4 : stop])
            start = stop
        if start < end:
            self._held += data[start:]
            self._wanted = wanted - (end - start)
        return frames


class FrameWriter:
    """Frames that wait to be sent, as the pieces to send them in."""

    __slots__ = ("_frames", "_offset", "bytes_waiting")

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._offset = 0  # so much of the first one is sent: of length and frame together
        self.bytes_waiting = 0

    def add(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.bytes_waiting += 4 + len(frame)

    def clear(self) -> None:
        self._frames.clear()
        self._offset = self.bytes_waiting = 0

    def next_piece(self) -> bytes:
        """As much as fits a piece; empty if nothing waits."""
        parts: list[bytes] = []
        room = PIECE_BYTES_MAX
        frames = self._frames
        while frames and room > 4:
            frame = frames[0]
            if not self._offset:
                parts.append(_LENGTH.pack(len(frame)))
                room -= 4
                self._offset = 4
            start = self._offset - 4
            part = frame if not start and len(frame) <= room else frame[start : start + room]
            parts.append(part)
            room -= len(part)
            if start + len(part) == len(frame):
                frames.popleft()
                self._offset = 0
            else:
                self._offset += len(part)
        piece = b"".join(parts)
        self.bytes_waiting -= len(piece)
        return piece
