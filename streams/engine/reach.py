"""Finds partitions of topics that Kafka gives no access to, while Kafka as a whole answers.

A partition may have no leader, or a leader that does not answer; or its topic was deleted.
Heartbeats are accepted meanwhile, and the lag last seen says nothing.  Knows numbers, not Kafka.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streams.engine.source import Source


class Reach:
    """Remembers since when Kafka has not told the end of partitions; a pure state machine."""

    def __init__(self, seconds: float) -> None:
        """Take how long it must last before it counts; a change of leaders takes less."""
        self._seconds = seconds
        self._since: dict[Source, float] = {}
        self._lost: dict[Source, tuple[float, str]] = {}
        self._doubtful: set[Source] = set()

    def look(self, now: float, failures: Mapping[Source, str]) -> tuple[list[Source], list[Source]]:
        """Take the partitions that are watched and whose end Kafka has not told, with the reasons.

        Returns:
            the partitions that count as lost from now on, and those that no longer do.
        """
        self._since = {source: self._since.get(source, now) for source in failures}
        lost = {
            source: (since, failures[source])
            for source, since in self._since.items()
            if now - since >= self._seconds
        }
        began = sorted(lost.keys() - self._lost.keys())
        ended = sorted(self._lost.keys() - lost.keys())
        self._lost = lost
        return began, ended

    def doubtful(self, failures: Mapping[Source, str]) -> set[str]:
        """Return the topics of partitions that were out of reach and no longer are.

        Each may have been created again meanwhile. Call `checked` once that is known.
        """
        self._doubtful |= failures.keys()
        return {topic for topic, _ in self._doubtful - failures.keys()}

    def checked(self, topics: Collection[str]) -> None:
        """Note that it is known which of these topics were created again."""
        self._doubtful = {source for source in self._doubtful if source[0] not in topics}

    def lost(self, now: float, source: Source) -> str | None:
        """Return since when and why there is no access to a partition; None if there is."""
        found = self._lost.get(source)
        if found is None:
            return None
        since, reason = found
        return f"no access to {source[0]}/{source[1]} for {now - since:.0f} s: {reason}"
