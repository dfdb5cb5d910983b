"""Writing: from what a client sends to events that are confirmed."""
