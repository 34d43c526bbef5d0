"""One running process: its settings, its start, and what its parts share."""
