"""Which numbers can be seqs, told by where the log ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams.errors import Unavailable
from streams.folds.packing import SEQS_PER_RECORD
from streams.gateway.http.errors import HTTPError
from streams.gateway.ports import RecordToSend
from streams.gateway.reads.seqs import NEAR, Seqs, seq_base


class Log:
    """A log of one partition, as Kafka and as this worker know it."""

    def __init__(self, known: int, end: int) -> None:
        self.known, self.end, self.asked, self.away = known, end, 0, False
        self.seqs = Seqs(1, lambda number: self.known, self.ask)

    async def ask(self, number: int) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("Kafka does not answer")
        return self.end

    async def check(self, seq: int) -> None:
        await self.seqs.check(0, seq, "upto")


@pytest.mark.parametrize("unit", [1, 1000, 1_000_000])
async def test_a_time_is_no_seq(unit: int) -> None:
    log = Log(known=5, end=10)
    with pytest.raises(HTTPError, match=r"upto is .* not a time") as refused:
        await log.check(int(time.time()) * unit)
    assert (refused.value.status, refused.value.code) == (400, "bad_parameter")


async def test_seqs_near_the_known_log_ask_nobody() -> None:
    log = Log(known=1_000_000, end=0)
    for offset in (0, 1, 999_999, 1_000_000 + NEAR):
        await log.check(offset * SEQS_PER_RECORD + 1)
    assert log.asked == 0


async def test_a_worker_that_is_far_behind_asks_once() -> None:
    log = Log(known=0, end=3_000_000)
    await asyncio.gather(*(log.check(2_999_999 * SEQS_PER_RECORD + n) for n in range(10)))
    assert log.asked == 1
    with pytest.raises(HTTPError):
        await log.check((3_000_001 + NEAR) * SEQS_PER_RECORD)
    assert log.asked == 2


async def test_the_last_seq_of_the_last_record_is_one() -> None:
    log = Log(known=0, end=3_000_000)
    await log.check(3_000_000 * SEQS_PER_RECORD)
    log = Log(known=0, end=3_000_000)
    with pytest.raises(HTTPError):
        await log.check(3_000_000 * SEQS_PER_RECORD + 1)


async def test_nothing_is_refused_because_kafka_does_not_answer() -> None:
    log = Log(known=0, end=3_000_000)
    log.away = True
    with pytest.raises(Unavailable):
        await log.check(2_000_000 * SEQS_PER_RECORD)
    log.away = False
    await log.check(2_000_000 * SEQS_PER_RECORD)


async def test_the_seq_of_a_record_is_checked() -> None:
    log = Log(known=0, end=0)
    await log.seqs.check_record(RecordToSend("t", b"q", b"", "Ack", seq=4097))
    with pytest.raises(HTTPError) as refused:
        await log.seqs.check_record(RecordToSend("t", b"q", b"", "Ack", seq=time.time_ns()))
    assert refused.value.code == "bad_field"


def test_the_base_of_seqs_is_in_the_first_row_of_the_changelog() -> None:
    row = (1 << 33).to_bytes(8, "big")
    assert seq_base((b"f\0", row)) == 1 << 33
    assert seq_base((b"bq\0g", b"")) == 0
    assert seq_base(None) == 0
