"""The output for operators: the log, lines on stderr, the figures."""
