"""Records that producers frame for a schema registry; knows Avro and HTTP, not the engine."""
