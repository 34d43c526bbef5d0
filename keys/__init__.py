"""What a key is, and all that may be done with it."""
