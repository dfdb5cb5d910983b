"""What is kept for clients that stop anywhere: frames by any cut, few connections, fair shares."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.gateway.http.errors import HTTPError
from streams.gateway.http.receiving import GRACE_SECONDS, FrameSizes, Unauthenticated
from streams.gateway.writes.admission import Admission, Share


def frame(opcode: int, final: bool, size: int, masked: bool) -> bytes:
    first, mask = opcode | (0x80 if final else 0), 0x80 if masked else 0
    if size < 126:
        head = bytes([first, mask | size])
    elif size < 1 << 16:
        head = bytes([first, mask | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + size.to_bytes(8, "big")
    return head + b"\1\2\3\4" * masked + b"x" * size


SIZES = st.sampled_from([0, 1, 125, 126, 127, 500])


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """Return the frames of one message, with pings between them."""
    found, count = [], draw(st.integers(1, 3))
    for number in range(count):
        opcode, final = (1 if number == 0 else 0), number == count - 1
        found.append(frame(opcode, final, draw(SIZES), draw(st.booleans())))
        if not final and draw(st.booleans()):
            found.append(frame(9, True, draw(st.sampled_from([0, 125])), True))
    return found


@given(st.lists(messages(), max_size=4), st.lists(st.integers(1, 2000), min_size=1))
@settings(deadline=None)
def test_messages_are_counted_whatever_the_cut(sent: list[list[bytes]], cuts: list[int]) -> None:
    frames = FrameSizes()
    frames.release_control()
    data, turn = b"".join(b"".join(one) for one in sent), 0
    while data:
        cut = cuts[turn % len(cuts)]
        frames.feed(data[:cut])
        data, turn = data[cut:], turn + 1

    # Every message and ping is complete, and has the size of its frames, pieces aside
    sizes = []
    for message in sent:
        sizes += [len(one) for one in message if one[0] & 0x08]
        sizes.append(sum(len(one) for one in message if not one[0] & 0x08))
    assert len(frames.complete) == len(sizes)
    for size, least in zip(frames.complete, sizes, strict=True):
        assert least + 256 <= size <= least + 256 + 64 * turn
    for _ in sizes:
        frames.processed()
    assert (frames.held, len(frames.complete)) == (0, 0)


@given(
    st.lists(messages(), max_size=6),
    st.lists(st.integers(1, 2000), min_size=1),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_no_more_messages_are_taken_than_asked_for(
    sent: list[list[bytes]], cuts: list[int], ahead: int
) -> None:
    data = b"".join(b"".join(one) for one in sent)
    count = sum(len([one for one in message if one[0] & 0x08]) + 1 for message in sent)
    frames = FrameSizes()
    frames.release_control()
    processed = turn = 0
    while data:
        cut = data[: cuts[turn % len(cuts)]]
        taken = frames.feed(cut, ahead)
        assert len(frames.complete) <= ahead
        # What is left was not taken for a reason
        assert taken == len(cut) or len(frames.complete) == ahead
        if len(frames.complete) == ahead:
            frames.processed()
            processed += 1
        data, turn = data[taken:], turn + 1
    processed += len(frames.complete)
    while frames.complete:
        frames.processed()
    assert (processed, frames.held) == (count, 0)


@pytest.mark.parametrize("size", [65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("cut", [7, 1000, 2_000_000])
def test_long_frames(size: int, cut: int) -> None:
    frames, data = FrameSizes(), frame(1, True, size, True) * 2
    for start in range(0, len(data), cut):
        frames.feed(data[start : start + cut])
    assert len(frames.complete) == 2
    assert size < min(frames.complete)
    frames.processed()
    frames.processed()
    assert frames.held == 0


def test_what_is_incomplete_is_held() -> None:
    frames = FrameSizes()
    frames.feed(frame(1, False, 1000, True))
    frames.feed(frame(0, True, 5000, True)[:3000])
    assert frames.held >= 4000
    assert not frames.complete
    # Many small pieces cost more than their bytes
    before = frames.held
    for _ in range(100):
        frames.feed(b"x")
    assert frames.held >= before + 100 * 50
    # Control frames are held until the client has shown its token
    frames = FrameSizes()
    frames.feed(frame(9, True, 100, True) * 10)
    assert frames.held >= 1000
    for _ in range(10):
        frames.processed()
    assert frames.held >= 1000
    frames.release_control()
    assert frames.held == 0
    # and afterwards until they are processed
    frames.feed(frame(10, True, 100, True) * 10)
    assert frames.held >= 1000
    for _ in range(10):
        frames.processed()
    assert frames.held == 0


def test_small_messages_cost_what_their_objects_do() -> None:
    frames = FrameSizes()
    frames.feed(frame(1, True, 0, True) * 100)
    assert frames.held >= 100 * 250


class Transport:
    """Notes that it was closed."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_the_oldest_connection_without_a_token_makes_room() -> None:
    # Given as many as are kept
    kept, waiting = Unauthenticated(3), [Transport() for _ in range(6)]
    assert [kept.admit(one, 0.0) for one in waiting[:3]] == [True] * 3

    # Then another one is refused at first, and later takes the place of the oldest
    assert not kept.admit(waiting[3], GRACE_SECONDS / 2)
    assert kept.admit(waiting[4], GRACE_SECONDS)
    assert [one.aborted for one in waiting] == [True] + [False] * 5

    # One that has shown a token keeps its connection, and makes room too
    kept.remove(waiting[1])
    kept.remove(waiting[1])
    assert kept.admit(waiting[5], GRACE_SECONDS)
    assert not waiting[1].aborted
    assert len(kept) == 3


def test_one_principal_leaves_half_of_the_budget_to_others() -> None:
    budget = Admission(1000)
    with Share(Admission(10_000), "x"):
        pass
    budget.take(500, "a")
    with pytest.raises(HTTPError) as refused:
        budget.take(1, "a")
    assert refused.value.status == 429
    # The next one gets half of what is left, and so on: there is always room
    budget.take(250, "b")
    with pytest.raises(HTTPError):
        budget.take(1, "b")
    budget.take(125, "c")
    # Without a name, all is one client's
    budget.take(125)
    with pytest.raises(HTTPError):
        budget.take(1)
    assert budget.used == 1000
    for holder, count in (("a", 500), ("b", 250), ("c", 125), (None, 125)):
        budget.give_back(count, holder)
    assert budget.used == 0
    budget.take(400, "a")
