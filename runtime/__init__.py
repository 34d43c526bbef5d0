"""One running process: its settings, its start, and its shared state."""
