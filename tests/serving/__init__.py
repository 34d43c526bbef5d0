"""The server behind `flask serve`, and how the service ends."""
