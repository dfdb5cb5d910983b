"""The records of both logs and their wire format.  Knows Avro, not Kafka."""
