"""Kafka for the rest of the package: clients, topics, the partitioner, an embedded broker."""
