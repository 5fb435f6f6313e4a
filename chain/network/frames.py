"""Home of the stream between two nodes: frames with their lengths, in pieces of which each is a WebSocket message.

Small frames that wait together travel as one piece, and a large frame as several: so the WebSocket's own bound is
small, and a frame is refused by its kind's bound before most of it has come. There are two lanes, which a piece's first
byte names: what consensus says goes before all else, and never waits for the rest of a long frame. Within a lane order
is kept. A piece of no bytes says only that its sender is there.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

from chain.network.messages import InvalidFrame, frame_bytes_max

PIECE_BYTES_MAX: Final = 64 << 10
URGENT_KINDS: Final = range(30, 40)  # consensus
_LENGTH: Final = Struct(">I")
_START: Final = _LENGTH.size + 1  # the length and the kind, by which the length is judged


class FrameReader:
    """Puts frames together from pieces. It holds at most the frame under way in each lane."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes = (_Reading(), _Reading())

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that this piece completes. Raises InvalidFrame at what no honest node sends."""
        if not piece:
            return []
        if piece[0] > 1:
            raise InvalidFrame(f"there is no lane {piece[0]}")
        return self._lanes[piece[0]].feed(piece)


class _Reading:
    __slots__ = ("_held", "_wanted")

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = 0  # so many bytes more, and the frame under way, or its start, is there

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that a piece, after its first byte, completes."""
        if not self._held:
            return self._split(piece, 1)
        self._held += memoryview(piece)[1:]
        if len(piece) - 1 < self._wanted:
            self._wanted -= len(piece) - 1
            return []
        data = bytes(self._held)
        self._held = bytearray()
        return self._split(data, 0)

    def _split(self, data: bytes, start: int) -> list[bytes]:
        frames = []
        end = len(data)
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
            self._held += memoryview(data)[start:]
            self._wanted = wanted - (end - start)
        return frames


class FrameWriter:
    """Frames that wait to be sent, as the pieces to send them in."""

    __slots__ = ("_bulk", "_urgent", "bytes_waiting")

    def __init__(self) -> None:
        self._urgent = _Writing(b"\0")
        self._bulk = _Writing(b"\1")
        self.bytes_waiting = 0

    def add(self, frame: bytes) -> None:
        (self._urgent if frame[0] in URGENT_KINDS else self._bulk).frames.append(frame)
        self.bytes_waiting += 4 + len(frame)

    def clear(self) -> None:
        self._urgent.frames.clear()
        self._bulk.frames.clear()
        self.bytes_waiting = 0

    def next_piece(self) -> bytes:
        """As much of one lane as fits a piece; empty if nothing waits."""
        if not self.bytes_waiting:
            return b""
        piece = (self._urgent if self._urgent.frames else self._bulk).next_piece()
        self.bytes_waiting -= len(piece) - 1
        return piece


class _Writing:
    __slots__ = ("_name", "_offset", "frames")

    def __init__(self, name: bytes) -> None:
        self.frames: deque[bytes] = deque()
        self._name = name
        self._offset = 0  # so much of the first one is sent: of length and frame together

    def next_piece(self) -> bytes:
        parts = [self._name]
        room = PIECE_BYTES_MAX - 1
        frames = self.frames
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
        return b"".join(parts)
