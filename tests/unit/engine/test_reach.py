from __future__ import annotations

from streams.engine.engine import _beyond
from streams.engine.holds import Ends
from streams.engine.reach import Reach

ONE, OTHER = ("group-events", 0), ("queue-events", 1)


def test_a_change_of_leaders_is_no_loss() -> None:
    reach = Reach(10.0)
    assert reach.look(0.0, {ONE: "no leader"}) == ([], [])
    assert reach.look(9.9, {ONE: "no leader"}) == ([], [])
    assert reach.lost(9.9, ONE) is None
    # It counts anew after each answer
    assert reach.look(10.0, {}) == ([], [])
    assert reach.look(10.1, {ONE: "no leader"}) == ([], [])
    assert reach.look(20.0, {ONE: "no leader"}) == ([], [])
    assert reach.lost(20.0, ONE) is None


def test_a_partition_that_stays_away_is_lost_until_kafka_tells_its_end_again() -> None:
    reach = Reach(10.0)
    reach.look(0.0, {ONE: "its leader does not answer"})
    assert reach.look(10.0, {ONE: "no leader", OTHER: "no leader"}) == ([ONE], [])
    assert reach.look(12.0, {ONE: "no leader", OTHER: "no leader"}) == ([], [])
    assert reach.lost(12.0, ONE) == "no access to group-events/0 for 12 s: no leader"
    assert reach.lost(12.0, OTHER) is None
    assert reach.look(13.0, {}) == ([], [ONE])
    assert reach.lost(13.0, ONE) is None


def test_a_topic_that_was_out_of_reach_is_checked_once_when_it_is_back() -> None:
    reach = Reach(10.0)
    assert reach.doubtful({}) == set()
    assert reach.doubtful({ONE: "no such topic", OTHER: "no such topic"}) == set()
    # While Kafka does not tell, it is asked again and again
    assert reach.doubtful({OTHER: "no such topic"}) == {"group-events"}
    assert reach.doubtful({OTHER: "no such topic"}) == {"group-events"}
    reach.checked({"group-events"})
    assert reach.doubtful({OTHER: "no such topic"}) == set()
    assert reach.doubtful({}) == {"queue-events"}
    reach.checked({"queue-events"})
    assert reach.doubtful({}) == set()


def test_a_log_that_ends_before_what_was_folded_is_not_the_same_log() -> None:
    ends = {ONE: Ends(2, 2), OTHER: Ends(7, 5)}
    assert _beyond({ONE: 2, OTHER: 7}, ends) == {}
    assert _beyond({ONE: 5, OTHER: 7}, ends) == {
        ONE: "it ends at offset 2, but was folded up to 5: the topic was created again, or has "
        "lost records"
    }
    assert _beyond({ONE: 5}, {}) == {}
