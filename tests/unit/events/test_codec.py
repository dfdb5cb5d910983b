"""What is written is read again; whatever else comes is refused, cheaply."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import binds, events, unbinds

from streams.events import schema
from streams.events.codec import (
    decode,
    encode,
    encode_change,
    read,
    read_change,
)
from streams.events.records import (
    EVENTS,
    MAX_RECORD,
    Ack,
    Bind,
    Event,
    Message,
    Open,
    Routed,
    Unbind,
)
from streams.fold import BadRecord

HEADERS = [schema.current(schema.folder(), kind.__name__).header for kind in EVENTS]
LONGEST = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # as a length: 2**63 - 1
LOWEST = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # -2**63


def header_of(kind: type[Event]) -> bytes:
    return HEADERS[EVENTS.index(kind)]


@given(events)
def test_what_is_written_is_read_again(record: Event) -> None:
    assert decode(encode(record)) == record


@given(events, st.data())
def test_no_part_of_a_record_is_a_record(record: Event, data: st.DataObject) -> None:
    whole = encode(record)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BadRecord, match=r"truncated|broken"):
        decode(whole[:end])


@given(events, st.binary(min_size=1, max_size=20))
def test_nothing_may_follow_a_record(record: Event, rest: bytes) -> None:
    with pytest.raises(BadRecord, match=f"{len(rest)} bytes after its end"):
        decode(encode(record) + rest)


@given(events, st.data())
def test_changed_bytes_are_a_record_or_refused(record: Event, data: st.DataObject) -> None:
    whole = bytearray(encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    _is_record_or_refused(bytes(whole))


@given(st.sampled_from(HEADERS), st.binary(max_size=200))
@example(header_of(Bind), LONGEST)
@example(header_of(Bind), b"\x01")
@example(header_of(Bind), LOWEST)
@example(header_of(Ack), b"\x02q\x00" + LONGEST)
@example(header_of(Ack), b"\x02q\x00" + LOWEST + LONGEST)
@example(header_of(Ack), b"\x02q\x00" + b"\x01" * 200)
@example(header_of(Message), b"\x02i\x02g\x02s\x02k" + LONGEST)
@example(header_of(Message), b"\x02i\x02g\x02s\x02k" + LOWEST + LOWEST)
def test_any_body_is_a_record_or_refused(header: bytes, body: bytes) -> None:
    _is_record_or_refused(header + body)


def _is_record_or_refused(data: bytes) -> None:
    try:
        record = decode(data)
    except BadRecord:
        return
    assert type(record) in EVENTS


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "the record has no value"),
        (b"", "truncated: 0 bytes"),
        (b"\xc3\x01abc", "truncated: 5 bytes"),
        (b'{"group": "g"}', "not Avro in single-object encoding"),
        (b"\xc3\x01abcdefgh", "unknown schema: fingerprint 6162636465666768"),
        (header_of(Bind) + b"\x02\xff\x02q\x00\x00\x00\x00", "broken Bind: .*utf-8"),
        (header_of(Bind) + b"\x02g\x02q\x04\x00\x00\x00", "broken Bind"),  # no third branch
        (header_of(Ack) + bytes(MAX_RECORD), f"more than {MAX_RECORD}"),
    ],
)
def test_the_reason_says_what_is_wrong(data: bytes | None, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        header_of(Ack) + b"\x02q\x00" + LONGEST,  # so many seqs
        header_of(Ack) + b"\x02q\x00" + LOWEST + b"\x00",
        header_of(Open) + LONGEST,  # so long an id
        header_of(Message) + b"\x02i\x02g\x02s\x02k" + LONGEST,  # so many headers
        header_of(Message) + b"\x02i\x02g\x02s\x02k\x00" + LONGEST,  # so large a body
        header_of(Routed) + b"\x00" * 9 + LONGEST + b"\x01" * 50,
    ],
)
def test_a_length_that_is_not_there_allocates_nothing(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadRecord):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(binds | unbinds)
def test_the_short_cut_for_plain_changes_reads_the_same(record: Bind | Unbind) -> None:
    quick = read_change(encode(record))
    if quick is not None:
        name, group, queue, session = quick
        assert name == type(record).__name__
        assert (group, queue, session) == (record.group, record.queue, record.session or "")
        assert record.origin is None
        assert record.session != ""
        assert not (isinstance(record, Bind) and record.replaces is not None)


@given(binds | unbinds, st.data())
def test_the_short_cut_never_reads_what_is_broken(
    record: Bind | Unbind, data: st.DataObject
) -> None:
    whole = bytearray(encode(record))
    place = data.draw(st.integers(10, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    changed = bytes(whole[: data.draw(st.integers(10, len(whole)))])
    quick = read_change(changed)
    if quick is not None:
        name, values = read(changed)
        plain = (name, values["group"], values["queue"], values["session"] or "")
        assert quick == plain


@pytest.mark.parametrize("name", ["Bind", "Unbind"])
@pytest.mark.parametrize("session", [None, "s" * 63])
def test_plain_changes_take_the_short_cut(name: str, session: str | None) -> None:
    data = encode_change(name, "g" * 63, "部屋", session, 1_700_000_000_000)
    assert read_change(data) == (name, "g" * 63, "部屋", session or "")


def test_text_that_is_not_unicode_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode(Message("id", "g", "\ud800"))
