"""Who reads which queue, and who is told of a deletion."""

from streams.gateway.reads.readers import Readers


def test_a_queue_is_read_while_it_has_readers() -> None:
    readers = Readers()
    said: list[bytes] = []
    readers.on_read = said.append
    with readers.reading(b"q"):
        readers.begin(b"q")
        assert readers.is_read(b"q")
        assert not readers.is_read(b"other")
        readers.end(b"q")
        assert readers.is_read(b"q")
    assert not readers.is_read(b"q")
    # each beginning was said, and the last end
    assert said == [b"q", b"q", b"q"]
    readers.end(b"q")
    assert len(said) == 3


def test_the_requests_that_read_a_deleted_queue_are_told() -> None:
    readers = Readers()
    with readers.reading(b"q") as one, readers.reading(b"q") as two, readers.reading(b"r") as other:
        readers.deleted([b"q", b"none"])
        assert (one.deleted, two.deleted, other.deleted) == (True, True, False)
        with readers.reading(b"q") as later:
            assert not later.deleted
