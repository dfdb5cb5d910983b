"""Benches, the demo, the fault suite and the workload that they play."""
