"""Acks of one connection become few records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.gateway.streaming.acks import SEQS_PER_RECORD, AckBatch


def test_a_higher_upto_takes_in_what_is_below() -> None:
    batch = AckBatch()
    batch.add("q", 5, [])
    batch.add("q", None, [3, 9, 9, 7])
    batch.add("q", 7, [])
    batch.add("p", None, [1])
    assert batch.size == 9

    assert list(batch.take()) == [("q", {"upto": 7}), ("q", {"seqs": [9]}), ("p", {"seqs": [1]})]
    assert list(batch.take()) == []
    assert batch.size == 0
    assert list(batch.take()) == []


def test_records_are_bounded() -> None:
    batch = AckBatch()
    batch.add("q", None, list(range(2 * SEQS_PER_RECORD + 1)))
    sizes = [len(content["seqs"]) for _, content in batch.take()]  # type: ignore[arg-type]
    assert sizes == [SEQS_PER_RECORD, SEQS_PER_RECORD, 1]


acks = st.tuples(
    st.sampled_from("pq"),
    st.one_of(st.none(), st.integers(0, 20)),
    st.lists(st.integers(0, 20), max_size=5),
)


@given(st.lists(acks, max_size=12), st.sets(st.integers(0, 12), max_size=3))
def test_a_batch_acks_exactly_what_was_acked(
    given: list[tuple[str, int | None, list[int]]], cuts: set[int]
) -> None:
    def acked(content: dict[str, int | list[int]]) -> set[int]:
        upto, seqs = content.get("upto", -1), content.get("seqs", [])
        assert isinstance(upto, int)
        assert isinstance(seqs, list)
        return set(range(upto + 1)) | set(seqs)

    batch = AckBatch()
    wanted: dict[str, set[int]] = {"p": set(), "q": set()}
    done: dict[str, set[int]] = {"p": set(), "q": set()}
    for number, (queue, upto, seqs) in enumerate(given):
        batch.add(queue, upto, seqs)
        wanted[queue] |= set(range(-1 if upto is None else upto + 1)) | set(seqs)
        if number in cuts:
            for one, content in batch.take():
                done[one] |= acked(content)
    for one, content in batch.take():
        done[one] |= acked(content)
    assert done == wanted
