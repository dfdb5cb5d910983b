"""`EngineOptions` refuses values that cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from streams.engine import EngineOptions
from streams.errors import SettingsError


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("app_id", "", "app_id is '': use 1 to 200 letters"),
        ("app_id", "word count", "app_id is 'word count'"),
        ("brokers", "", "brokers is '': list them"),
        ("brokers", "a:9092,,b:9092", "list them as host:port,host:port"),
        ("partitions", 0, "partitions is 0: it must be at least 1"),
        ("replication", 0, "replication is 0: it must be at least 1"),
        ("standbys", -1, "standbys is -1: it must be at least 0"),
        ("checkpoint_rows", 0, "checkpoint_rows is 0"),
        ("chunk_records", 0, "chunk_records is 0"),
        ("chunk_bytes", 0, "chunk_bytes is 0"),
        ("cache_bytes", -1, "cache_bytes is -1"),
        ("write_buffer_bytes", 0, "write_buffer_bytes is 0"),
        ("checkpoint_seconds", 0.0, "checkpoint_seconds is 0.0: it must be positive"),
        ("session_timeout_seconds", float("nan"), "session_timeout_seconds is nan"),
    ],
)
def test_a_value_out_of_range_is_refused(option: str, value: Any, says: str) -> None:
    values = {"app_id": "app", option: value}

    with pytest.raises(SettingsError, match=says):
        EngineOptions(**values)


def test_the_least_values_are_accepted() -> None:
    options = EngineOptions(
        app_id="app", partitions=1, replication=1, standbys=0, checkpoint_rows=1, cache_bytes=0
    )

    assert options.partitions == 1
