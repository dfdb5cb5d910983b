"""Random records of every type, by the definitions of the events."""

from __future__ import annotations

from hypothesis import strategies as st

from streams.events import records
from streams.events.definitions import Field, definitions
from streams.events.records import Event, Origin

texts = st.text(max_size=80)
ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80)
longs = st.integers(-(1 << 63), (1 << 63) - 1)
ints = st.integers(-(1 << 31), (1 << 31) - 1)
origins = st.builds(Origin, ints, longs, ints, longs)

_VALUES: dict[str, st.SearchStrategy[object]] = {
    "string": texts,
    "boolean": st.booleans(),
    "int": ints,
    "long": longs,
    "bytes": st.binary(max_size=100),
    "map": st.dictionaries(texts, texts, max_size=3),
    "record": origins,
}


def _value(field: Field) -> st.SearchStrategy[object]:
    if field.format == "id-column":
        columns = _tuples(ids)
        return _tuples(columns) if field.type == "array" else columns
    value = _tuples(_VALUES[field.items]) if field.type == "array" else _VALUES[field.type]
    return st.none() | value if field.nullable else value


def _tuples(of: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(of, max_size=5).map(tuple)


def records_of(name: str) -> st.SearchStrategy[Event]:
    """Return any records of one type."""
    fields = {field.name: _value(field) for field in definitions()[name].fields}
    kind: type[Event] = getattr(records, name)
    return st.builds(kind, **fields)


binds = records_of("Bind")
unbinds = records_of("Unbind")
messages = records_of("Message")
events: st.SearchStrategy[Event] = st.one_of(*map(records_of, definitions()))
