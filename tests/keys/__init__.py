"""Keys, and all operations of a tenant on them."""
