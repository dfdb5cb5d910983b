"""The library below the commands: starts systems, reads logs, rebuilds and compares tables."""
