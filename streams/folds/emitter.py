"""The records that the deliver fold sends to route: Binds, Unbinds and Messages.

Each carries its origin (partition and offset of the record, number of the event, number of the
log), by which route recognizes a replay.  The origin also makes the ids of these Messages unique.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from streams.events.codec import encode_change, encode_message, read
from streams.fold import Output, Record
from streams.folds import deaths
from streams.folds.patterns import ROUTING_KEY
from streams.ids import DIRECT, is_destination, is_id
from streams.kafka.partitioner import partition_of

PRESENCE_PREFIX: Final = "presence:"
DEAD_LETTER_REASON: Final = "dead-letter-reason"
DEAD_LETTER_COUNT: Final = "dead-letter-count"


class Emitter:
    """Makes the outputs of one record after another."""

    def __init__(
        self, ready: list[Output], partition: int, partitions: int, group_topic: str, log: int
    ) -> None:
        self.now = 0
        """Time of the record that is being folded, in milliseconds."""
        self.offset = 0
        """Offset of that record."""
        self._part = 0
        self._ready = ready
        self._partition = partition
        self._partitions = partitions
        self._topic = group_topic
        self._log = log

    def begin(self, record: Record) -> None:
        """Start with the next record."""
        self.now = max(record.timestamp, 0)
        self.offset = record.offset
        self._part = 0

    def change(
        self, name: str, group: str, queue: str, session: str | None, replaces: str | None = None
    ) -> None:
        """Send a Bind or an Unbind."""
        origin = (self._partition, self.offset, self._part, self._log)
        value = encode_change(name, group, queue, session, self.now, origin, replaces)
        self._append(group, value, name)

    def presence(self, queue: str, state: str, session: str) -> None:
        """Announce to the queue's presence group that it is online or offline."""
        group = PRESENCE_PREFIX + queue
        if is_id(group):
            body = {"queue": queue, "state": state, "session": session}
            self._tell(group, "presence", queue, body)

    def receipt(self, queue: str, message: bytes) -> None:
        """Tell the sender of a message that the queue has acked it."""
        values = read(message)[1]
        self._reply(queue, values, "receipt", {"at": self.now})

    def rejection(self, queue: str, message: bytes) -> None:
        """Tell the sender of a message that the queue was full."""
        values = read(message)[1]
        self._reply(queue, values, "rejected", {"reason": "overflow"})

    def dead_letter(self, queue: str, message: bytes, reason: str, tries: int, target: str) -> None:
        """Send a message to the dead letter queue `target`.

        A message that was a dead letter before keeps the headers of its first death; those of
        the latest one have names of their own.  If it expires or overflows, it goes no further:
        two full queues would send it to each other for ever.
        """
        values = read(message)[1]
        headers = values["headers"]
        if DEAD_LETTER_REASON in headers and reason in ("overflow", "expired"):
            return
        self._send_dead(values, queue, reason, tries, DIRECT + target)

    def dead_letter_to_group(
        self, queue: str, message: bytes, reason: str, tries: int, group: str, *, keyed: bool
    ) -> None:
        """Send a message to the dead letter group of a queue.

        With `keyed`, its routing key is appended to the group; otherwise it is in a header.
        A message whose key makes no valid group goes nowhere, and so does one that goes round by
        itself: see `deaths`.
        """
        values = read(message)[1]
        headers = values["headers"]
        before = deaths.deaths(headers)
        target = group + deaths.routing_key(values) if keyed else group
        if not is_destination(target) or deaths.goes_round(before, queue, reason):
            return
        latest = deaths.Death(queue, reason, values["group"], 1, self.now)
        found = deaths.after_death(before, latest)
        values["headers"] = {**headers, deaths.DEATHS: deaths.packed(found)}
        if not keyed:  # the bindings of the group may have patterns
            values["headers"].setdefault(ROUTING_KEY, deaths.routing_key(values))
        self._send_dead(values, queue, reason, tries, target)

    def _send_dead(
        self, values: dict[str, Any], queue: str, reason: str, tries: int, group: str
    ) -> None:
        headers = values["headers"]
        values["headers"] = {
            **headers,
            **_death(headers, reason, queue, values["group"], tries),
            DEAD_LETTER_COUNT: str(_deaths(headers) + 1),
        }
        values.update(persistent=True, expires_at=None, receipt=False, echo=True)
        values["group"] = group
        self._send(values)

    def _reply(self, queue: str, values: dict[str, Any], kind: str, more: dict[str, Any]) -> None:
        sender = values["sender"]
        if is_id(sender) and sender != queue:
            body = {"id": values["id"], "group": values["group"], "queue": queue, **more}
            self._tell(DIRECT + sender, kind, queue, body)

    def _tell(self, group: str, kind: str, sender: str, body: dict[str, Any]) -> None:
        self._send(
            {
                "id": f"{kind}-{self._partition}-{self.offset}-{self._part}",
                "group": group,
                "sender": sender,
                "kind": kind,
                "body": orjson.dumps(body),
            }
        )

    def _send(self, values: dict[str, Any]) -> None:
        values["at"] = self.now
        values["origin"] = {
            "partition": self._partition,
            "offset": self.offset,
            "part": self._part,
            "log": self._log,
        }
        self._append(values["group"], encode_message(values), "Message")

    def _append(self, group: str, value: bytes, name: str) -> None:
        self._part += 1
        key = group.encode()
        target = partition_of(key, self._partitions)
        self._ready.append(Output(self._topic, target, key, value, name))


def _death(
    headers: dict[str, str], reason: str, queue: str, group: str, tries: int
) -> dict[str, str]:
    """Return the headers that tell of a death: the first one, or the latest of several."""
    kind = "dead-letter-last" if DEAD_LETTER_REASON in headers else "dead-letter"
    return {
        f"{kind}-reason": reason,
        f"{kind}-queue": queue,
        f"{kind}-group": group,
        f"{kind}-tries": str(tries),
    }


def _deaths(headers: dict[str, str]) -> int:
    """Return how often a message has died; one without a count died under an older version."""
    text = headers.get(DEAD_LETTER_COUNT, "1" if DEAD_LETTER_REASON in headers else "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 1
