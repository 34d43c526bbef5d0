"""The server for a long-running install, and the end of the service."""
