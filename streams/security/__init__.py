"""Who may do what: keys, signed tokens, what a token grants, and how often it may be used.

Pure but for reading a file of keys; knows nothing of HTTP, Kafka or tables.
"""
