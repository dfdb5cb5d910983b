"""Which groups and queues an export is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.ids import DIRECT
from streams.security.patterns import Patterns


@dataclass(frozen=True, slots=True)
class Chosen:
    """Patterns of groups and of queues, in which `*` matches any text; none means all.

    A binding, or the id of a message, is chosen if all that it names is.
    """

    groups: Sequence[str] = ()
    queues: Sequence[str] = ()
    _groups: Patterns = field(init=False, repr=False, compare=False)
    _queues: Patterns = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare the patterns."""
        object.__setattr__(self, "_groups", Patterns(self.groups))
        object.__setattr__(self, "_queues", Patterns(DIRECT + one for one in self.queues))

    def group(self, group: str) -> bool:
        """Tell whether a group is chosen."""
        return not self._groups or self._groups.match(group)

    def queue(self, queue: str) -> bool:
        """Tell whether a queue is chosen."""
        return not self._queues or self._queues.match(DIRECT + queue)

    def destination(self, group: str) -> bool:
        """Tell whether a group, or the queue that it addresses, is chosen."""
        return self.queue(group[1:]) if group.startswith(DIRECT) else self.group(group)

    def binding(self, group: str, queue: str) -> bool:
        """Tell whether a binding is chosen."""
        return self.group(group) and self.queue(queue)
