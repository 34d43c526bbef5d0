"""HTTP: bodies, headers, forwarded addresses."""
