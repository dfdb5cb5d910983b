"""Other workers: which one owns a partition, and requests to it."""
