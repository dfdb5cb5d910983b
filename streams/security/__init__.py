"""Authorization: keys, signed tokens, the permissions in a token, and rate limits.

Pure, except that `signing` writes key files; knows nothing of HTTP, Kafka or tables.
"""
