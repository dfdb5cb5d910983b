"""The engine: chunks, overlay, checkpoint and recovery, below Faust's per-event API.

It plugs into Faust at Faust's own extension points (transport, store, table, table
manager) and knows Kafka and RocksDB.  It knows nothing of groups and queues: what the
rows mean is the business of the folds that it drives (`streams.fold`).
"""
