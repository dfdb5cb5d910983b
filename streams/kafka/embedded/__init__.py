"""An embedded Kafka: KRaft nodes as child processes, for a first run and for tests."""
