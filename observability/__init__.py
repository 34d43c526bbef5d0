"""The output for operators: the log, and lines on stderr."""
