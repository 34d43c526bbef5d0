"""What a key is, and all that a tenant can do with it."""
