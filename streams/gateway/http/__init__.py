"""HTTP itself: connections, routing, bodies and responses."""
