"""A batch of acks, merged so that few records carry them.

Pure; knows nothing of connections and Kafka.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SEQS_PER_RECORD = 1000


@dataclass(slots=True)
class _QueueAcks:
    upto: int | None = None
    seqs: set[int] = field(default_factory=set)


class AckBatch:
    """Acks by queue; the highest `upto` replaces lower ones and single seqs below it."""

    def __init__(self) -> None:
        self._pending: dict[str, _QueueAcks] = {}
        self.size = 0
        """How many acks were added since the last `take`."""

    def add(self, queue: str, upto: int | None, seqs: Sequence[int]) -> None:
        """Add an ack."""
        pending = self._pending.setdefault(queue, _QueueAcks())
        if upto is not None and (pending.upto is None or upto > pending.upto):
            pending.upto = upto
        pending.seqs.update(seqs)
        self.size += 1 + len(seqs)

    def take(self) -> Iterator[tuple[str, dict[str, int | list[int]]]]:
        """Empty the batch; yield (queue, fields of an ack) for all that it held."""
        pending, self._pending = self._pending, {}
        self.size = 0
        for queue, acks in pending.items():
            upto = acks.upto
            if upto is not None:
                yield queue, {"upto": upto}
            seqs = sorted(seq for seq in acks.seqs if upto is None or seq > upto)
            for start in range(0, len(seqs), SEQS_PER_RECORD):
                yield queue, {"seqs": seqs[start : start + SEQS_PER_RECORD]}
