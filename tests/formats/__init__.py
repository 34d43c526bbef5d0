"""Text formats and redaction."""
