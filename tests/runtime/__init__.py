"""One process: its settings and its files."""
