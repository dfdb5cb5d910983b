"""What an inbox row holds: a Message, and what is to be known of its delivery.

A row is the Message in single-object encoding, nearly always.  Where there is more to know,
that stands before it, in big-endian numbers:

=======  ===================================================================================
1 byte   1; or 2 for a message that is shared (a Message begins with C3)
1        flags: 1 receipt wanted, 2 transient, 4 leased
1        priority, 0 to 9
2        tries: how often it was leased or came back
8        when it expires, 0 for never (all times in milliseconds since the epoch)
8        until when it is not to be had: the end of its lease or of its delay; 0 for now
1, n     who has leased it: length in bytes, UTF-8
=======  ===================================================================================

A large message that goes to several queues of a partition is not copied for each: it is one
row for all of them, and after what is above their rows have 8 bytes that name it, 8 of time
(the message's `at`) and 4 of its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from streams.events.limits import DEFAULT_MESSAGE_PRIORITY, MAX_MESSAGE_PRIORITY
from streams.fold import Rows

SHARED_FROM: Final = 4096
"""A message of so many bytes or more is shared by the queues of one entry."""
MESSAGES: Final = b"r"
"""Bucket of the messages that are shared; see `inbox`."""

_PLAIN: Final = 0xC3
_SHARED: Final = 2
_head = Struct(">BBBHQQB")
_reference = Struct(">8sQI")
_MAX_TRIES: Final = 0xFFFF


@dataclass(slots=True)
class Delivery:
    """One message in one inbox."""

    message: bytes
    """The Message in single-object encoding; empty for one that is shared and not `whole`."""
    receipt: bool = False
    transient: bool = False
    leased: bool = False
    priority: int = DEFAULT_MESSAGE_PRIORITY
    tries: int = 0
    expires_at: int = 0
    until: int = 0
    consumer: bytes = b""
    shared: bytes = b""
    """8 bytes that name the row of a message that is shared."""
    at: int = 0
    """Of one that is shared: its log time."""
    shared_size: int = 0

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return self.shared_size or len(self.message)

    def pack(self) -> bytes:
        """Return the row."""
        flags = self.receipt | self.transient << 1 | self.leased << 2
        usual = self.priority == DEFAULT_MESSAGE_PRIORITY and not self.shared
        if usual and not (flags or self.tries or self.expires_at or self.until):
            return self.message
        return (
            _head.pack(
                _SHARED if self.shared else 1,
                flags,
                self.priority,
                min(self.tries, _MAX_TRIES),
                self.expires_at,
                self.until,
                len(self.consumer),
            )
            + self.consumer
            + (
                _reference.pack(self.shared, self.at, self.shared_size)
                if self.shared
                else self.message
            )
        )

    def expired(self, now: int) -> bool:
        """Tell whether it is of no use any more."""
        return 0 < self.expires_at <= now


def is_plain(row: bytes) -> bool:
    """Tell whether a row is a Message and nothing else."""
    return row[0] == _PLAIN


def unpack(row: bytes) -> Delivery:
    """Return what a row holds."""
    if row[0] == _PLAIN:
        return Delivery(row)
    kind, flags, priority, tries, expires_at, until, size = _head.unpack_from(row)
    end = _head.size + size
    shared, at, shared_size = _reference.unpack_from(row, end) if kind == _SHARED else (b"", 0, 0)
    return Delivery(
        b"" if kind == _SHARED else row[end:],
        bool(flags & 1),
        bool(flags & 2),
        bool(flags & 4),
        priority,
        tries,
        expires_at,
        until,
        row[_head.size : end],
        shared,
        at,
        shared_size,
    )


def whole(rows: Rows, delivery: Delivery) -> Delivery:
    """Return a delivery with its message, which may be another row of the same partition."""
    if delivery.shared and not delivery.message:
        delivery.message = rows.get(MESSAGES, delivery.shared) or b""
    return delivery


def arriving(message: bytes, values: dict[str, Any]) -> Delivery:
    """Return the delivery of a Message, given its bytes and its fields."""
    return Delivery(
        message,
        receipt=values["receipt"],
        transient=not values["persistent"],
        priority=min(max(values["priority"], 0), MAX_MESSAGE_PRIORITY),
        expires_at=max(values["expires_at"] or 0, 0),
        at=max(values["at"], 0),
    )
