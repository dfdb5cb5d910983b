"""Streams: group messaging whose routing tables live in a log.

Events in partitioned Kafka topics are folded by Faust stream workers into
RocksDB-backed tables and materialised into one durable inbox per queue.
"""

__version__ = "0.2.0"
