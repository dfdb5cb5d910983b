"""What an inbox row holds: a Message, and what is to be known of its delivery.

A row is the Message in single-object encoding, nearly always.  Where there is more to know,
that stands before it, in big-endian numbers:

=======  ===================================================================================
1 byte   1 (a Message begins with C3)
1        flags: 1 receipt wanted, 2 transient, 4 leased
1        priority, 0 to 9
2        tries: how often it was leased or came back
8        when it expires, 0 for never (all times in milliseconds since the epoch)
8        until when it is not to be had: the end of its lease or of its delay; 0 for now
1, n     who has leased it: length in bytes, UTF-8
=======  ===================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from streams.events.records import MAX_PRIORITY, NORMAL_PRIORITY

_PLAIN: Final = 0xC3
_head = Struct(">BBBHQQB")
_MAX_TRIES: Final = 0xFFFF


@dataclass(slots=True)
class Delivery:
    """One message in one inbox."""

    message: bytes
    """The Message in single-object encoding."""
    receipt: bool = False
    transient: bool = False
    leased: bool = False
    priority: int = NORMAL_PRIORITY
    tries: int = 0
    expires_at: int = 0
    until: int = 0
    consumer: bytes = b""

    def pack(self) -> bytes:
        """Return the row."""
        flags = self.receipt | self.transient << 1 | self.leased << 2
        if not (flags or self.tries or self.expires_at or self.until) and (
            self.priority == NORMAL_PRIORITY
        ):
            return self.message
        return (
            _head.pack(
                1,
                flags,
                self.priority,
                min(self.tries, _MAX_TRIES),
                self.expires_at,
                self.until,
                len(self.consumer),
            )
            + self.consumer
            + self.message
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
    _, flags, priority, tries, expires_at, until, size = _head.unpack_from(row)
    end = _head.size + size
    return Delivery(
        row[end:],
        bool(flags & 1),
        bool(flags & 2),
        bool(flags & 4),
        priority,
        tries,
        expires_at,
        until,
        row[_head.size : end],
    )


def arriving(message: bytes, values: dict[str, Any]) -> Delivery:
    """Return the delivery of a Message, given its bytes and its fields."""
    return Delivery(
        message,
        receipt=values["receipt"],
        transient=not values["persistent"],
        priority=min(max(values["priority"], 0), MAX_PRIORITY),
        expires_at=max(values["expires_at"] or 0, 0),
    )
