"""What an operator sees: the log, and lines on stderr."""
