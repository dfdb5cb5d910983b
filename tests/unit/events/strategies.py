"""Random records of every type."""

from __future__ import annotations

from hypothesis import strategies as st

from streams.events.records import (
    Ack,
    Bind,
    Close,
    Event,
    Message,
    Open,
    Origin,
    Routed,
    Unbind,
)

texts = st.text(max_size=80)
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
)
routed = st.builds(
    Routed,
    ints,
    _tuples(longs),
    st.binary(max_size=5),
    _tuples(texts),
    _tuples(texts),
    _tuples(texts),
    _tuples(longs),
    _tuples(ints),
    st.lists(st.binary(max_size=20), max_size=5).map(tuple),
    st.lists(st.lists(texts, max_size=3).map(tuple), max_size=5).map(tuple),
)
events: st.SearchStrategy[Event] = st.one_of(
    binds,
    unbinds,
    messages,
    st.builds(Ack, texts, st.none() | longs, _tuples(longs), longs),
    st.builds(Open, texts, texts, _tuples(texts), longs),
    st.builds(Close, texts, texts, longs),
    routed,
)
