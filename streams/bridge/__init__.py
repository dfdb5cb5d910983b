"""Joins sites: messages that are published at another site reach the groups of this one.

Each site has a Kafka and a namespace of its own.  A bridge runs beside the site that receives: it
reads the other site's `group-events` and appends copies to this site's.  Folds and records do
not know of it.
"""
