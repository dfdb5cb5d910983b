"""Records that are nearly plain: the core takes none that Python would read in another way.

They are put together from bytes, since the encoder writes none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_same import LOGS, PARTITIONS, SETTINGS
from twins import Twins, needs_core

from streams.events.codec import (
    CHANGE_LAYOUT,
    MAX_RECORD,
    MESSAGE_LAYOUT,
    ROUTED_HEADER,
    encode_routed,
)
from streams.events.codec import encode_long as long
from streams.fold import Record, Rows
from streams.folds.deliver import Deliver
from streams.folds.route import Route
from streams.kafka.partitioner import partition_of

pytestmark = needs_core


def _in_partition(number: int, prefix: bytes) -> bytes:
    names = (b"%s%d" % (prefix, count) for count in range(1000))
    return next(name for name in names if partition_of(name, PARTITIONS) == number)


GROUP, ELSEWHERE = _in_partition(0, b"g"), _in_partition(1, b"g")
DIRECT, QUEUE = _in_partition(0, b"@q"), _in_partition(0, b"q")
LONG = {size: _in_partition(0, b"x" * (size - 1)) for size in (63, 64, 255, 256)}
# Valid and invalid: lengths at the limits, controls, and what is not UTF-8.
IDS = [
    *LONG.values(),
    b"",
    b" ",
    b"@q",
    b"a\0b",
    b"1234567\x1f",
    b"12345678\x7f",
    b"1234567\xff",
    b"\xc2\x80",
    b"\xc2\x9f",
    b"\xc2\xa0",
    b"\xc0\xaf",
    b"\xe0\x9f\xbf",
    b"\xe0\xa0\x80",
    b"\xed\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xf0\x8f\xbf\xbf",
    b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"1234567\xe2\x82",
    b"\x80",
]
NUMBERS = [0, 1, 2, -1, PARTITIONS, 63, 64, 127, 128, 255, 256, 65_536]
NUMBERS += [(1 << bits) + more for bits in (31, 32, 34, 61, 62) for more in (-1, 0)]
NUMBERS += [(1 << 63) - 1, -(1 << 31), -(1 << 63)]


def _padded(written: bytes, zeros: int) -> bytes:
    """Return a number in more bytes than it needs."""
    return written[:-1] + bytes([written[-1] | 0x80]) + b"\x80" * (zeros - 1) + b"\0"


def _some(usual: bytes, odd: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Draw the usual bytes nearly always, so that a record has few faults."""
    return st.integers(0, 11).flatmap(lambda number: odd if not number else st.just(usual))


