"""Faults on purpose: real brokers and workers, killed, stopped and starved under load.

`suite` runs one fault after the other; `checker` says what was lost.  The checker knows
nothing of the folds and nothing of the engine: it reads `group-events` itself and applies
the small model of `streams.lab.workload.model` to it.
"""
