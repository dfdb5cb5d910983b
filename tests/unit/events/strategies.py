"""Random records of every type."""

from __future__ import annotations

from hypothesis import strategies as st

from streams.events.records import (
    Ack,
    Bind,
    Close,
    Configure,
    Delete,
    Event,
    Lease,
    Message,
    Nack,
    Open,
    Origin,
    Purge,
    Routed,
    Tick,
    Touch,
    Unbind,
)

texts = st.text(max_size=80)
ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80)
longs = st.integers(-(1 << 63), (1 << 63) - 1)
ints = st.integers(-(1 << 31), (1 << 31) - 1)
origins = st.none() | st.builds(Origin, ints, longs, ints)
sessions = st.none() | texts


def _tuples(of: st.SearchStrategy[int] | st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    return st.lists(of, max_size=5).map(tuple)


binds = st.builds(Bind, texts, texts, sessions, longs, origins, sessions)
unbinds = st.builds(Unbind, texts, texts, sessions, longs, origins)
messages = st.builds(
    Message,
    texts,
    texts,
    texts,
    texts,
    st.dictionaries(texts, texts, max_size=3),
    st.binary(max_size=100),
    longs,
    st.none() | longs,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    ints,
    origins,
)
routed = st.builds(
    Routed,
    ints,
    _tuples(longs),
    st.binary(max_size=5),
    _tuples(ids),
    _tuples(ids),
    _tuples(ids),
    _tuples(longs),
    _tuples(ints),
    st.lists(st.binary(max_size=20), max_size=5).map(tuple),
    st.lists(st.lists(ids, max_size=3).map(tuple), max_size=5).map(tuple),
)
events: st.SearchStrategy[Event] = st.one_of(
    binds,
    unbinds,
    messages,
    st.builds(Ack, texts, st.none() | longs, _tuples(longs), longs),
    st.builds(Open, texts, texts, _tuples(texts), longs, st.none() | longs, st.booleans()),
    st.builds(Touch, texts, texts, longs),
    st.builds(Close, texts, texts, longs),
    st.builds(
        Configure,
        texts,
        st.none() | longs,
        st.none() | longs,
        texts,
        st.none() | longs,
        sessions,
        st.none() | longs,
        st.none() | longs,
        longs,
    ),
    st.builds(Lease, texts, texts, ints, st.none() | longs, longs),
    st.builds(Nack, texts, _tuples(longs), texts, longs, sessions, longs),
    st.builds(Purge, texts, longs),
    st.builds(Delete, texts, longs),
    st.builds(Tick, longs),
    routed,
)
