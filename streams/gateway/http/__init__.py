"""HTTP itself: the server, its connections, paths, bodies and answers."""
