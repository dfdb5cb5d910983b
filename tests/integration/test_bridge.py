"""Sites that share a Kafka, each in a namespace of its own, and bridges between them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streams.bridge.beginning import NOW
from streams.bridge.bridge import Bridge, Link
from streams.bridge.crossing import Copy
from streams.bridge.writer import TakenOver, Writer
from streams.errors import StreamsError
from streams.events.codec import decode, encode
from streams.events.records import Bind, Message
from streams.kafka.clients import open_producer
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.topics import ensure_topics
from streams.operate.topic_log import TopicLog
from streams.settings import Settings
from streams.topics import event_topics

PATIENCE = 240.0
Said = tuple[str, str]  # group, id


@pytest.fixture(scope="module")
def sites(kafka: EmbeddedKafka) -> Iterator[list[Settings]]:
    """Three sites with different numbers of partitions; every test says other things."""
    name = f"b{uuid.uuid4().hex[:12]}"
    made = [
        Settings.from_env(
            {
                "STREAMS_BROKERS": kafka.brokers,
                "STREAMS_NAMESPACE": f"{name}-{number}",
                "STREAMS_PARTITIONS": str(number + 1),
            }
        )
        for number in range(3)
    ]
    for settings in made:
        ensure_topics(settings.librdkafka(), event_topics(settings))
    yield made
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    topics = [t for t in admin.list_topics(timeout=120).topics if t.startswith(name)]
    for deleted in admin.delete_topics(topics).values():
        deleted.result(120)


def publish(site: Settings, events: Iterable[Message | Bind]) -> None:
    """Append events to a site's log, as programs with a Kafka client do."""
    producer = open_producer(site.librdkafka(), {"enable.idempotence": True})
    for event in events:
        producer.produce(site.group_events, encode(event), event.group.encode())
        producer.poll(0)
    assert producer.flush(PATIENCE) == 0


def messages(name: str, count: int) -> list[Message]:
    """Return messages to seven groups, numbered within all."""
    return [Message(f"{name}-{n}", f"g{n % 7}", "ann", body=b"%d" % n) for n in range(count)]


def log_of(site: Settings) -> list[Said]:
    """Return the messages in a site's log, partition by partition."""
    with TopicLog(site) as log:
        topic = site.group_events
        bounds = {number: log.bounds(topic, number) for number in log.partitions(topic)}
        found = []
        start = {number: bound.low for number, bound in bounds.items()}
        end = {number: bound.high for number, bound in bounds.items()}
        for record in log.read(topic, start, end):
            value = record.value()
            assert isinstance(value, bytes)
            event = decode(value)
            if isinstance(event, Message):
                found.append((record.partition(), record.offset(), event.group, event.id))
    return [(group, ident) for _, _, group, ident in sorted(found)]


def by_group(said: Iterable[Said], name: str) -> dict[str, list[str]]:
    """Return the ids that begin with a name, by group, in the order given."""
    groups: dict[str, list[str]] = {}
    for group, ident in said:
        if ident.startswith(name):
            groups.setdefault(group, []).append(ident)
    return groups


