"""Files that sum up the bytes that go through them; they need not be seekable."""

from __future__ import annotations

from typing import BinaryIO
from zlib import crc32


class SummedSource:
    """A binary file that is read."""

    def __init__(self, source: BinaryIO) -> None:
        self.crc32 = 0
        """CRC-32 of all that was read."""
        self._source = source
        self._count = 0

    def read(self, size: int) -> bytes:
        """Read at most so many bytes."""
        data = self._source.read(size)
        self.crc32 = crc32(data, self.crc32)
        self._count += len(data)
        return data

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._count


class SummedTarget:
    """A binary file that is written."""

    def __init__(self, target: BinaryIO) -> None:
        self.count = self.crc32 = 0
        """How many bytes were written, and their CRC-32."""
        self._target = target

    def write(self, data: bytes) -> int:
        """Write bytes."""
        self.crc32 = crc32(data, self.crc32)
        self.count += len(data)
        return self._target.write(data)

    def seekable(self) -> bool:
        """Return False: it is written from its beginning to its end."""
        return False

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._target.flush()
