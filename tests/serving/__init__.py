"""The server behind `flask serve`, and the end of the service."""
