"""Keys, and all operations on them."""
