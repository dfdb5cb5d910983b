"""Numbers with their nouns."""

from streams.amounts import counted


def test_one_and_many() -> None:
    assert [counted(number, "worker") for number in (0, 1, 2)] == [
        "0 workers",
        "1 worker",
        "2 workers",
    ]
    assert counted(12_345, "row") == "12,345 rows"


def test_nouns_with_verbs_and_nouns_of_their_own() -> None:
    assert counted(1, "partition is", "partitions are") == "1 partition is"
    assert counted(3, "partition is", "partitions are") == "3 partitions are"
