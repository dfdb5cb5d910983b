"""A real Kafka of one's own: KRaft nodes as child processes, for a first run and for tests."""
