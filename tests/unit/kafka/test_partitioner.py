"""Partitions are those that Kafka's own clients choose."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.partitioner import murmur2, partition_of


# From org.apache.kafka.common.utils.UtilsTest.testMurmur2, where they are signed.
@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_vectors_of_the_java_client(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed & 0xFFFFFFFF


@given(st.binary(max_size=600))
def test_the_hash_is_that_of_aiokafka(data: bytes) -> None:
    assert murmur2(data) == murmur2_of_aiokafka(bytearray(data)) & 0xFFFFFFFF


@given(st.binary(min_size=1, max_size=40), st.integers(1, 1000))
def test_partitions_are_in_range(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions


@given(st.binary(max_size=300))
def test_the_native_hash_is_the_same(data: bytes) -> None:
    native = pytest.importorskip("murmurhash2")
    assert native.murmurhash2(data, 0x9747B28C) == murmur2(data)
