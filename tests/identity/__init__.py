"""The kinds of callers."""
