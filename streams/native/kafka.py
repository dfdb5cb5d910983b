"""Kafka clients that Python and the core share.

Python makes a client by confluent-kafka, which brings librdkafka, and keeps its transactions,
errors and callbacks.  The core moves records in bulk by librdkafka's C interface.  It is told of
a client by the way that librdkafka has for this: a plugin, here the core, that hears of new ones.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from typing import Any, Final, TypeVar

import confluent_kafka.cimpl

from streams.native.library import Library

logger = logging.getLogger(__name__)

C = TypeVar("C")

PLUGINS: Final = "plugin.library.paths"
_GIVEN: Final = ("rd_kafka_conf_interceptor_add_on_new", "rd_kafka_produce_batch")
"""What the core is given of librdkafka; `struct Kafka` in `kafka.h`."""
_MAJOR: Final = 2
"""Versions of librdkafka whose structures the core knows: `rd_kafka_version() >> 24`."""


class _Unusable(Exception):
    """The core cannot use the librdkafka that confluent-kafka has loaded."""


class _Librdkafka:
    """librdkafka, as the core uses it."""

    def __init__(self, library: Library) -> None:
        """Give the core what it needs of librdkafka.

        Raises:
            _Unusable, OSError, AttributeError
        """
        self.library = library
        # Names are looked up in this module's own libraries, too, so librdkafka need not be found.
        self.rdkafka: Any = ctypes.PyDLL(confluent_kafka.cimpl.__file__)
        version = self.rdkafka.rd_kafka_version()
        if version >> 24 != _MAJOR:
            raise _Unusable(f"librdkafka has version {version:#x}")
        given = [ctypes.cast(getattr(self.rdkafka, name), c_void_p) for name in _GIVEN]
        library.held.kafka_begin((c_void_p * len(given))(*given))
        self.config: Mapping[str, str] = {PLUGINS: str(library.path)}
        self.rdkafka.rd_kafka_topic_new.argtypes = (c_void_p, c_char_p, c_void_p)
        self.rdkafka.rd_kafka_topic_new.restype = c_void_p
        self.rdkafka.rd_kafka_topic_destroy.argtypes = (c_void_p,)
        self.rdkafka.rd_kafka_topic_destroy.restype = None
        self._check_plugin()

    def _check_plugin(self) -> None:
        """Try the configuration: librdkafka may be built without plugins."""
        new, put = self.rdkafka.rd_kafka_conf_new, self.rdkafka.rd_kafka_conf_set
        end = self.rdkafka.rd_kafka_conf_destroy
        new.restype, new.argtypes = c_void_p, ()
        put.restype, put.argtypes = c_int, (c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)
        end.restype, end.argtypes = None, (c_void_p,)
        conf, reason = new(), ctypes.create_string_buffer(512)
        try:
            for name, value in self.config.items():
                if put(conf, name.encode(), value.encode(), reason, len(reason)):
                    raise _Unusable(reason.value.decode(errors="replace"))
        finally:
            end(conf)


@cache
def _librdkafka(library: Library) -> _Librdkafka | None:
    """Return librdkafka for the core; None, and say so in the log, if the core cannot use it."""
    try:
        return _Librdkafka(library)
    except (OSError, AttributeError, _Unusable) as exc:
        logger.warning("the native core does not use Kafka's client library itself: %s", exc)
        return None


class SharedClient:
    """What the core needs of a client that Python has made; hold it no longer than the client."""

    def __init__(self, librdkafka: _Librdkafka, handle: int) -> None:
        self._rdkafka = librdkafka.rdkafka
        self._handle = handle

    @contextmanager
    def topic(self, name: str) -> Iterator[int]:
        """Open a topic, to which the core may produce meanwhile (`NativeLayer.produce`)."""
        topic = self._rdkafka.rd_kafka_topic_new(self._handle, name.encode(), None)
        if not topic:
            raise RuntimeError(f"librdkafka refuses the topic {name}")
        try:
            yield topic
        finally:
            self._rdkafka.rd_kafka_topic_destroy(topic)


def make_shared(
    library: Library | None,
    client: Mapping[str, Any],
    make: Callable[[Mapping[str, str]], C],
) -> tuple[C, SharedClient | None]:
    """Make a client of confluent-kafka that the core can use, too, if there is a core.

    Args:
        client: base configuration of the client; one with plugins of its own is not shared.
        make: makes the client with the configuration that it is given besides.

    Returns:
        the client, and what the core needs of it; None if the core cannot use it.
    """
    librdkafka = None if library is None or PLUGINS in client else _librdkafka(library)
    if librdkafka is None:
        return make({}), None
    newest = librdkafka.library.held.kafka_newest
    newest()  # of a client that could not be made
    made = make(librdkafka.config)
    handle = newest()
    return made, None if handle is None else SharedClient(librdkafka, handle)
