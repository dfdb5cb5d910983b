"""What folds refuse in the fields of an event.

Generated from schemas/*.avsc by `python -m streams.events.generate`; do not edit.
A check takes the fields as `codec.read` returns them and raises BadRecord.  The
checks are straight-line code because every record passes one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from streams.fold import BadRecord
from streams.ids import is_destination, is_group, is_id, is_pattern


def check_ack(values: dict[str, Any]) -> None:
    """Check the fields of an Ack."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")


def check_bind(values: dict[str, Any]) -> None:
    """Check the fields of a Bind."""
    value = values["group"]
    if not is_group(value):
        raise BadRecord("group is not a valid group id")
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["session"]
    if value is not None and not is_id(value):
        raise BadRecord("session is not a valid id")


def check_bind_pattern(values: dict[str, Any]) -> None:
    """Check the fields of a BindPattern."""
    value = values["group"]
    if not is_group(value):
        raise BadRecord("group is not a valid group id")
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["pattern"]
    if not is_pattern(value):
        raise BadRecord("pattern is not a valid pattern")


def check_close(values: dict[str, Any]) -> None:
    """Check the fields of a Close."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["session"]
    if not is_id(value):
        raise BadRecord("session is not a valid id")


def check_configure(values: dict[str, Any]) -> None:
    """Check the fields of a Configure."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["max_length"]
    if value is not None and value < 1:
        raise BadRecord("max_length must be at least 1")
    value = values["max_bytes"]
    if value is not None and value < 1:
        raise BadRecord("max_bytes must be at least 1")
    value = values["overflow"]
    if value not in ("drop_oldest", "drop_newest", "reject"):
        raise BadRecord("overflow must be one of drop_oldest, drop_newest, reject")
    value = values["max_tries"]
    if value is not None and not 1 <= value <= 1_000:
        raise BadRecord("max_tries must be from 1 to 1000")
    value = values["dead_letter"]
    if value is not None and not is_id(value):
        raise BadRecord("dead_letter is not a valid id")
    if value is not None and value == values["queue"]:
        raise BadRecord("dead_letter must differ from queue")
    value = values["visibility_ms"]
    if value is not None and not 1 <= value <= 43_200_000:
        raise BadRecord("visibility_ms must be from 1 to 43200000")
    value = values["ttl_ms"]
    if value is not None and not 1 <= value <= 315_360_000_000:
        raise BadRecord("ttl_ms must be from 1 to 315360000000")
    value = values["message_ttl_ms"]
    if value is not None and not 1 <= value <= 315_360_000_000:
        raise BadRecord("message_ttl_ms must be from 1 to 315360000000")
    value = values["declared"]
    if value is not None and len(value) > 4_096:
        raise BadRecord(f"declared has {len(value)} characters; the limit is 4096")
    value = values["dead_letter_group"]
    if value is not None and not is_destination(value):
        raise BadRecord("dead_letter_group is neither a valid group id nor @ and a queue id")


def check_delete(values: dict[str, Any]) -> None:
    """Check the fields of a Delete."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")


def check_lease(values: dict[str, Any]) -> None:
    """Check the fields of a Lease."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["consumer"]
    if value and not is_id(value):
        raise BadRecord("consumer is not a valid id")
    value = values["limit"]
    if not 1 <= value <= 1_000:
        raise BadRecord("limit must be from 1 to 1000")
    value = values["visibility_ms"]
    if value is not None and not 1 <= value <= 43_200_000:
        raise BadRecord("visibility_ms must be from 1 to 43200000")


def check_message(values: dict[str, Any]) -> None:
    """Check the fields of a Message."""
    value = values["id"]
    if not is_id(value):
        raise BadRecord("id is not a valid id")
    value = values["group"]
    if not is_destination(value):
        raise BadRecord("group is neither a valid group id nor @ and a queue id")
    value = values["body"]
    if len(value) > 524_288:
        raise BadRecord(f"body has {len(value)} bytes; the limit is 524288")
    value = values["priority"]
    if not 0 <= value <= 9:
        raise BadRecord("priority must be from 0 to 9")


def check_nack(values: dict[str, Any]) -> None:
    """Check the fields of a Nack."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["seqs"]
    if len(value) > 1_000:
        raise BadRecord(f"seqs has {len(value)} items; the limit is 1000")
    value = values["outcome"]
    if value not in ("retry", "reject", "extend"):
        raise BadRecord("outcome must be one of retry, reject, extend")
    value = values["delay_ms"]
    if not 0 <= value <= 2_592_000_000:
        raise BadRecord("delay_ms must be from 0 to 2592000000")
    value = values["consumer"]
    if value and not is_id(value):
        raise BadRecord("consumer is not a valid id")


def check_open(values: dict[str, Any]) -> None:
    """Check the fields of an Open."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["session"]
    if not is_id(value):
        raise BadRecord("session is not a valid id")
    for item in values["groups"]:
        if not is_group(item):
            raise BadRecord("groups has an item that is not a valid group id")
    value = values["ttl_ms"]
    if value is not None and not 1 <= value <= 315_360_000_000:
        raise BadRecord("ttl_ms must be from 1 to 315360000000")


def check_purge(values: dict[str, Any]) -> None:
    """Check the fields of a Purge."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")


def check_touch(values: dict[str, Any]) -> None:
    """Check the fields of a Touch."""
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["session"]
    if value and not is_id(value):
        raise BadRecord("session is not a valid id")


def check_unbind(values: dict[str, Any]) -> None:
    """Check the fields of an Unbind."""
    value = values["group"]
    if not is_group(value):
        raise BadRecord("group is not a valid group id")
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["session"]
    if value is not None and not is_id(value):
        raise BadRecord("session is not a valid id")


def check_unbind_pattern(values: dict[str, Any]) -> None:
    """Check the fields of an UnbindPattern."""
    value = values["group"]
    if not is_group(value):
        raise BadRecord("group is not a valid group id")
    value = values["queue"]
    if not is_id(value):
        raise BadRecord("queue is not a valid id")
    value = values["pattern"]
    if not is_pattern(value):
        raise BadRecord("pattern is not a valid pattern")


GROUP_EVENT_CHECKS: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "Bind": check_bind,
    "BindPattern": check_bind_pattern,
    "Message": check_message,
    "Unbind": check_unbind,
    "UnbindPattern": check_unbind_pattern,
}
QUEUE_EVENT_CHECKS: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "Ack": check_ack,
    "Close": check_close,
    "Configure": check_configure,
    "Delete": check_delete,
    "Lease": check_lease,
    "Nack": check_nack,
    "Open": check_open,
    "Purge": check_purge,
    "Touch": check_touch,
}
