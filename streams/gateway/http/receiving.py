"""What clients are sending: limits on what is received but not yet processed.

A client may stop anywhere: in a head, in a body, in a frame.  Until it has shown a token, little is
kept for it, and few such connections are kept.  Afterwards, whatever is half received shares one
budget with the publishes in progress (`admission`).  Knows bytes and WebSocket framing (RFC 6455,
section 5), nothing of requests and tokens.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from typing import Final, Protocol

MAX_HEAD_BYTES: Final = 16 * 1024
"""Longest head of a request: the request line and all headers."""
MAX_UNAUTHENTICATED_BYTES: Final = 16 * 1024
"""Most bytes of frames that are kept for a stream without a token."""
MESSAGES_AHEAD: Final = 64
"""Messages of a stream that are parsed before the first of them is processed.

A parsed message of a few bytes takes some hundreds; what comes after it is kept as it came."""
MAX_UNAUTHENTICATED: Final = 1000
"""Most connections that have shown no token, TLS handshakes included."""
GRACE_SECONDS: Final = 2.0
"""How long a connection without a token is kept although others want its place."""
_PIECE_BYTES: Final = 64
"""What a piece of a frame costs in addition to its bytes."""
_MESSAGE_BYTES: Final = 256
"""What a message that waits costs in addition to its bytes: objects, places in queues."""


class Budget(Protocol):
    """The part of `Admission` that connections use."""

    def take(self, count: int, holder: str | None = None) -> None:
        """Take bytes; raises HTTPError if there are not enough."""
        ...

    def give_back(self, count: int, holder: str | None = None) -> None:
        """Give bytes back."""
        ...


class Abortable(Protocol):
    """The part of a transport that `Unauthenticated` uses."""

    def abort(self) -> None:
        """Close the connection at once."""
        ...


class Unauthenticated:
    """The connections that have shown no token yet, oldest first.

    When there are too many, the oldest one makes room, if it had time to show a token.
    """

    def __init__(self, limit: int = MAX_UNAUTHENTICATED) -> None:
        self._limit = limit
        self._since: OrderedDict[Abortable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def admit(self, transport: Abortable, now: float) -> bool:
        """Add a connection; return whether there was room for it."""
        if len(self._since) >= self._limit:
            oldest, since = next(iter(self._since.items()))
            if now - since < GRACE_SECONDS:
                return False
            del self._since[oldest]
            oldest.abort()
        self._since[transport] = now
        return True

    def remove(self, transport: Abortable) -> None:
        """Remove a connection that has shown a token, or is gone."""
        self._since.pop(transport, None)


class FrameSizes:
    """Counts the bytes of one WebSocket that belong to unprocessed messages.

    Only follows the lengths of frames; whoever reads the frames checks that they are
    well-formed.
    """

    __slots__ = ("_control", "_first", "_frame", "_header", "_left", "_message", "complete", "held")

    def __init__(self) -> None:
        self.held = 0
        """Bytes of messages that are incomplete, or complete but not processed."""
        self.complete: deque[int] = deque()
        """Sizes of the messages that are complete but not processed, pings and pongs too."""
        self._message = 0  # bytes of the frames before this one in an incomplete message
        self._frame = 0  # bytes of the incomplete frame
        self._first = 0  # its first byte
        self._left = 0  # bytes of its payload still to come
        self._header = b""  # of a frame whose header is incomplete
        self._control: int | None = 0  # bytes of control frames, while they are held

    def feed(self, data: bytes, ahead: int = sys.maxsize) -> int:
        """Count what has arrived, until `ahead` messages are complete but not processed.

        Returns:
            how many bytes of `data` are counted.
        """
        if len(self.complete) >= ahead:
            return 0
        if self._frame:
            self._frame += _PIECE_BYTES
            self.held += _PIECE_BYTES
        carried = len(self._header)
        if carried:
            self._frame -= carried
            data, self._header = self._header + data, b""
        position, end = 0, len(data)
        while position < end and len(self.complete) < ahead:
            if self._left:
                taken = min(self._left, end - position)
                self._left -= taken
                self._frame += taken
                position += taken
            else:
                size = _header_size(data, position, end)
                if end - position < size:
                    self._header = data[position:]
                    self._frame += end - position
                    position = end
                    break
                self._first = data[position]
                self._left = _payload_size(data, position)
                self._frame += size
                position += size
            if not self._left:
                self._end_frame()
        self.held += position - carried
        return position - carried

    @property
    def left(self) -> int:
        """Bytes of the incomplete frame that are still to come."""
        return self._left

    def processed(self) -> None:
        """Note that the first complete message has been processed."""
        if self.complete:
            self.held -= self.complete.popleft()

    def release_control(self) -> None:
        """Hold pings and pongs only until they are processed.

        Before this call, all of them are held, so that their number is bounded.
        """
        self.held -= self._control or 0
        self._control = None

    def _end_frame(self) -> None:
        size, self._frame = self._frame, 0
        if self._first & 0x08:
            self.held += _MESSAGE_BYTES
            size += _MESSAGE_BYTES
            if self._control is None:
                self.complete.append(size)
            else:
                self._control += size
                self.complete.append(0)
        elif self._first & 0x80:
            self.held += _MESSAGE_BYTES
            self.complete.append(self._message + size + _MESSAGE_BYTES)
            self._message = 0
        else:
            self._message += size


def _header_size(data: bytes, position: int, end: int) -> int:
    if end - position < 2:
        return 2
    second = data[position + 1]
    length = second & 0x7F
    return 2 + (0 if length < 126 else 2 if length == 126 else 8) + (4 if second & 0x80 else 0)


def _payload_size(data: bytes, position: int) -> int:
    length = data[position + 1] & 0x7F
    if length < 126:
        return length
    end = position + (4 if length == 126 else 10)
    return int.from_bytes(data[position + 2 : end], "big")
