"""The value of an inbox row: a Message and the state of its delivery.

Nearly always the row is the Message alone, in single-object encoding.  Otherwise a header
precedes it, in big-endian numbers:

=======  ===================================================================================
1 byte   1, or 2 for a shared message (a Message begins with C3)
1        flags: 1 receipt wanted, 2 transient, 4 leased
1        priority, 0 to 9
2        tries: how often it was leased or came back
8        when it expires (milliseconds since the epoch), 0 for never
8        end of its lease or delay, 0 when it is available
1, n     consumer that leased it: length in bytes, UTF-8
=======  ===================================================================================

A large message for several queues of a partition is not copied for each: one row holds the
message, and each inbox row has, after the header, the 8-byte name of that row, 8 bytes of the
message's `at` and 4 bytes of its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from streams.events.limits import DEFAULT_MESSAGE_PRIORITY, MAX_MESSAGE_PRIORITY
from streams.fold import Rows
from streams.folds.row_keys import SHARED_MESSAGES

SHARED_FROM: Final = 4096
"""Messages of at least this many bytes are shared by the queues of one entry."""

_PLAIN: Final = 0xC3
_SHARED: Final = 2
_head = Struct(">BBBHQQB")
_reference = Struct(">8sQI")
_MAX_TRIES: Final = 0xFFFF


@dataclass(slots=True)
class StoredDelivery:
    """One message in one inbox."""

    message: bytes
    """The Message in single-object encoding; empty for a shared one until `whole` reads it."""
    receipt: bool = False
    transient: bool = False
    leased: bool = False
    priority: int = DEFAULT_MESSAGE_PRIORITY
    tries: int = 0
    expires_at: int = 0
    until: int = 0
    consumer: bytes = b""
    shared: bytes = b""
    """8 bytes: the name of the row that holds a shared message; empty otherwise."""
    at: int = 0
    """Log time of a shared message."""
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
        """Tell whether it has expired."""
        return 0 < self.expires_at <= now


def is_plain(row: bytes) -> bool:
    """Tell whether a row is a Message without a header."""
    return row[0] == _PLAIN


def unpack(row: bytes) -> StoredDelivery:
    """Return the delivery that a row holds."""
    if row[0] == _PLAIN:
        return StoredDelivery(row)
    kind, flags, priority, tries, expires_at, until, size = _head.unpack_from(row)
    end = _head.size + size
    shared, at, shared_size = _reference.unpack_from(row, end) if kind == _SHARED else (b"", 0, 0)
    return StoredDelivery(
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


def whole(rows: Rows, delivery: StoredDelivery) -> StoredDelivery:
    """Read the message of a delivery from its shared row, if it has one; return the delivery."""
    if delivery.shared and not delivery.message:
        delivery.message = rows.get(SHARED_MESSAGES, delivery.shared) or b""
    return delivery


def arriving(message: bytes, values: dict[str, Any]) -> StoredDelivery:
    """Return the delivery of a new Message, given its bytes and fields."""
    return StoredDelivery(
        message,
        receipt=values["receipt"],
        transient=not values["persistent"],
        priority=min(max(values["priority"], 0), MAX_MESSAGE_PRIORITY),
        expires_at=max(values["expires_at"] or 0, 0),
        at=max(values["at"], 0),
    )
