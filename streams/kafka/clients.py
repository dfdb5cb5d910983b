"""What all Kafka clients of the engine have in common: where they log to."""

from __future__ import annotations

import logging

logger = logging.getLogger("streams.kafka")


def _worth_reading(record: logging.LogRecord) -> bool:
    # librdkafka calls `enable.gapless.guarantee` experimental at each start; it is chosen
    # on purpose (see `streams.engine.output`).
    return "CONFWARN" not in record.getMessage()


logger.addFilter(_worth_reading)
