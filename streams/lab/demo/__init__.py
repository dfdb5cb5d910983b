"""Plays the measured workload through a running system, and holds every inbox to account.

Whatever the demo believes comes from outside the workers: what it sent and Kafka confirmed,
the log as a plain consumer reads it, the answers of the HTTP gateway, and
`streams.lab.workload.model`.
"""
