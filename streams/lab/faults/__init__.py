"""Fault injection: real brokers and workers are killed, stopped and starved under load.

`suite` runs the faults one by one; `checker` reports what was lost.  The checker uses neither
folds nor engine: it reads `group-events` itself and applies the small model of
`streams.lab.workload.model` to it.
"""
