"""The server for a long-running install, and how the service ends."""
