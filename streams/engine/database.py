"""One RocksDB database per table partition, and what all of them share.

Knows RocksDB (through `rocksdict`) and nothing of Kafka or Faust.  A database holds the
rows of its partition as of some changelog offset, and that offset, always written in one
batch: it is an exact prefix of the changelog.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
)

FORMAT = 1
"""Version of the layout on disk; another one is wiped and rebuilt from the changelog."""

_META = b"\0meta"
_META_LAYOUT = struct.Struct(">BQQ16s")  # format, next changelog offset, written at (ms), topic id


class Resources:
    """The block cache and the write-buffer limit of the whole process.

    Sizes are in bytes.  They bound the memory that all databases take together, however
    many partitions and rows there are.
    """

    def __init__(self, cache_bytes: int, write_buffer_bytes: int) -> None:
        self.cache = Cache(cache_bytes)
        self.write_buffers = WriteBufferManager(write_buffer_bytes, False)
        self.write_buffer_bytes = write_buffer_bytes

    def options(self) -> Options:
        """Options of one database, on the shared cache and write buffers."""
        table = BlockBasedOptions()
        table.set_block_cache(self.cache)
        table.set_bloom_filter(10, False)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        table.set_format_version(5)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_manager(self.write_buffers)
        options.set_write_buffer_size(min(32 << 20, self.write_buffer_bytes // 2))
        options.set_compression_type(DBCompressionType.lz4())
        options.set_level_compaction_dynamic_level_bytes(True)
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

    Opened by one process at a time; `close` must be called, and no iterator may be held
    across it.  Methods may be called from any thread.
    """

    def __init__(self, path: Path, resources: Resources) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = Rdict(str(path), resources.options())
        self.next_offset = 0
        self.written_at = 0
        self.topic_id = bytes(16)
        meta = self._db.get(_META)
        if meta is not None:
            version, self.next_offset, self.written_at, self.topic_id = _META_LAYOUT.unpack(meta)
            if version != FORMAT:
                raise UnknownFormat(f"{path} has format {version}, this program writes {FORMAT}")

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a raw key, or None."""
        value: bytes | None = self._db.get(key)
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order, as of now."""
        return _scan(self._db, start, end)

    def snapshot(self) -> Snapshot:
        """Return the database as it is now, unmoved by later writes."""
        return Snapshot(self._db.snapshot())

    def write(
        self,
        rows: Iterable[tuple[bytes, bytes | None]],
        next_offset: int,
        now_ms: int,
        topic_id: bytes,
    ) -> None:
        """Write rows (None deletes) and the changelog offset after them, all or nothing.

        The write-ahead log is kept but not synced: a killed process loses nothing, a
        machine that lost power loses a suffix, which the changelog has.
        """
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in rows:
            if value is None:
                delete(key)
            else:
                put(key, value)
        put(_META, _META_LAYOUT.pack(FORMAT, next_offset, now_ms, topic_id))
        self._db.write(batch)
        self.next_offset = next_offset
        self.written_at = now_ms
        self.topic_id = topic_id

    def estimated_rows(self) -> int:
        """RocksDB's estimate of the number of rows."""
        return self._property("estimate-num-keys")

    def sizes(self) -> dict[str, int]:
        """What RocksDB says of itself: estimated rows, bytes on disk and in memory."""
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
        """Flush and close; the files can be opened again at once."""
        self._db.close()


class Snapshot:
    """A `Database` as it was at one moment."""

    def __init__(self, snapshot: Any) -> None:
        self._snapshot = snapshot

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a raw key, or None."""
        try:
            value: bytes | None = self._snapshot[key]
        except KeyError:
            return None
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order."""
        return _scan(self._snapshot, start, end)


class UnknownFormat(Exception):
    """A database on disk was written by another version of this program."""


def _scan(source: Any, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
    bound = ReadOptions()
    bound.set_iterate_upper_bound(end)
    return _held(source.items(from_key=start, read_opt=bound), bound)


def _held(
    rows: Iterator[tuple[bytes, bytes]], _bound: ReadOptions
) -> Iterator[tuple[bytes, bytes]]:
    # The iterator points into the options' bound, and does not keep them alive itself.
    yield from rows


def wipe(path: Path) -> None:
    """Delete a database's files: it will be rebuilt from the changelog."""
    shutil.rmtree(path, ignore_errors=True)
