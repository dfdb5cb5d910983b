"""The published figures: each bench says what it measures, from where to where.

Always end to end, on a broker and workers of its own, as separate processes, in a fresh
namespace for every run.  `suite` lists the benches and runs them; a module that is named
like a bench is that bench; `stock` and `baseline` are what the figures are compared with.
Knows the system from outside only: its topics, its HTTP interface, its processes.
"""
