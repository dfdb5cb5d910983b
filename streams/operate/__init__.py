"""Shared by commands, demo and fault suite: systems, logs, tables and how to compare them."""
