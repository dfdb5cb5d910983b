"""The events of both logs and their encoding.  Knows Avro, not Kafka."""
