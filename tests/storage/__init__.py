"""The database, with many at it at once."""
