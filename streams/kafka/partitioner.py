"""The partition of a key, as Kafka's own clients compute it.

The hash is the 32-bit MurmurHash2 of Kafka's Java client
(`org.apache.kafka.common.utils.Utils.murmur2`, seed 0x9747b28c); the partition is its lower
31 bits modulo the number of partitions.  librdkafka calls this `murmur2_random`.

The folds need it and must not import a Kafka client.  The native library `murmurhash2` computes
the hash where it has a wheel; elsewhere `murmur2` does, which takes about seven times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from struct import Struct
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
_WORDS: Final = tuple(Struct(f"<{count}I").unpack_from for count in range(65))


def murmur2(data: bytes) -> int:
    """Return the hash of `data` as an unsigned 32-bit number."""
    length = len(data)
    count = length >> 2
    read = _WORDS[count] if count < 65 else Struct(f"<{count}I").unpack_from
    h = _SEED ^ length
    for k in read(data):
        k = k * _M & _MASK
        h = (h * _M ^ (k ^ k >> 24) * _M) & _MASK
    if length & 3:
        h = (h ^ int.from_bytes(data[count << 2 :], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


try:
    from murmurhash2 import murmurhash2 as _native
except ImportError:
    _hash: Callable[[bytes, int], int] = lambda key, _seed: murmur2(key)  # noqa: E731
else:
    _hash = _native


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key`, from 0 to `partitions` - 1."""
    return (_hash(key, _SEED) & 0x7FFFFFFF) % partitions


@cache
def own_key(name: str, partition: int, partitions: int) -> bytes:
    """Return a key that begins with `name` and is hashed to the partition."""
    keys = (f"{name}-{number}".encode() for number in count())
    return next(key for key in keys if partition_of(key, partitions) == partition)
