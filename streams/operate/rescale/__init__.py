"""`streams rescale`: more partitions for a namespace whose workers are stopped.

Kafka's clients choose a partition by a hash modulo the number of partitions.  With k times as many,
what is in partition p goes to p, p + P, p + 2P and so on: a partition only splits.

`draining` folds what lies in the logs, `splitting` says where each row goes, and `rescaling` does
it in steps of which each can be repeated.
"""
