"""Faust's store for folded tables: how Faust and its tools read the engine's rows.

Only folds write rows, and checkpoints make them durable, so this store is read-only.
Entry point `faust.stores`, name `streams`: ``app.Table(..., store="streams://")``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, cast

from faust.stores.base import SerializedStore
from faust.types import TP, EventT

from streams.fold import split_raw_key

if TYPE_CHECKING:
    from streams.engine.engine import Engine
    from streams.engine.partition import Partition


class Store(SerializedStore[bytes, bytes]):
    """The rows of a table in all partitions that this worker owns and that are ready.

    Keys are raw row keys, ``bucket + b"\\0" + suffix``.
    """

    def _partitions(self) -> Iterator[Partition]:
        engine: Engine = cast(Any, self.app).engine
        return engine.ready_partitions(self.table_name)

    def _get(self, key: bytes) -> bytes | None:
        bucket, suffix = split_raw_key(key)
        for partition in self._partitions():
            value = partition.rows.get(bucket, suffix)
            if value is not None:
                return value
        return None

    def _set(self, key: bytes, value: bytes | None) -> None:
        self._refuse()

    def _del(self, key: bytes) -> None:
        self._refuse()

    def _clear(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(f"table {self.table_name!r} is read-only: its fold writes the rows")

    def _iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        for partition in self._partitions():
            yield from partition.rows.items()

    def _iterkeys(self) -> Iterator[bytes]:
        return (key for key, _ in self._iteritems())

    def _itervalues(self) -> Iterator[bytes]:
        return (value for _, value in self._iteritems())

    def _size(self) -> int:
        return sum(1 for _ in self._iteritems())

    def _contains(self, key: bytes) -> bool:
        return self._get(key) is not None

    # The engine makes rows durable; Faust's recovery is not used and never calls these.

    def persisted_offset(self, tp: TP) -> int | None:
        """Return None: Faust's recovery is not used."""
        return None

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Do nothing: Faust's recovery is not used."""

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT[Any]],
        to_key: Callable[[Any], bytes],
        to_value: Callable[[Any], bytes],
    ) -> None:
        """Do nothing: Faust's recovery is not used."""

    def reset_state(self) -> None:
        """Do nothing: opening a database that cannot be continued rebuilds it."""

    async def backup_partition(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the changelog is the backup."""
        raise NotImplementedError("the changelog is the backup")

    def restore_backup(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the changelog is the backup."""
        raise NotImplementedError("the changelog is the backup")
