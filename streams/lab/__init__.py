"""The lab: benches, the demo, the fault suite, and their common workload."""
