"""The database under concurrent use."""
