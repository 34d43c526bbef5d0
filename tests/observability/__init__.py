"""The log, and lines on stderr."""