def number(usual: int) -> st.SearchStrategy[bytes]:
    odd = st.sampled_from(NUMBERS).map(long)
    padded = st.builds(_padded, st.one_of(st.just(long(usual)), odd), st.integers(1, 10))
    broken = st.sampled_from([b"", b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x02", b"\xff" * 11])
    return _some(long(usual), st.one_of(odd, padded, padded, broken))


@st.composite
def sized(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw bytes after their length, which may be written in an odd way or be wrong."""
    return draw(number(len(content))) + content


@st.composite
def ident(draw: st.DrawFn, usual: bytes) -> bytes:
    return draw(sized(draw(_some(usual, st.sampled_from(IDS)))))


@st.composite
def choice(draw: st.DrawFn, branch: int) -> bytes:
    """Draw which branch of a union follows."""
    return draw(number(branch))


rests = _some(b"", st.sampled_from([b"\0", b"\x02", b"\0\0", b"\x80"]))


@st.composite
def changes(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw key and value of a Bind or Unbind."""
    bind, unbind, bind_end, unbind_end = CHANGE_LAYOUT
    bound = draw(st.booleans())
    group = draw(_some(GROUP, st.sampled_from([*IDS, ELSEWHERE, DIRECT, QUEUE])))
    parts = [bind if bound else unbind, draw(sized(group))]
    parts.append(draw(ident(draw(st.sampled_from([b"q", b"r"])))))
    if draw(st.booleans()):
        parts += [draw(choice(1)), draw(ident(draw(st.sampled_from([b"s", b"t"]))))]
    else:
        parts.append(draw(choice(0)))
    parts.append(draw(number(5)))  # at
    if draw(st.booleans()):
        origin = 0, draw(st.integers(0, 9)), draw(st.integers(0, 1)), LOGS.queue_events
        parts += [draw(choice(1)), *[draw(number(part)) for part in origin]]
    else:
        parts.append(draw(choice(0)))
    if bound:
        parts.append(draw(choice(0)))  # replaces
    end = bind_end if bound else unbind_end
    parts.append(draw(_some(end, st.sampled_from([end[:-1], end + b"\0"]))))
    parts.append(draw(rests))
    return draw(_some(group, st.sampled_from([GROUP, ELSEWHERE, b""]))), b"".join(parts)


@st.composite
def messages(draw: st.DrawFn, group: bytes = b"g", names: Sequence[bytes] = (b"id",)) -> bytes:
    header, middle, end = MESSAGE_LAYOUT
    parts = [header, draw(ident(draw(st.sampled_from(names)))), draw(sized(group))]
    parts += [draw(ident(name)) for name in (b"me", b"kind")]
    parts.append(draw(number(0)))  # headers
    body = draw(_some(b"body", st.sampled_from([b"", b"\xff", b"b" * 4000, b"b" * 4096])))
    parts += [draw(sized(body)), draw(number(5)), middle]
    parts.append(draw(_some(b"\1", st.sampled_from([b"\0", b"\2", b"\x81\0"]))))  # echo
    parts += [end, draw(rests)]
    return b"".join(parts)


@st.composite
def publications(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw key and value of a Message to a group."""
    odd = [*IDS, ELSEWHERE, QUEUE, b"@", b"@@q", b"@" + LONG[63]]
    group = draw(_some(draw(st.sampled_from([GROUP, GROUP, DIRECT])), st.sampled_from(odd)))
    value = draw(messages(group, names=[b"a", b"b", b"c", b"d"]))
    return draw(_some(group, st.sampled_from([GROUP, ELSEWHERE, b""]))), value


@st.composite
def array(draw: st.DrawFn, items: Sequence[bytes]) -> bytes:
    """Draw an array in the usual form, or in another one that Avro knows, or a broken one."""
    joined, count = b"".join(items), len(items)
    usual = long(count) + joined + b"\0" if count else b"\0"
    blocks = b"".join(long(1) + item for item in items) + b"\0"
    with_size = long(-count) + long(len(joined)) + joined + b"\0" if count else b"\x80\0"
    odd = [blocks, with_size, long(count) + joined, long(count + 1) + joined + b"\0", joined]
    odd += [_padded(long(count), 2) + joined + b"\0", usual[:-1] + b"\x80\0", b"\1"]
    return draw(_some(usual, st.sampled_from(odd)))


@st.composite
def routed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw key and value of a Routed."""
    offsets = sorted(draw(st.sets(st.integers(0, 9), max_size=3)))
    count = len(offsets)

    def column(usual: bytes) -> bytes:
        ids = [draw(_some(usual, st.sampled_from(IDS))) for _ in range(count)]
        joined = b"".join(one + b"\0" for one in ids)
        return draw(sized(draw(_some(joined, st.sampled_from([joined[:-1], joined + b"\0"])))))

    parts = [ROUTED_HEADER, draw(number(0)), draw(array([draw(number(one)) for one in offsets]))]
    kinds = bytes([draw(st.sampled_from([0, 1, 1])) for _ in offsets])
    parts.append(draw(sized(draw(_some(kinds, st.sampled_from([kinds + b"\1", b"\2" * count]))))))
    parts += [column(b"g"), column(QUEUE), column(draw(st.sampled_from([b"", b"", b"s"])))]
    places = sorted(draw(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 1)), max_size=2)))
    for numbers in ([offset for offset, _ in places], [part for _, part in places]):
        parts.append(draw(array([draw(number(one)) for one in numbers])))
    parts.append(draw(array([draw(sized(draw(messages()))) for _ in places])))
    receivers = [draw(_some(QUEUE, st.sampled_from(IDS))) + b"\0" for _ in places]
    usual = [draw(_some(one, st.sampled_from([b"", one * 2, one[:-1]]))) for one in receivers]
    parts.append(draw(array([draw(sized(one)) for one in usual])))
    parts += [draw(number(draw(st.integers(0, 1)))), draw(number(LOGS.group_events)), draw(rests)]
    return draw(_some(QUEUE, st.sampled_from([b"", ELSEWHERE, b"\xff"]))), b"".join(parts)


def _route(rows: Rows) -> Route:
    return Route(rows, 0, PARTITIONS, "queue-events", LOGS)


def _deliver(rows: Rows) -> Deliver:
    return Deliver(rows, 0, PARTITIONS, "group-events", LOGS)


@SETTINGS
@given(st.lists(changes(), min_size=1, max_size=8))
def test_route(records: list[tuple[bytes, bytes]]) -> None:
    Twins(_route).feed(records)


@SETTINGS
@given(st.lists(st.one_of(changes(), publications(), publications()), min_size=1, max_size=12))
def test_messages_of_route(records: list[tuple[bytes, bytes]]) -> None:
    twins = Twins(_route)
    twins.feed([(GROUP, _bind(b"me")), (GROUP, _bind(QUEUE)), (GROUP, _message(b"first"))])
    twins.feed(records)


@SETTINGS
@given(st.lists(routed(), min_size=1, max_size=5))
def test_deliver(records: list[tuple[bytes, bytes]]) -> None:
    Twins(_deliver).feed(records)


def _seen_by_python(twins: Twins, record: tuple[bytes, bytes], patch: pytest.MonkeyPatch) -> bool:
    """Feed a record; tell whether the core left it to Python."""
    seen: list[Record] = []
    fold = twins.native.fold
    apply = fold.apply

    def spy(record: Record) -> Iterator[None] | None:
        seen.append(record)
        return apply(record)

    patch.setattr(fold, "apply", spy)
    twins.feed([record])
    return bool(seen)


BIND, _, BIND_END, _ = CHANGE_LAYOUT
ORIGIN = b"\2" + long(0) + long(1) + long(0)


@pytest.mark.parametrize("rest", [b"\0", ORIGIN + long(LOGS.queue_events)])
def test_the_core_takes_a_bind_that_is_put_together_so(
    rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = BIND + long(len(GROUP)) + GROUP + b"\2q\0" + long(5) + rest + b"\0" + BIND_END
    assert not _seen_by_python(Twins(_route), (GROUP, value), monkeypatch)


def _bind(queue: bytes) -> bytes:
    parts = [BIND, long(len(GROUP)), GROUP, long(len(queue)), queue, b"\0", long(5), b"\0\0"]
    return b"".join([*parts, BIND_END])


def _message(ident: bytes, group: bytes = GROUP, headers: bytes = b"\0") -> bytes:
    header, middle, end = MESSAGE_LAYOUT
    texts = b"".join([long(len(text)) + text for text in (ident, group, b"me", b"text")])
    return b"".join([header, texts, headers, long(4), b"body", long(5), middle, b"\1", end])


def test_the_core_takes_messages_to_a_group_that_had_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_python(key: bytes, value: bytes) -> bool:
        with monkeypatch.context() as patch:
            return _seen_by_python(twins, (key, value), patch)

    twins = Twins(_route)
    twins.feed([(GROUP, _bind(queue)) for queue in (b"me", QUEUE)])
    # The first makes Python look for old ids and read the members
    assert by_python(GROUP, _message(b"a"))
    assert not by_python(GROUP, _message(b"b"))
    # A repetition, one with headers, and one to a queue
    assert not by_python(GROUP, _message(b"b"))
    assert by_python(GROUP, _message(b"c", headers=long(1) + b"\2k\2v\0"))
    assert not by_python(DIRECT, _message(b"d", group=DIRECT))
    # The members change
    twins.feed([(GROUP, _bind(b"new"))])
    assert not by_python(GROUP, _message(b"e"))
    twins.checkpoint()
    twins.crash()
    assert by_python(GROUP, _message(b"f"))


def _changes(count: int, group: bytes) -> tuple[bytes, bytes]:
    groups, queues, sessions = [(one + b"\0") * count for one in (group, QUEUE, b"")]
    kinds, log = b"\1" * count, LOGS.group_events
    value = encode_routed(0, range(count), kinds, groups, queues, sessions, [], [], [], [], log=log)
    return QUEUE, value


@pytest.mark.parametrize(
    ("count", "group", "is_plain"),
    [(8_192, b"g", True), (8_193, b"g", False), (4_000, b"g" * 255, False), (30_000, b"g", False)],
)
def test_a_routed_larger_than_route_writes_is_for_python(
    count: int, group: bytes, is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the core keeps little memory, however large the records are."""
    record = _changes(count, group)
    assert _seen_by_python(Twins(_deliver), record, monkeypatch) is not is_plain


def test_a_routed_above_the_limit_of_a_record_is_refused() -> None:
    """Kafka's limit counts compressed bytes, so such a record may be in the topic."""
    key, value = _changes(8_192, b"g" * 255)
    assert len(value) > MAX_RECORD
    twins = Twins(_deliver)
    twins.feed([(key, value)])
    assert not twins.native.rows.pending
