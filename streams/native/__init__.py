"""The native core: rows in memory and the plain records of both folds, in C++ (see `native/`).

It does what `streams.engine.overlay`, `streams.folds.route` and `streams.folds.deliver` do in
Python, byte for byte, and many times faster.  They are the definition.  Where the core is not
built, or `STREAMS_NATIVE` is `off`, they do all the work.

`streams.native.kafka` is a module apart, so that the folds load no Kafka client.
"""

from streams.native.fans import CoreFans
from streams.native.library import MODES, Library, described, is_available, load
from streams.native.runs import CoreRun, DeliverCore, NativeTable, RouteCore

__all__ = [
    "MODES",
    "CoreFans",
    "CoreRun",
    "DeliverCore",
    "Library",
    "NativeTable",
    "RouteCore",
    "described",
    "is_available",
    "load",
]