def wanted(said: Iterable[Message]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for message in said:
        groups.setdefault(message.group, []).append(message.id)
    return groups


_failed: list[BaseException] = []


@contextmanager
def bridged(*links: Link) -> Iterator[list[Bridge]]:
    """Run bridges, each in a thread of its own; none of them may fail."""
    stop = threading.Event()
    _failed.clear()

    def run(bridge: Bridge) -> None:
        try:
            bridge.run()
        except BaseException as error:
            _failed.append(error)

    bridges = [Bridge(link, stop.is_set) for link in links]
    threads = [threading.Thread(target=run, args=(bridge,)) for bridge in bridges]
    for thread in threads:
        thread.start()
    try:
        yield bridges
        assert not _failed, _failed
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert not _failed, _failed
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def arrived(site: Settings, name: str) -> int:
    """Return how many messages whose ids begin with a name a site has."""
    return sum(ident.startswith(name) for _, ident in log_of(site))


def test_three_sites_hear_each_other_once_and_nothing_goes_in_a_circle(
    sites: list[Settings],
) -> None:
    publish(sites[0], messages("old", 10))
    links = [
        Link(here, there, f"site-{number}", ("g*",), NOW)
        for here in sites
        for number, there in enumerate(sites)
        if here is not there
    ]
    with bridged(*links) as bridges:
        until(lambda: all(bridge.joined for bridge in bridges))

    # What is said while there are no bridges crosses, too: the places were kept
    said = [messages(f"s{number}", 100) for number in range(3)]
    for site, own in zip(sites, said, strict=True):
        publish(site, [Bind("g0", "ann"), *own, Message("s-direct", "@ann", "bob")])
    with bridged(*(replace(link, beginning=None) for link in links)) as bridges:
        until(lambda: all(bridge.crossed == 100 for bridge in bridges))
        until(lambda: all(bridge.lag == 0 for bridge in bridges))

    assert [bridge.crossed for bridge in bridges] == [100] * 6
    for site in sites:
        log = log_of(site)
        assert arrived(site, "s") == 301
        for number in range(3):
            assert by_group(log, f"s{number}-") == wanted(said[number])
    assert arrived(sites[1], "old") == arrived(sites[2], "old") == 0


class Dies(Exception):
    """Stands for the death of a bridge."""


def dying(step: str) -> Callable[[Writer, list[Copy], list[tuple[bytes, bytes]]], None]:
    """Return `Writer.write`, dying at a step of the first transaction that has messages."""
    real = Writer.write

    def write(self: Writer, copies: list[Copy], places: list[tuple[bytes, bytes]]) -> None:
        if not copies or step == "after":
            real(self, copies, places)
        elif step == "open":
            self._producer.begin_transaction()
            for copy in copies:
                self._producer.produce(self._topic, copy.value, copy.key)
            assert self._producer.flush(PATIENCE) == 0
        if copies:
            raise Dies

    return write


def test_a_bridge_that_dies_at_any_step_copies_nothing_twice(
    sites: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = sites[:2]
    link = Link(here, there, "east", beginning=NOW)
    with bridged(link) as (bridge,):
        until(lambda: bridge.joined)
    for step in ("before", "open", "after"):
        publish(there, messages(step, 20))
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "write", dying(step))
            with pytest.raises(Dies):
                Bridge(link).run()
        assert arrived(here, step) == (20 if step == "after" else 0)

    with bridged(replace(link, beginning=None)) as (bridge,):
        until(lambda: bridge.joined and bridge.lag == 0 and arrived(here, "open") == 20)

    for step in ("before", "open", "after"):
        assert by_group(log_of(here), step) == wanted(messages(step, 20))


def test_a_second_bridge_ends_the_first(sites: list[Settings]) -> None:
    there, here = sites[:2]
    link = Link(here, there, "east", beginning=NOW)
    first = Bridge(link)
    ended: list[StreamsError] = []

    def run() -> None:
        try:
            first.run()
        except StreamsError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    numbers = iter(range(1_000_000))

    def says() -> bool:
        publish(there, [Message(f"m-{next(numbers)}", "g", "ann")])
        return first.crossed > 0

    until(says)
    with bridged(replace(link, beginning=None)):
        until(lambda: says() and bool(ended))

    assert isinstance(ended[0], TakenOver)
    idents = [ident for _, ident in log_of(here) if ident.startswith("m-")]
    assert len(idents) == len(set(idents))


def test_a_site_is_not_joined_to_itself(sites: list[Settings]) -> None:
    with pytest.raises(StreamsError, match="is this site"):
        Bridge(Link(sites[0], sites[0], "east", beginning=NOW)).run()


def environment(site: Settings) -> Mapping[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")},
        "STREAMS_BROKERS": site.brokers,
        "STREAMS_NAMESPACE": site.namespace,
        "STREAMS_PARTITIONS": str(site.partitions),
    }


def test_the_command_is_killed_while_it_copies(sites: list[Settings], tmp_path: Path) -> None:
    there, here = sites[1:]
    file = tmp_path / "east.env"
    file.write_text(f"STREAMS_BROKERS={there.brokers}\nSTREAMS_NAMESPACE={there.namespace}\n")
    command = [str(Path(sys.executable).with_name("streams")), "bridge", "east", str(file)]
    said: list[Message] = []

    def run(*more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, *more], env=environment(here))

    def killed_at(goal: int, *more: str) -> None:
        process = run(*more)
        try:
            until(lambda: arrived(here, "t") >= goal)
        finally:
            process.kill()
            process.wait(PATIENCE)

    for turn, goal in enumerate((1, 2_500)):
        more = messages(f"t{turn}-", 2_500)
        publish(there, more)
        said += more
        killed_at(goal, "--from", "start")
    process = run()
    try:
        until(lambda: arrived(here, "t") >= len(said))
    finally:
        process.terminate()
        code = process.wait(PATIENCE)

    assert code == 0
    for turn in range(2):
        assert by_group(log_of(here), f"t{turn}") == wanted(said[turn * 2_500 :][:2_500])
