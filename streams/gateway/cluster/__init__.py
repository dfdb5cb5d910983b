"""Which worker owns a partition, and requests on their way to it."""
