"""What is written is read again; whatever else comes is refused, cheaply."""

from __future__ import annotations

import tracemalloc
from dataclasses import astuple, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import binds, events, messages, unbinds

from streams.events import schema
from streams.events.codec import (
    MAX_RECORD,
    OriginTuple,
    change_prefixes,
    decode,
    encode,
    encode_change,
    is_usual_message,
    read,
    read_rest,
)
from streams.events.limits import MAX_MESSAGE_BODY
from streams.events.records import EVENTS, Ack, Bind, Event, Message, Open, Routed, Unbind
from streams.fold import BadRecord
from streams.ids import is_id

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


def test_the_reason_is_the_same_each_time() -> None:
    # It ends before a boolean; the decoder then names the object that it reads from.
    data = header_of(Message) + b"\x02c\x04g0\x04me\x08kind\x00\x06\xff\n\x00\x01\x01\x00\x08\x00"

    with pytest.raises(BadRecord, match=r"^broken Message: cannot read boolean from the record$"):
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


Quick = tuple[str, str, str, str, OriginTuple | None]


def read_quickly(data: bytes, group: str) -> Quick | None:
    """Read as the route fold reads records of a group that it knows."""
    prefixes = change_prefixes(group.encode())
    for name, prefix in zip(("Bind", "Unbind"), prefixes or (), strict=False):
        if data.startswith(prefix):
            rest = read_rest(data, len(prefix), name == "Bind")
            if rest is not None:
                queue, session, origin = rest
                return name, group, queue.decode(), session.decode(), origin
    return None


@given(binds | unbinds)
def test_the_short_cut_for_plain_changes_reads_the_same(record: Bind | Unbind) -> None:
    quick = read_quickly(encode(record), record.group)
    if quick is not None:
        origin = None if record.origin is None else astuple(record.origin)
        name, session = type(record).__name__, record.session or ""
        assert quick == (name, record.group, record.queue, session, origin)
        assert record.session != ""
        assert not (isinstance(record, Bind) and record.replaces is not None)
        assert is_id(record.queue)
        assert record.session is None or is_id(record.session)


@given(binds | unbinds, st.data())
def test_the_short_cut_never_reads_what_is_broken(
    record: Bind | Unbind, data: st.DataObject
) -> None:
    changed = broken(encode(record), data)
    quick = read_quickly(changed, record.group)
    if quick is not None:
        name, values = read(changed)
        origin = values["origin"] and tuple(values["origin"].values())
        session = values["session"] or ""
        assert quick == (name, values["group"], values["queue"], session, origin)


@pytest.mark.parametrize("name", ["Bind", "Unbind"])
@pytest.mark.parametrize("session", [None, "s" * 63])
@pytest.mark.parametrize(
    "origin", [None, (0, 0, 0, 0), (65_535, 1 << 40, (1 << 31) - 1, (1 << 63) - 1)]
)
def test_plain_changes_take_the_short_cut(
    name: str, session: str | None, origin: OriginTuple | None
) -> None:
    data = encode_change(name, "g" * 63, "部屋", session, 1_700_000_000_000, origin)
    assert read_quickly(data, "g" * 63) == (name, "g" * 63, "部屋", session or "", origin)


@given(binds | unbinds)
def test_a_change_is_written_the_same_either_way(record: Bind | Unbind) -> None:
    origin = None if record.origin is None else astuple(record.origin)
    replaces = record.replaces if isinstance(record, Bind) else None
    name, ids = type(record).__name__, (record.group, record.queue, record.session)
    assert encode_change(name, *ids, record.at, origin, replaces) == encode(record)


@given(messages)
def test_a_usual_message_wants_nothing_but_to_be_delivered(message: Message) -> None:
    if is_usual_message(encode(message)):
        plain = Message(message.id, message.group, message.sender, message.kind, body=message.body)
        assert message == replace(plain, at=message.at, echo=message.echo)


@given(messages, st.data())
def test_what_is_broken_is_no_usual_message(message: Message, data: st.DataObject) -> None:
    changed = broken(encode(message), data)
    if is_usual_message(changed):
        name, values = read(changed)
        assert name == "Message"
        assert not values["headers"]
        assert values["origin"] is None


@pytest.mark.parametrize("size", [0, 1, 63, 64, 8191, 8192, MAX_MESSAGE_BODY])
def test_messages_are_usual_whatever_their_size(size: int) -> None:
    message = Message("m" * 63, "@部屋", "me", body=bytes(size), at=1_700_000_000_000)
    assert is_usual_message(encode(message))


def broken(whole: bytes, data: st.DataObject) -> bytes:
    """Return a record with one byte changed and perhaps its end cut off."""
    changed = bytearray(whole)
    place = data.draw(st.integers(10, len(changed) - 1))
    changed[place] = data.draw(st.integers(0, 255))
    return bytes(changed[: data.draw(st.integers(10, len(changed)))])


def test_text_that_is_not_unicode_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode(Message("id", "g", "\ud800"))
