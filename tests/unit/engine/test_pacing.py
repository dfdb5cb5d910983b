"""Outputs that are sent at an even rate, and what waits until Kafka has them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from streams.engine.output import DeliveryTracker, OutputProducer
from streams.engine.pacing import SendPacer
from streams.fold import Output


class Producer:
    """Takes outputs, and confirms those that ask for a report when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def send_now(self, output: Output, tracker: DeliveryTracker, report: bool) -> bool:
        if report:
            tracker.reports += 1
            self.asked.append((output.topic, output.partition))
        tracker.sent += 1
        return True


def output(topic: str, partition: int) -> Output:
    return Output(topic, partition, b"key", b"value", "Bind")


async def test_the_last_output_to_each_partition_of_each_topic_is_waited_for() -> None:
    # Given outputs to partitions of two topics that have the same number
    producer, loop = Producer(), asyncio.get_running_loop()
    pacer = SendPacer(loop, cast(OutputProducer, producer), lambda: 0)
    tracker = DeliveryTracker(loop)
    together = [output("words", 0), output("totals", 0), output("totals", 1), output("words", 0)]

    # When they are sent together
    pacer.send(together, tracker)

    # Then a checkpoint waits for all of them
    assert producer.asked == [("totals", 0), ("totals", 1), ("words", 0)]
    assert tracker.unsettled == 3


async def test_several_may_wait_for_the_same_outputs() -> None:
    # Given an output that Kafka has not confirmed, and two that wait for it
    loop = asyncio.get_running_loop()
    tracker = DeliveryTracker(loop)
    tracker.reports = 1
    waiting = [loop.create_task(tracker.settled()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)

    # When it is confirmed
    tracker.delivered(None, cast(Any, None))

    # Then both go on
    async with asyncio.timeout(120):
        await asyncio.gather(*waiting)
