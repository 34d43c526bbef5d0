"""How things are written, and hidden."""
