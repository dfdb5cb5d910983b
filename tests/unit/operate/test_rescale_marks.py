"""Which numbers of partitions a rescale accepts, and what it writes in place of markers."""

from __future__ import annotations

import pytest

from streams.engine.changelog import (
    Unfinished,
    pack_marker,
    rescaling_marker,
    unfinished_marker,
    unpack_marker,
    unpack_rescaling,
)
from streams.errors import StreamsError
from streams.operate.rescale.rescaling import check_count


@pytest.mark.parametrize("partitions", [8, 4, 12, 20, 0, -8, 1 << 16])
def test_partitions_can_only_be_split(partitions: int) -> None:
    with pytest.raises(StreamsError, match="a multiple of that, such as 16"):
        check_count(8, partitions)


@pytest.mark.parametrize("partitions", [16, 24, 65528])
def test_they_are_split_into_any_multiple(partitions: int) -> None:
    check_count(8, partitions)


def test_no_worker_opens_a_partition_before_the_end() -> None:
    for step in ("copying", "cleaning"):
        marker = rescaling_marker(step, 77)
        assert unpack_rescaling(marker) == (step, 77)
        with pytest.raises(Unfinished, match="streams rescale"):
            unpack_marker(marker)
    for other in (None, pack_marker(77), unfinished_marker()):
        assert unpack_rescaling(other) is None
