"""One RocksDB database per table partition, and what all of them share.

Knows RocksDB (through `rocksdict`) and nothing of Kafka or Faust.  A database holds the
rows of its partition as of some changelog offset.  That offset is written last: rows that
a crash left beyond it are in the changelog after it, and are read again from there.
"""

from __future__ import annotations

import logging
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, cast

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    CompactOptions,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
)

from streams.data_folder import utf8
from streams.errors import Unavailable

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the layout on disk; any other is wiped and rebuilt from the changelog."""

SMALL_BYTES = 64 << 20
"""A database with no more on disk is compacted as a whole: a second or two."""

_META = b"\0meta"
# Format, next changelog offset, written at (ms), topic id, number and size of RocksDB's manifest.
_META_LAYOUT = struct.Struct(">BQQ16sQQ")


class Resources:
    """The block cache and the write-buffer limit of the whole process.

    Sizes are in bytes.  They bound the memory of all databases together, whatever the number
    of partitions and rows.
    """

    def __init__(self, cache_bytes: int, write_buffer_bytes: int) -> None:
        self.cache = Cache(cache_bytes)
        self.write_buffers = WriteBufferManager(write_buffer_bytes, False)
        self.write_buffer_bytes = write_buffer_bytes

    def options(self) -> Options:
        """Return the options of one database on the shared cache and write buffers."""
        table = BlockBasedOptions()
        table.set_block_cache(self.cache)
        table.set_bloom_filter(10, False)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        # Unpartitioned, the filter of a file is one block.  With a few million rows it no longer
        # fits into a cache shard, and each lookup reads it again (533 us instead of 4.5).
        table.set_index_type(BlockBasedIndexType.two_level_index_search())
        table.set_partition_filters(True)
        table.set_metadata_block_size(32 << 10)
        table.set_pin_top_level_index_and_filter(True)
        table.set_format_version(5)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_manager(self.write_buffers)
        options.set_write_buffer_size(min(32 << 20, self.write_buffer_bytes // 2))
        # Most lookups are of rows that do not exist. A filter answers them without a search of the
        # memtable (0.5 us instead of 2.5 to 6); 2 % of its size are about 9 bits a row.
        options.set_memtable_whole_key_filtering(True)
        options.set_memtable_prefix_bloom_ratio(0.02)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_level_compaction_dynamic_level_bytes(True)
        # Many rows are deleted soon after they are written.  Compact files that consist mostly
        # of deletions early: a scan of a busy inbox would otherwise step over all of them.
        options.add_compact_on_deletion_collector_factory(1024, 512, 0.5)
        options.set_max_background_jobs(2)
        options.set_max_open_files(256)
        options.set_max_total_wal_size(64 << 20)
        options.set_keep_log_file_num(2)
        options.set_max_log_file_size(1 << 20)
        options.set_stats_dump_period_sec(0)
        options.set_stats_persist_period_sec(0)
        return options


class Database:
    """The database of one table partition.

    Only one process can open it at a time.  Call `close`, and hold no iterator across it.
    Methods may be called from any thread.
    """

    def __init__(
        self,
        path: Path,
        resources: Resources,
        on_damage: Callable[[], None] = lambda: None,
    ) -> None:
        """Open or create; `on_damage` is called, from any thread, when damage is found.

        Raises:
            InUse, NoSpace, Damaged, UnknownFormat
        """
        self.path = path
        self.damaged = False
        """Whether damage has been found, so that the database must be rebuilt."""
        self._on_damage = on_damage
        self._compacting = threading.Lock()
        self._closed = False
        self._manifest_file: Path | None = None
        manifest = self._manifest()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(utf8(path), resources.options())
        except Exception as exc:
            raise _explained(path, exc) from exc
        self.next_offset = 0
        self.written_at = 0
        self.topic_id = bytes(16)
        try:
            meta = self.get(_META)
        except Damaged:
            self._db.close()
            raise
        if meta is not None:
            if meta[0] != FORMAT:
                self._db.close()
                raise UnknownFormat(f"{path} has format {meta[0]}; this program uses {FORMAT}")
            _, self.next_offset, self.written_at, self.topic_id, *before = _META_LAYOUT.unpack(meta)
            if manifest < tuple(before):
                # RocksDB takes a truncated manifest for one that it was writing when it
                # crashed, and forgets the files that the lost part names.
                self._db.close()
                raise Damaged(f"{path} is damaged: its manifest is truncated")
        self._manifest_file = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a raw key, or None.

        Raises:
            Damaged
        """
        try:
            value: bytes | None = self._db.get(key)
        except Exception as exc:
            raise self._failed(exc) from exc
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the values of raw keys, None for a row that is not there.

        Raises:
            Damaged
        """
        try:
            values: Any = self._db.get(cast(Any, keys))
        except Exception as exc:
            raise self._failed(exc) from exc
        return list(values)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order, as of this call.

        Raises:
            Damaged
        """
        return _scan(self._db, start, end, self._failed)

    def _manifest(self) -> tuple[int, int]:
        """Return number and size of the manifest, which lists the files of the database."""
        try:
            if self._manifest_file is None:
                name = (self.path / "CURRENT").read_text().strip()
                self._manifest_file = self.path / name
            return int(self._manifest_file.name.rpartition("-")[2]), (
                self._manifest_file.stat().st_size
            )
        except (OSError, ValueError):
            self._manifest_file = None  # not written yet, or just replaced
            return 0, 0

    def _failed(self, exc: Exception) -> Exception:
        error = _explained(self.path, exc)
        if isinstance(error, Damaged):
            self.damaged = True
            self._on_damage()
        return error

    def write(
        self,
        rows: Iterable[tuple[bytes, bytes | None]],
        next_offset: int,
        now_ms: int,
        topic_id: bytes,
    ) -> None:
        """Write rows (None deletes), then the changelog offset after them.

        The rows are in the changelog already, so they need not be one batch: after a crash in
        between, the old offset makes the next owner read all of them again.  A large batch
        would hold the interpreter until RocksDB has taken it in.  The write-ahead log is not
        synced: a killed process loses nothing, and a machine that loses power loses a suffix
        that the changelog has.

        Raises:
            NoSpace, Damaged
        """
        try:
            some = iter(rows)
            while True:
                batch = _batch(islice(some, _BATCH_ROWS))
                if batch.len() < _BATCH_ROWS:
                    break
                self._db.write(batch)
            meta = _META_LAYOUT.pack(FORMAT, next_offset, now_ms, topic_id, *self._manifest())
            batch.put(_META, meta)
            self._db.write(batch)
        except Exception as exc:
            raise self._failed(exc) from exc
        self.next_offset = next_offset
        self.written_at = now_ms
        self.topic_id = topic_id

    def walk(
        self, start: bytes, end: bytes, limit: int, most_deleted: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Return at most `limit` rows with start <= key < end, in ascending order.

        Unlike a scan it never takes long.  The second value tells whether it gave up because
        more than `most_deleted` consecutive rows were deleted but not compacted away yet.
        """
        bound = ReadOptions()
        bound.set_iterate_upper_bound(end)
        bound.set_max_skippable_internal_keys(most_deleted)
        cursor = self._db.iter(bound)
        cursor.seek(start)
        rows: list[tuple[bytes, bytes]] = []
        while cursor.valid():
            rows.append((cursor.key(), cursor.value()))
            if len(rows) == limit:
                return rows, False
            cursor.next()
        try:
            cursor.status()
        except Exception:  # "Result incomplete": rocksdict has no class of its own for it
            return rows, True
        return rows, False

    def compact_deleted(self) -> None:
        """Have deleted rows compacted away soon; blocks for some seconds.

        RocksDB compacts files with many of them by itself (see `Resources.options`), but not
        what is in the memtable, which nothing flushes in a quiet partition, nor the last level
        of a small database.
        """
        with self._compacting:
            if self._closed:
                return
            try:
                self._db.flush()
                if self._property("total-sst-files-size") <= SMALL_BYTES:
                    options = CompactOptions()
                    options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
                    self._db.compact_range(None, None, options)
            except Exception as exc:
                logger.warning("%s: cannot compact: %s", self.path, self._failed(exc))

    def estimated_rows(self) -> int:
        """Return RocksDB's estimate of the number of rows."""
        return self._property("estimate-num-keys")

    def sizes(self) -> dict[str, int]:
        """Return RocksDB's own figures: estimated rows, bytes on disk and in memory."""
        return {
            "rows": self.estimated_rows(),
            "sst_bytes": self._property("total-sst-files-size"),
            "memtable_bytes": self._property("cur-size-all-mem-tables"),
            "pending_compaction_bytes": self._property("estimate-pending-compaction-bytes"),
            "level0_files": self._property("num-files-at-level0"),
        }

    def _property(self, name: str) -> int:
        return int(self._db.property_int_value(f"rocksdb.{name}") or 0)

    def close(self) -> None:
        """Flush and close; the files can be reopened at once."""
        with self._compacting:
            self._closed = True
            self._db.close()

    def close_or_wipe(self) -> None:
        """Close; delete the files if they are damaged, so that the next opening rebuilds them."""
        try:
            self.close()
        finally:
            if self.damaged:
                logger.warning("%s is damaged: rebuilding from the changelog", self.path)
                wipe(self.path)


class UnknownFormat(Exception):
    """The database on disk was written by another version of this program."""


class Damaged(Unavailable):
    """The files of the database differ from what was written; it must be rebuilt."""


class InUse(Unavailable):
    """Another process has the database open."""


class NoSpace(Unavailable):
    """The disk is full, or the process has no file descriptors left; nothing is damaged."""


_SPACE = ("No space left", "Disk quota exceeded", "Too many open files")


def _explained(path: Path, exc: Exception) -> Exception:
    """Translate RocksDB's error, which has one class for every cause."""
    text = str(exc)
    if "/LOCK:" in text:
        return InUse(f"{path} is in use by another process")
    if any(words in text for words in _SPACE):
        return NoSpace(f"{path}: {text}")
    return Damaged(f"{path} is damaged: {text}")


_BATCH_ROWS = 2_000


def _batch(rows: Iterable[tuple[bytes, bytes | None]]) -> WriteBatch:
    batch = WriteBatch(raw_mode=True)
    put, delete = batch.put, batch.delete
    for key, value in rows:
        if value is None:
            delete(key)
        else:
            put(key, value)
    return batch


def _scan(
    source: Any, start: bytes, end: bytes, failed: Callable[[Exception], Exception]
) -> Iterator[tuple[bytes, bytes]]:
    bound = ReadOptions()
    bound.set_iterate_upper_bound(end)
    rows = source.iter(bound)
    rows.seek(start)
    return _walk(rows, bound, failed)


def _walk(
    rows: Any, _bound: ReadOptions, failed: Callable[[Exception], Exception]
) -> Iterator[tuple[bytes, bytes]]:
    # The iterator points into the options' bound and does not keep them alive itself.
    # At a damaged block it ends as if there were no more rows; only `status` shows the damage.
    valid, key, value, following = rows.valid, rows.key, rows.value, rows.next
    try:
        while valid():
            yield key(), value()
            following()
        rows.status()
    except Exception as exc:
        raise failed(exc) from exc


def wipe(path: Path) -> None:
    """Delete the files of a database, which is then rebuilt from the changelog."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:  # somebody has put something else in its place
        with suppress(OSError):
            path.unlink()


def open_or_rebuild(
    path: Path,
    resources: Resources,
    topic_id: bytes,
    tombstone_ms: int,
    changelog_end: Callable[[], int] | None = None,
    on_damage: Callable[[], None] = lambda: None,
) -> Database:
    """Open a database that can be brought up to date from its changelog, or an empty one.

    Files that are damaged, of another format or stale (see `stale`) are deleted. Blocks.

    Args:
        topic_id: identifies the present incarnation of the changelog topic.
        tombstone_ms: how long the changelog keeps tombstones.
        changelog_end: returns the end of the changelog, if the database must not be ahead
            of it; asked only of a database that has rows.

    Raises:
        InUse, NoSpace
    """
    try:
        database = Database(path, resources, on_damage)
    except (UnknownFormat, Damaged) as exc:
        logger.warning("%s: rebuilding from the changelog", exc)
        wipe(path)
        return Database(path, resources, on_damage)
    if database.next_offset == 0:
        return database
    try:
        reason = stale(database, topic_id, tombstone_ms, changelog_end)
    except BaseException:
        database.close()
        raise
    if reason is None:
        return database
    logger.warning("%s %s: rebuilding from the changelog", path, reason)
    database.close()
    wipe(path)
    return Database(path, resources, on_damage)


def stale(
    database: Database,
    topic_id: bytes,
    tombstone_ms: int,
    changelog_end: Callable[[], int] | None = None,
) -> str | None:
    """Return why a database cannot be brought up to date, or None if it can."""
    if database.topic_id != topic_id:
        return "belongs to another changelog topic"
    if changelog_end is not None and database.next_offset > changelog_end():
        return "is ahead of the changelog"
    # Rows whose tombstones are gone from the changelog would stay forever.
    if time.time() * 1000 - database.written_at > tombstone_ms:
        return "is older than the tombstones that the changelog keeps"
    return None
